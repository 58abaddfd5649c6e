"""A test for lines that are locked to the sample index: Thomson's F test over "slow time".

Blocks that start on multiples of a period ``S`` see a line of that period with one phase throughout; speech and music
do not keep it. So each harmonic becomes a slow sequence, one complex value per block; a line is its constant part.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK_S = 0.064  # a block is at least this long: short enough for many blocks, long enough for narrow bins
SEGMENT_S = 20.0  # tapers span at most this long: more would only look at the middle of a recording
HALF_BANDWIDTH_HZ = 1.0  # a line is what stays within this of its harmonic (clips under 4 s cannot tell so finely)
LEAST_BLOCKS = 12  # fewer cannot carry enough tapers
SILENCE = 1e-10  # -200 dBFS: a signal that varies by less is silent or constant
FAINTEST_DBFS = -110.0  # below this a block's own noise no longer sets its weight, and a line is no tone


def _block_periods(sample_rate: int, period: int) -> int:
    return max(4, math.ceil(BLOCK_S * sample_rate / period))


def untestable(clip: NDArray[np.float64], sample_rate: int, period: int) -> str | None:
    """Say why a clip of shape ``(T,)`` cannot be tested for lines of this period, or return None if it can."""
    if np.ptp(clip) < SILENCE:
        return "digital silence" if abs(clip[0]) < SILENCE else "a constant signal"
    length = _block_periods(sample_rate, period) * period
    if len(clip) // length < LEAST_BLOCKS:
        block_ms = 1000 * length / sample_rate
        return f"{len(clip) / sample_rate:.2f} s is less than {LEAST_BLOCKS} blocks of {block_ms:.0f} ms"
    return None


@dataclass(frozen=True)
class LineFit:
    """Lines at the harmonics ``k = 1 .. period // 2``; every array has shape ``(period // 2,)``.

    Attributes:
        p_value: Probability of so steady a line where none is.
        level: Amplitude of the locked sine.
        radius: Half the width of the level's 95 % interval.
        floor: RMS amplitude of the spectrum beside the line in one block.
        peak: Whether the line stands in this bin and not in one next to it. A steady tone one bin off turns by a whole
            circle from block to block, so that slow time alone would take it for a line of the harmonic.
    """

    p_value: NDArray[np.float64]
    level: NDArray[np.float64]
    radius: NDArray[np.float64]
    floor: NDArray[np.float64]
    peak: NDArray[np.bool_]


def fit_lines(clips: Sequence[NDArray[np.float64]], sample_rate: int, period: int) -> LineFit:
    """Fit one steady line at every harmonic of ``sample_rate / period`` to all clips, each from its own sample 0.

    Per block ``b``: ``z_b`` is the Hann-windowed DFT at the harmonic, ``sigma_b^2`` the mean power of the bins beside
    it, and ``c_b = z_b / sqrt(|z_b|^2 + sigma_b^2 + sigma_0^2)`` is limited. Over blocks, with ``K`` tapers ``w_j``,

        U_j = sum_b w_j,  Y_j = sum_b w_j c_b,  mu = sum_j U_j Y_j / sum_j U_j^2,
        F = (K - 1) |mu|^2 sum_j U_j^2 / sum_j |Y_j - mu U_j|^2  ~  F(2, 2 K - 2),

    or ``F(1, K - 1)`` at Nyquist, where all is real. Sums run over the Slepian tapers of all segments of at most 20 s.
    The level is the mean of ``z_b``. Its interval follows from the slow spectrum of ``z_b`` at zero or, where that is
    wider, from the variance of ``z_b``: tapers overlook what is loud at the ends, the variance what is alike in time.

    Args:
        clips: Testable sound, shape ``(T,)`` each (see `untestable`).
        sample_rate: In Hz.
        period: In samples.

    Source: Thomson, "Spectrum estimation and harmonic analysis" (Proc. IEEE, 1982), section XIII.
    """
    from scipy.special import fdtrc, fdtri

    harmonics = np.arange(1, period // 2 + 1)
    nyquist = 2 * harmonics == period
    amplitude = np.where(nyquist, 1.0, 2.0)  # from a two-sided line to the sine that has it
    limit = (10 ** (FAINTEST_DBFS / 20) / amplitude) ** 2
    blocks = tapers = 0
    mean = energy = floor = uy = uu = yy = sides = spread_uy = spread_uu = spread_yy = 0.0
    for clip in clips:
        for z, next_to, beside in _segments(clip, sample_rate, period, harmonics):
            w = _tapers(len(z), len(z) * _block_periods(sample_rate, period) * period / sample_rate)
            u = w.sum(1)
            # The limiter gives loud and quiet blocks a like say, so that loud moments do not mask the pauses.
            limiter = 1 / np.sqrt(np.abs(z) ** 2 + beside + limit)
            limited = w @ (z * limiter)
            uy, uu, yy = uy + u @ limited, uu + u @ u, yy + (np.abs(limited) ** 2).sum(0)
            sides = sides + np.einsum("b,sbh->sh", u @ w, next_to * limiter)
            # The level's spread: this segment's own slow spectrum at zero, weighted by its share of the mean.
            y, share = w @ z, len(z) / len(w)
            spread_uy, spread_uu = spread_uy + share * (u @ y), spread_uu + share * (u @ u)
            spread_yy = spread_yy + share * (np.abs(y) ** 2).sum(0)
            mean, energy, floor = mean + z.sum(0), energy + (np.abs(z) ** 2).sum(0), floor + beside.sum(0)
            blocks, tapers = blocks + len(z), tapers + len(w)
    mean = mean / blocks
    freedom = tapers - 1
    # A complex mean has two degrees of freedom, the real one at Nyquist has one.
    kind = np.where(nyquist, 1, 2)
    rounding = tapers * 1e-12  # keeps rounding errors, which repeat exactly, from passing for a line
    explained = np.abs(uy) ** 2 / uu
    f = freedom * explained / (np.maximum(yy - explained, 0) + rounding)
    residual = spread_yy - 2 * (np.conj(mean) * spread_uy).real + np.abs(mean) ** 2 * spread_uu
    slow = np.maximum(residual, 0) * tapers / freedom / blocks**2
    plain = np.maximum(energy / blocks - np.abs(mean) ** 2, 0) / (blocks - 1)
    return LineFit(
        p_value=fdtrc(kind, kind * freedom, f),
        level=amplitude * np.abs(mean),
        radius=amplitude * np.sqrt(fdtri(kind, kind * freedom, 0.95) * np.maximum(slow, plain)),
        floor=amplitude * np.sqrt(floor / blocks),
        # A line stands half as high in the Hann bins next to its own: ratio 2 where it is ours, 1/2 where it is not.
        peak=np.abs(uy) >= np.abs(sides).max(0) / math.sqrt(2),
    )


def _segments(
    clip: NDArray[np.float64], sample_rate: int, period: int, harmonics: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.float64]]]:
    """Yield for each segment the bins at the harmonics, the two next to each, and the mean power beside them."""
    periods = _block_periods(sample_rate, period)
    length = periods * period
    blocks = len(clip) // length
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    widest = min(10, max(2, periods // 2 - 1))
    offsets = np.array([o for o in range(-widest, widest + 1) if abs(o) >= 2])

    def bins(offset: NDArray[np.int64]) -> NDArray[np.int64]:
        index = np.abs(harmonics * periods + offset[:, None])
        return np.minimum(index, length - index)  # the spectrum of a real signal is mirrored at 0 and at Nyquist

    segments = math.ceil(blocks * length / sample_rate / SEGMENT_S)
    for part in np.array_split(np.arange(blocks), min(segments, blocks // LEAST_BLOCKS)):
        frames = clip[part[0] * length : (part[-1] + 1) * length].reshape(-1, length)
        spectrum = np.fft.rfft(frames * window) / window.sum()
        next_to = np.moveaxis(spectrum[:, bins(np.array([-1, 1]))], 0, 1)
        yield spectrum[:, harmonics * periods], next_to, (np.abs(spectrum) ** 2)[:, bins(offsets)].mean(1)


@lru_cache(maxsize=64)
def _tapers(blocks: int, duration_s: float) -> NDArray[np.float64]:
    from scipy.signal.windows import dpss

    half_bandwidth = min(max(4.0, HALF_BANDWIDTH_HZ * duration_s), blocks / 3)
    return np.asarray(dpss(blocks, half_bandwidth, int(min(2 * half_bandwidth - 1, 40))))
