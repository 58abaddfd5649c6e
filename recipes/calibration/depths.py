"""Power of the test for modulated noise: white noise whose variance goes up and down with harmonics of a period."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.shares import Share, share_of
from calibration.size import measure_clip, quiet_meter
from calibration.sounds import Sound


@dataclass(frozen=True)
class Depth:
    """What is found of a modulation.

    Attributes:
        seconds: Of noise in a trial.
        trials: How many.
        depth_db: By which the variance goes up and down at each modulated harmonic; 0 dB is full.
        harmonics: How many are modulated in a trial: as many as there is room for.
        found: Share with p < 0.001.
        detected: Share called modulated.
        error_db: 2.5, 50 and 97.5 % points of the estimated less the true depth.
    """

    seconds: float
    trials: int
    depth_db: float
    harmonics: int
    found: Share
    detected: Share
    error_db: tuple[float, ...]


def measure_depths(
    seconds: float, trials: int, sample_rate: int, period: int, depths_db: Sequence[float], rng: np.random.Generator
) -> Iterator[Depth | None]:
    """Modulate noise and measure: None after each trial, one row after each depth."""
    meter = quiet_meter(sample_rate, (period,))
    for depth_db in depths_db:
        depth = 10 ** (depth_db / 20)
        count = max(1, min(period // 2, int(1 / depth + 1e-9)))
        found, detected, error = [], [], []
        for _ in range(trials):
            k = 1 + rng.permutation(period // 2)[:count]
            noise = modulated_noise(round(seconds * sample_rate), period, k, depth, rng)
            report = meter.report(measure_clip(meter, noise))
            lines = [report.lines[i - 1] for i in k]
            found.append([line.modulation_p_value < 0.001 for line in lines])
            detected.append([line.modulated for line in lines])
            error.append([line.modulation_db - depth_db for line in lines])
            yield None
        points = np.quantile(error, (0.025, 0.5, 0.975)).tolist()
        yield Depth(
            seconds, trials, depth_db, count, share_of(np.array(found)), share_of(np.array(detected)), tuple(points)
        )


def modulated_noise(samples: int, period: int, k: NDArray[np.int64], depth: float, rng: np.random.Generator) -> Sound:
    """Return white noise at -20 dBFS of variance ``1 + sum_k depth cos(2 pi k n / period + phase_k)``."""
    phase = np.where(2 * k == period, 0, rng.uniform(0, 2 * np.pi, len(k)))
    n = np.arange(period)
    variance = 1 + depth * np.cos(2 * np.pi * k[:, None] * n / period + phase[:, None]).sum(0)
    return 0.1 * np.resize(np.sqrt(np.maximum(variance, 0)), samples) * rng.standard_normal(samples)
