"""How near a vocoder comes to having no tones at no loss."""

from collections.abc import Mapping
from typing import Any

ALLOWED_DB = 3.0  # over the recordings' own upper bound, at every harmonic
INAUDIBLE_DBFS = -75.0
MEL_ALLOWED, RATE_ALLOWED = 1.02, 1.2  # times the baseline's mel L1 and real-time factor


def allowed_dbfs(own: float | None) -> float:
    """Return how high a harmonic's upper bound may be, from the recordings' own; None where they cannot be tested."""
    return INAUDIBLE_DBFS if own is None else max(own + ALLOWED_DB, INAUDIBLE_DBFS)


def judge(row: Mapping[str, Any], baseline: Mapping[str, Any], recordings: Mapping[str, Any]) -> dict[str, Any]:
    """Hold a vocoder to the goal, with by how much it misses.

    ``level``: on held-out speech, each harmonic's upper bound is at most 3 dB above the recordings' own there, or below
    -75 dBFS. ``detected``: no more lines are found than in the recordings. ``mel_l1``: at most 2 % worse than the
    baseline's. ``real_time_factor``: at most 1.2 times the baseline's.

    Args:
        row: A vocoder's ``lines``, ``quality`` and ``cost``.
        baseline: The same of what it is compared to.
        recordings: ``lines`` of the recordings.

    Returns:
        ``over_db`` by frequency in Hz, the harmonics that are too loud and by how much; ``detected`` and
        ``detected_in_recordings``, ``mel_l1_ratio``, ``real_time_factor_ratio``; and ``met``, yes or no for each.
    """
    speech, own = row["lines"]["speech"], recordings["lines"]["speech"]
    over = {hz: round(bound - allowed_dbfs(own["upper_dbfs"].get(hz)), 2) for hz, bound in speech["upper_dbfs"].items()}
    testable = bool(speech["upper_dbfs"])  # what cannot be tested meets nothing
    over = {hz: db for hz, db in over.items() if db > 0}
    mel = row["quality"]["mel_l1"] / baseline["quality"]["mel_l1"]
    rate = row["cost"]["real_time_factor"] / baseline["cost"]["real_time_factor"]
    return {
        "over_db": over,
        "detected": speech["detected"],
        "detected_in_recordings": own["detected"],
        "mel_l1_ratio": mel,
        "real_time_factor_ratio": rate,
        "met": {
            "level": testable and not over,
            "detected": testable and speech["detected"] <= own["detected"],
            "mel_l1": mel <= MEL_ALLOWED,
            "real_time_factor": rate <= RATE_ALLOWED,
        },
    }
