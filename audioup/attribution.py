"""Which stage a tone comes from: each is held at order 1 in turn, and what falls is measured.

Stages interact: what one leaves, later ones pass on, fold and rectify, so that the falls of single stages need not add
up to anything. They are given as they are, absolute and one by one, never as shares.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from audioup.intervention import Intervention
from audioup.measure import measure_tones
from audioup.stages import Stage
from audioup.tone_report import ToneLine, ToneReport

MOST_LINES = 12
SMALLEST_DB = -200.0
ANOTHER_SOUND_DB = -6.0  # a difference that is half as strong as the sound itself, or stronger
Sounds = list[np.ndarray[Any, Any]]
Run = Callable[[], Sounds]


@dataclass(frozen=True)
class Trial:
    """What became of the lines when one stage was held at order 1.

    Attributes:
        name: Of the stage.
        kind: What it upsamples by.
        position: Place in the schedule.
        stride: Its stride.
        projected: Whether something was projected: the stage was not of order 1 before and could be.
        after_dbfs: Level of each line then; empty where nothing was projected.
        drop_db: How far each line fell, in dB; 0 where the stage was of order 1 already, empty where it could not be
            brought there. Negative where a line rose.
        at_least: Whether the line is gone into the floor, so that ``drop_db`` is only what it fell at least: to the
            upper end of the level's 95 % interval.
        change_db: Energy of the difference that this made to the sound, over the sound's. A drop that comes with a
            change near 0 dB says little: it is another sound.
        note: What there is to say, such as why a stage could not be projected.
    """

    name: str
    kind: str
    position: int
    stride: int
    projected: bool
    after_dbfs: tuple[float, ...]
    drop_db: tuple[float, ...]
    at_least: tuple[bool, ...]
    change_db: float | None
    note: str


@dataclass(frozen=True)
class Attribution:
    """Drops of the lines, by stage.

    Attributes:
        frequencies_hz: The lines detected on real input, the strongest first, at most 12.
        before_dbfs: Their levels with the model as it is.
        trials: One per stage, the latest first, as it is the likeliest where the lines of several coincide.
    """

    frequencies_hz: tuple[float, ...]
    before_dbfs: tuple[float, ...]
    trials: tuple[Trial, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the attribution as plain values that ``json`` can write."""
        return asdict(self)

    def __str__(self) -> str:
        width = max(len("stage held at order 1"), *(len(trial.name) + 4 for trial in self.trials))
        head = "".join(f"{frequency:9.1f}" for frequency in self.frequencies_hz)
        levels = "".join(f"{level:9.1f}" for level in self.before_dbfs)
        rows = [
            f"{'drop in dB, at Hz':{width}}{head}   change of the sound",
            f"{'level before, dBFS':{width}}{levels}",
        ]
        for trial in self.trials:
            drops = [
                f"{'>= ' if bound else ''}{round(drop, 1) + 0.0:.1f}"
                for drop, bound in zip(trial.drop_db, trial.at_least, strict=True)
            ]
            change = "" if trial.change_db is None else f"{trial.change_db:11.1f} dB"
            if trial.change_db is not None and trial.change_db > ANOTHER_SOUND_DB:
                change += ", another sound: its drops say less"
            cells = "".join(f"{drop:>9}" for drop in drops or ["-"] * len(self.frequencies_hz))
            rows.append(f"{trial.position:>2}: {trial.name:{width - 4}}{cells}{change}")
        rows += [f"{trial.position:>2}: {trial.note}" for trial in self.trials if trial.note]
        return "\n".join(rows)


def attribute_lines(
    model: nn.Module,
    stages: Sequence[Stage],
    before: ToneReport,
    sounds: Sounds,
    runs: Sequence[Run],
    short: Run,
) -> Attribution:
    """Hold one stage after the other at order 1 and measure how far the detected lines fall.

    Args:
        model: The model.
        stages: From input to output.
        before: What was measured on ``sounds``, with at least one line detected.
        sounds: What ``runs`` give, one after the other, with the model as it is.
        runs: Run the model on one input each.
        short: Runs it on a short one.
    """
    detected = sorted((line for line in before.lines if line.detected), key=lambda line: -line.level_dbfs)[:MOST_LINES]
    trials = tuple(_trial(model, stage, detected, before, sounds, runs, short) for stage in reversed(stages))
    return Attribution(
        tuple(line.frequency_hz for line in detected), tuple(line.level_dbfs for line in detected), trials
    )


def _trial(
    model: nn.Module,
    stage: Stage,
    detected: Sequence[ToneLine],
    before: ToneReport,
    sounds: Sounds,
    runs: Sequence[Run],
    short: Run,
) -> Trial:
    head = (stage.name, stage.kind, stage.position or 0, stage.stride)
    changed: Sounds | None = None
    try:
        intervention = Intervention(model, stage, short)
        if intervention.possible:
            changed = [sound for run in runs for sound in intervention(run)]
            after = measure_tones(changed, before.sample_rate, before.strides)
    except ValueError as error:
        return Trial(*head, False, (), (), (), None, f"could not be tried: {error}")
    orders, reasons = intervention.orders, list(intervention.reasons)
    if not orders:
        return Trial(*head, False, (), (), (), None, f"could not be held at order 1: {'; '.join(reasons)}")
    if changed is None or min(orders) >= 1:
        order = f"is of order {min(orders)} already{', or more' * (changed is None)}"
        nothing = (0.0,) * len(detected), (False,) * len(detected)
        return Trial(*head, False, (), *nothing, None, "; ".join([order, *reasons]))
    lines = {line.frequency_hz: line for line in after.lines}
    change = _change_db(sounds, changed)
    if not lines:
        return Trial(*head, True, (), (), (), change, "; ".join([f"the sound then: {after.verdict}", *reasons]))
    found = [lines[line.frequency_hz] for line in detected]
    at_least = tuple(line.interval_dbfs[0] <= SMALLEST_DB for line in found)
    drops = tuple(
        old.level_dbfs - (new.interval_dbfs[1] if bound else new.level_dbfs)
        for old, new, bound in zip(detected, found, at_least, strict=True)
    )
    return Trial(*head, True, tuple(line.level_dbfs for line in found), drops, at_least, change, "; ".join(reasons))


def _change_db(before: Sounds, after: Sounds) -> float:
    energy = sum(float(np.square(sound).sum()) for sound in before)
    difference = sum(float(np.square(a - b).sum()) for a, b in zip(before, after, strict=True))
    return max(SMALLEST_DB, 10 * float(np.log10(difference / energy))) if difference > 0 < energy else SMALLEST_DB
