"""A test for what many signals have in common at the harmonics of a period: the locked mean of their spectra.

The signals are independent, each counted from its own sample 0. What is locked to the sample index has one phase in all
of them; what is not has any, and its mean falls with their number. (`audioup.slowtime` tests the blocks of one signal,
which follow each other and are not independent.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ENOUGH_UNITS = 16  # fewer signals than this are cut into pieces
LEAST_UNITS = 3  # the mean of two complex numbers has no ellipse
LEAST_PERIODS = 4  # in a piece of a signal
ROUNDING = 1e-14  # of the power: rounding in float32 repeats from signal to signal and must not pass for a steady line


@dataclass(frozen=True)
class LockedFit:
    """The locked mean at each of ``K`` harmonics, all channels together; arrays of shape ``(K,)`` but for the powers.

    Attributes:
        harmonic: Cycles per period along both axes, shape ``(K, 2)``; the constant is first. Of a conjugate pair one
            stands for both.
        level: RMS of the locked wave, of both of a conjugate pair.
        radius: Half the width of the level's 95 % interval; infinite where there are fewer than three units.
        p_value: Probability of so steady a mean where none is; 1 where there are fewer than three units.
        chance: What chance adds to ``level ** 2`` in the mean.
        power: Mean square of the signals, all channels together, weighted as the window does.
        units: Signals, or pieces of them.
    """

    harmonic: NDArray[np.int64]
    level: NDArray[np.float64]
    radius: NDArray[np.float64]
    p_value: NDArray[np.float64]
    chance: NDArray[np.float64]
    power: float
    units: int


def fit_locked(signals: Tensor, period: Sequence[int], margin: Sequence[int]) -> LockedFit:
    """Fit the mean spectrum of signals at the harmonics of a period, and test it by Hotelling's ``T^2``.

    Signal ``n`` gives ``z_n``, its DFT at the harmonic over a whole number of periods from sample 0, under a Hann
    window if that is more than one. With ``m`` and ``Q``, mean and covariance of (real, imaginary part) over ``N``,

        t = N m Q^-1 m',    t (N - 2) / (2 (N - 1)) ~ F(2, N - 2),

    whatever the phase that the share of one signal prefers; at a real harmonic it is Student's, with F(1, N - 1). The
    least ``p`` of the channels counts, times their number. The radius is the long half axis of the 95 % ellipse, root
    sum of squares over channels. Fewer than 16 signals are cut along the first axis into equal pieces, of 4 periods at
    least, that are tested in their place.

    Args:
        signals: Shape ``(N, C, H, W)``, float64.
        period: Along ``H`` and ``W``, in samples.
        margin: Samples to leave out at both ends of either axis, at the start rounded up to a whole period.

    Raises:
        ValueError: If less than one period is left.

    Source: Hotelling, "The generalization of Student's ratio" (Annals of Mathematical Statistics, 1931).
    """
    z, power = _spectra(signals, period, margin)
    harmonic = _distinct(period)
    bins = z[:, :, harmonic[:, 0], harmonic[:, 1]].numpy()
    real = (2 * harmonic % period == 0).all(1)
    pair = np.where(real, 1.0, 2.0)  # waves that a harmonic stands for
    units, channels = bins.shape[:2]
    mean = bins.mean(0)
    level = np.sqrt(pair * (np.abs(mean) ** 2).sum(0))
    if units < LEAST_UNITS:
        unknown, chance = np.full(len(pair), np.inf), np.zeros(len(pair))
        return LockedFit(harmonic, level, unknown, np.ones(len(pair)), chance, power, units)
    p_value, square = _hotelling(bins, mean, real, ROUNDING * power)
    variance = (np.abs(bins - mean) ** 2).sum((0, 1)) / (units - 1)
    return LockedFit(
        harmonic=harmonic,
        level=level,
        radius=np.sqrt(pair * square.sum(0)),
        p_value=np.minimum(1.0, channels * p_value.min(0)),
        chance=pair * variance / units,
        power=power,
        units=units,
    )


def _spectra(signals: Tensor, period: Sequence[int], margin: Sequence[int]) -> tuple[Tensor, float]:
    """Return the bins at all harmonics, ``(units, C, s_h, s_w)``, and the mean square over units, summed over ``C``."""
    start = [-(-edge // s) * s for edge, s in zip(margin, period, strict=True)]
    periods = [
        (size - first - edge) // s
        for size, first, edge, s in zip(signals.shape[2:], start, margin, period, strict=True)
    ]
    if min(periods) < 1:
        raise ValueError(
            f"a period of {tuple(period)} must fit into {tuple(signals.shape[2:])} samples less a margin of "
            f"{tuple(margin)} at either end"
        )
    pieces = 1
    if len(signals) < ENOUGH_UNITS:
        pieces = max(1, min(-(-ENOUGH_UNITS // len(signals)), periods[0] // LEAST_PERIODS))
    tall, wide = periods[0] // pieces, periods[1]
    inside = signals[..., start[0] :, start[1] :][..., : pieces * tall * period[0], : wide * period[1]]
    units = inside.unflatten(2, (pieces, -1)).movedim(2, 1).flatten(0, 1)  # (units, C, H, W)
    window = torch.outer(_hann(tall, period[0]), _hann(wide, period[1]))
    # Summing over periods first leaves one period, whose DFT has the harmonics only.
    folded = (units * window).unflatten(3, (wide, -1)).sum(3).unflatten(2, (tall, -1)).sum(2)
    power = (units.square() * window).sum((1, 2, 3)).mean().item()
    return torch.fft.fft2(folded), power


def _hann(periods: int, period: int) -> Tensor:
    # Of unit sum. Over two periods or more, Hann's window has zeros at all harmonics but the constant.
    length = periods * period
    window = torch.hann_window(length, dtype=torch.float64) if periods > 1 else torch.ones(length, dtype=torch.float64)
    return window / window.sum()


def _distinct(period: Sequence[int]) -> NDArray[np.int64]:
    tall, wide = period
    return np.array(
        [
            (k, j)
            for k in range(tall)
            for j in range(wide // 2 + 1)
            if 2 * k <= tall or (j > 0 and 2 * j < wide)  # on the axes of symmetry the other half is the conjugate
        ]
    )


def _hotelling(
    bins: NDArray[np.complex128], mean: NDArray[np.complex128], real: NDArray[np.bool_], rounding: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return p-value and squared radius, for each channel and harmonic."""
    from scipy.special import fdtrc, fdtri

    n = len(bins)
    around = bins - mean
    xx, yy = ((part**2).sum(0) / (n - 1) + rounding for part in (around.real, around.imag))
    xy = (around.real * around.imag).sum(0) / (n - 1)
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    # Never thinner than rounding: an ellipse that is a line has no inverse.
    long, short = half + spread, np.maximum(half - spread, rounding)
    t = n * (yy * mean.real**2 - 2 * xy * mean.real * mean.imag + xx * mean.imag**2) / (long * short)
    scale = (n - 2) / (2 * (n - 1))
    p_value = np.where(real, fdtrc(1, n - 1, n * mean.real**2 / xx), fdtrc(2, n - 2, np.maximum(t, 0) * scale))
    square = np.where(real, fdtri(1, n - 1, 0.95) * xx, fdtri(2, n - 2, 0.95) / scale * long) / n
    return p_value, square
