"""What is summed up of a recording while it is read, piece by piece."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audioup.blocks import Blocks, PeriodSums
from audioup.slowtime import Real

LOUDEST = 1000.0  # samples above are integers that were not scaled
SILENCE = 1e-10  # -200 dBFS: a signal that varies by less is silent or constant


@dataclass(frozen=True)
class Measured:
    """What was summed up of one clip, or of several that were added; ``period`` is None where none is testable."""

    samples: int
    clipped: int
    tested_clips: int
    tested_samples: int
    energy: float
    period: PeriodSums | None
    decoys: tuple[PeriodSums | None, ...]
    left_out: tuple[str, ...]

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(
            self.samples + other.samples,
            self.clipped + other.clipped,
            self.tested_clips + other.tested_clips,
            self.tested_samples + other.tested_samples,
            self.energy + other.energy,
            _added(self.period, other.period),
            tuple(_added(a, b) for a, b in zip(self.decoys, other.decoys, strict=True)),
            self.left_out + other.left_out,
        )


class Channel:
    """One channel of one recording while it is read: the blocks of the period and of each decoy."""

    def __init__(self, blocks: Blocks, decoys: Sequence[Blocks]) -> None:
        self.blocks, self.decoy_blocks = blocks, decoys
        self.lowest, self.highest = math.inf, -math.inf
        self.samples = self.clipped = 0
        self.energy = 0.0
        self.period: PeriodSums | None = None
        self.decoys: list[PeriodSums | None] = [None] * len(decoys)

    def add(self, sound: Real, start: int, decoys: bool) -> None:
        """Take the next piece, of shape ``(T,)``, whose first sample is number ``start``."""
        self.lowest, self.highest = min(self.lowest, sound.min()), max(self.highest, sound.max())
        self.samples += len(sound)
        self.clipped += int(np.count_nonzero(np.abs(sound) >= 1 - 2**-15))  # 16-bit files end one step below 1
        self.energy += float(sound @ sound)
        self.period = _added(self.period, self.blocks.sums(sound, start))
        if decoys:
            self.decoys = [
                _added(sums, blocks.sums(sound, start))
                for sums, blocks in zip(self.decoys, self.decoy_blocks, strict=True)
            ]

    def measured(self) -> Measured:
        """Return the sums, or why there are none."""
        reason = self.blocks.too_short(self.samples)
        if self.highest - self.lowest < SILENCE:
            reason = "digital silence" if abs(self.lowest) < SILENCE else "a constant signal"
        if reason is None:
            return Measured(
                self.samples, self.clipped, 1, self.samples, self.energy, self.period, tuple(self.decoys), ()
            )
        return Measured(self.samples, self.clipped, 0, 0, 0.0, None, (None,) * len(self.decoys), (reason,))


def check_piece(piece: Real, start: int) -> None:
    """Raise `ValueError` where samples ``start`` and after, ``(T, channels)``, are no sound of full scale 1."""
    finite = np.isfinite(piece).all(1)
    if not finite.all():
        raise ValueError(f"audio holds NaN or infinity, first at sample {start + np.flatnonzero(~finite)[0]}")
    if np.abs(piece).max() > LOUDEST:
        raise ValueError(f"audio reaches {np.abs(piece).max():.3g}, but full scale is 1: divide integers by theirs")


def _added(a: PeriodSums | None, b: PeriodSums | None) -> PeriodSums | None:
    return a + b if a is not None and b is not None else a if b is None else b
