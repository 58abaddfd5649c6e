"""What a training wrote to TensorBoard, read back as curves."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {
    "mel_l1": "validation/mel_l1",
    "strongest_dbfs": "validation/strongest_tone_dbfs",
    "total_dbfs": "validation/total_tones_dbfs",
    "detected": "validation/tones_detected",
}

Curve = list[tuple[int, float]]  # step, value


def read_curves(run: Path) -> dict[str, Curve]:
    """Return validation curves of a run by name, a point a step; where a step was done again, its last value."""
    # What a resumed run writes again comes later in its files, and wins.
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    events.Reload()
    known = events.Tags()["scalars"]
    return {
        name: sorted({event.step: round(event.value, 4) for event in events.Scalars(tag)}.items())
        for name, tag in TAGS.items()
        if tag in known
    }
