"""What a probe says: numbers for programs, tables for people."""

from dataclasses import dataclass
from typing import Any

from audioup.attribution import Attribution
from audioup.stages import Stage
from audioup.table import table
from audioup.tone_report import ToneReport

SIGNALS = ("real", "silence", "constant", "noise")


@dataclass(frozen=True)
class ProbeReport:
    """What `probe` found.

    Attributes:
        sample_rate: Of the sound, in Hz.
        stages: The upsampling stages, from input to output.
        others: What else upsamples: oversampled activations, side branches. Not measured.
        strides: Of the stages; their product is the period that lines were looked for with.
        channels: Of the sound; the first is measured.
        real: Lines on the inputs that were given.
        silence: Lines on one frame of them, held: that at which the sound was quietest. Zeros where the input is sound.
        constant: Lines on one frame of them, held: that at which the sound was loudest.
        noise: Lines on frames of them drawn at random, one independent of the other: a stationary, noise-like input
            (white noise, of the inputs' own distribution, where the input is sound).
        attribution: How far each line on the inputs fell as one stage after the other was held at order 1; None where
            there is no line, or it was not wanted.
        verdict: That of ``real``: ``"tones"``, ``"clean below X dBFS"`` or ``"not testable: why"``.
        notes: What a reader should know besides.
    """

    sample_rate: int
    stages: tuple[Stage, ...]
    others: tuple[Stage, ...]
    strides: tuple[int, ...]
    channels: int
    real: ToneReport
    silence: ToneReport
    constant: ToneReport
    noise: ToneReport
    attribution: Attribution | None
    verdict: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that ``json`` can write."""
        return {
            "sample_rate": self.sample_rate,
            "stages": [stage.to_dict() for stage in self.stages],
            "others": [stage.to_dict() for stage in self.others],
            "strides": list(self.strides),
            "channels": self.channels,
            **{name: getattr(self, name).to_dict() for name in SIGNALS},
            "attribution": None if self.attribution is None else self.attribution.to_dict(),
            "verdict": self.verdict,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("", "stage", "upsamples by", "stride", "samples a frame")]
        for stage in self.stages:
            rate = f"{stage.rate_in:g} -> {stage.rate_out:g}"
            rows.append((str(stage.position), stage.name, stage.kind, str(stage.stride), rate))
        parts = [table(rows)]
        if self.others:
            kinds = sorted({stage.kind for stage in self.others})
            parts.append(f"not on the way to the sound, or undone on it: {len(self.others)} more ({', '.join(kinds)})")
        rows = [("input", "strongest line", "verdict")]
        for name in SIGNALS:
            report: ToneReport = getattr(self, name)
            line = report.strongest
            level = f"{line.level_dbfs:.1f} dBFS at {line.frequency_hz:.1f} Hz" if line else "none"
            rows.append((name, level, report.verdict))
        parts.append(table(rows))
        if self.attribution is not None:
            parts.append(str(self.attribution))
        parts.append("\n".join([f"verdict: {self.verdict}", *self.notes]))
        return "\n\n".join(parts)
