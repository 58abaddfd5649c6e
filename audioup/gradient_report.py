"""What a measurement of gradients found: lines, levels and a verdict."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class GradientLine:
    """One stride harmonic of a gradient; of a conjugate pair of harmonics, one stands for both.

    Attributes:
        frequency: In cycles per sample, or in Hz with a sample rate; one number for sound, two (down, across) for
            images.
        stages: Indices into ``strides`` of the stages whose harmonics fall here, the earliest (likeliest) first.
        level_db: Power of the locked line, all channels together, over that of the gradient.
        interval_db: 95 % interval of ``level_db``, -200 at the lower end where zero lies within; None where there are
            too few examples.
        p_value: Probability of so steady a line where none is; the least of the channels times their number. None where
            there are too few examples.
        detected: Whether it survives Benjamini-Hochberg at 0.01 over all lines of the report, and reaches -120 dB.
    """

    frequency: tuple[float, ...]
    stages: tuple[int, ...]
    level_db: float
    interval_db: tuple[float, float] | None
    p_value: float | None
    detected: bool


@dataclass(frozen=True)
class GradientReport:
    """What `gradient_tones` found.

    Attributes:
        sample_rate: In Hz, or None.
        strides: As given, from the module's input to its output.
        examples: In the batch.
        units: What the statistics count as independent: examples, or their pieces.
        rms: Of the gradient, where the window looks.
        constant_db: Power of the locked constant, all channels together, over that of the gradient. A line's two-sided
            level relative to it, the scale of `audioup.tone_response`, is ``level_db - constant_db``, less 3.01 dB if
            the line has a conjugate, that is, unless it is at 0 or Nyquist along every axis.
        locked_share: Share of the gradient's power that is in the lines, without what chance adds to it.
        lines: One for each distinct harmonic but the constant, by frequency.
        verdict: ``"lines"``, ``"clean below X dB"`` (X bounds every line from above) or ``"not testable: why"``.
    """

    sample_rate: float | None
    strides: tuple[int | tuple[int, int], ...]
    examples: int
    units: int
    rms: float
    constant_db: float
    locked_share: float
    lines: tuple[GradientLine, ...]
    verdict: str

    @property
    def strongest(self) -> GradientLine | None:
        """The strongest detected line, or None."""
        return max((line for line in self.lines if line.detected), key=lambda line: line.level_db, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that ``json`` can write."""
        return asdict(self)

    def __str__(self) -> str:
        unit = "Hz" if self.sample_rate else "cycles/sample"
        found = sum(line.detected for line in self.lines)
        rows = [
            f"{self.examples} examples, strides {','.join(map(str, self.strides))}: {self.verdict}",
            f"{found} of {len(self.lines)} lines detected, {self.locked_share:.1%} of the gradient's power locked",
            f"{unit:>17} {'stage':>7} {'dB':>7} {'95 % interval':>17} {'p':>8}",
        ]
        strongest = sorted(self.lines, key=lambda line: (not line.detected, -line.level_db))[:8]
        for line in strongest:
            at = " x ".join(f"{f:.1f}" if self.sample_rate else f"{f:.4f}" for f in line.frequency)
            low, high = line.interval_db or (math.nan, math.nan)
            p_value = math.nan if line.p_value is None else line.p_value
            rows.append(
                f"{at:>17} {','.join(map(str, line.stages)):>7} {line.level_db:7.1f} {low:8.1f} {high:8.1f} "
                f"{p_value:8.1e}{' detected' * line.detected}"
            )
        if len(self.lines) > len(strongest):
            rows.append(f"and {len(self.lines) - len(strongest)} more lines")
        return "\n".join(rows)
