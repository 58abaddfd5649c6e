"""The tones of a vocoder: what was found, and the wave that they make alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from comparison.lines import in_brief
from numpy.typing import NDArray

from audioup.measure import reader
from audioup.meter import Meter
from audioup.tone_report import ToneReport

SHOWN = 5  # lines in a table
HEARD_DBFS, MOST_DB = -30.0, 60.0  # RMS of what is amplified, and by how much at most
HIGHEST = 0.8  # of its samples


@dataclass(frozen=True)
class Tones:
    """The lines of several clips together.

    Attributes:
        report: As of `audioup.measure_tones`.
        residual: ``(k, amplitude, phase)`` of the detected lines: together they are the wave ``sum amplitude cos(2 pi k
            n / S + phase)``, counted from sample 0 of a clip, ``S`` the product of strides.
        gain_db: That makes the wave well audible.
    """

    report: ToneReport
    residual: tuple[tuple[int, float, float], ...]
    gain_db: float

    def to_dict(self) -> dict[str, Any]:
        """Return what the page shows, rounded."""
        brief, found = in_brief(self.report), [line for line in self.report.lines if line.detected]
        strongest = sorted(found, key=lambda line: -line.level_dbfs)[:SHOWN]
        return {
            "lines": {
                "verdict": self.report.verdict,
                "found": brief["detected"],
                "of": brief["lines"],
                "bound_dbfs": None if brief["bound_dbfs"] is None else round(brief["bound_dbfs"], 1),
                "strongest": [
                    [round(x, 1) for x in (line.frequency_hz, line.level_dbfs, *line.interval_dbfs)]
                    for line in strongest
                ],
            },
            "residual": {
                "gain_db": round(self.gain_db, 1),
                "harmonics": [[k, float(f"{amplitude:.4g}"), round(phase, 4)] for k, amplitude, phase in self.residual],
            },
        }


def measure(clips: Sequence[NDArray[Any]], sample_rate: int, strides: Sequence[int]) -> Tones:
    """Measure clips together, each from its own sample 0, and sum up their detected lines with phases.

    The mean of the blocks' spectra, whose magnitude `audioup.measure_tones` reports, is kept with its phase: blocks
    start on multiples of the period, so that the mean is coherent over all periods of all clips.
    """
    meter = Meter(sample_rate, strides)
    measured = reduce(add, [meter.measure(reader(clip), len(clip))[0] for clip in clips])
    report = meter.report(measured)
    if measured.period is None:
        return Tones(report, (), 0.0)
    sums = measured.period.lines
    mean = meter.blocks.amplitude * sums.total / sums.blocks
    residual = tuple(
        (k, float(abs(z)), float(np.angle(z)))
        for k, z, line in zip(meter.blocks.harmonics.tolist(), mean, report.lines, strict=True)
        if line.detected
    )
    return Tones(report, residual, residual_gain(wave(residual, meter.period)))


def wave(residual: Sequence[tuple[int, float, float]], period: int) -> NDArray[np.float64]:
    """Return one period of the wave of detected lines."""
    n = np.arange(period)
    waves = [amplitude * np.cos(2 * np.pi * (k * n % period) / period + phase) for k, amplitude, phase in residual]
    return np.sum(waves, axis=0) if waves else np.zeros(period)


def residual_gain(period: NDArray[np.float64]) -> float:
    """Return the gain in dB that brings a wave to -30 dBFS RMS: at most 60 dB, 0 where it is louder, never clipping."""
    rms, peak = float(np.sqrt(np.mean(period**2))), float(np.abs(period).max())
    if peak == 0:
        return 0.0
    gain = max(0.0, min(MOST_DB, HEARD_DBFS - 20 * np.log10(rms)))
    return float(min(gain, 20 * np.log10(HIGHEST / peak)))
