"""A test for lines that are locked to the sample index: Thomson's F test over "slow time".

Blocks that start on multiples of a period ``S`` see a line of that period with one phase throughout; speech and music
do not keep it. So each harmonic becomes a slow sequence, one complex value per block; a line is its constant part. All
that a sequence leaves behind are sums, which add up over the segments of a recording and over recordings.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

SEGMENT_S = 20.0  # tapers span at most this long: more would only look at the middle of a recording
LONGEST_SEGMENT = 2**22  # samples: less than 20 s above 209 kHz, where memory would grow with the rate
HALF_BANDWIDTH_HZ = 1.0  # a line is what stays within this of its harmonic (clips under 4 s cannot tell so finely)

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


def segments(samples: int, sample_rate: int) -> int:
    """Return into how many pieces a recording is cut."""
    return max(math.ceil(samples / sample_rate / SEGMENT_S), math.ceil(samples / LONGEST_SEGMENT))


@dataclass(frozen=True)
class Sums:
    """Sums of one kind, added field by field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class ConstantSums(Sums):
    """What the test for a constant needs of slow sequences ``c_b``, tapered by ``w_j``: see `constant_sums`."""

    tapers: int
    uu: float
    uy: Complex
    yy: Real

    def explained(self) -> tuple[Real, Real]:
        """Return the energy of all tapered values, apart: what one constant explains, and the rest."""
        explained = np.abs(self.uy) ** 2 / self.uu
        rounding = self.tapers * 1e-12  # keeps rounding errors, which repeat exactly, from passing for a constant
        return explained, np.maximum(self.yy - explained, 0) + rounding

    def p_value(self, dimensions: NDArray[np.int64]) -> Real:
        """Return the probability of so steady a sequence where no constant is.

        Args:
            dimensions: Of one value: 2 where it is complex, 1 where it is real.
        """
        from scipy.special import fdtrc

        freedom = self.tapers - 1
        explained, rest = self.explained()
        return np.asarray(fdtrc(dimensions, dimensions * freedom, freedom * explained / rest))


def constant_sums(w: Real, sequence: Complex) -> ConstantSums:
    """Sum up one segment for Thomson's test for a constant.

    With ``U_j = sum_b w_j``, ``Y_j = sum_b w_j c_b`` and ``mu = sum_j U_j Y_j / sum_j U_j^2`` over all segments,

        F = (K - 1) |mu|^2 sum_j U_j^2 / sum_j |Y_j - mu U_j|^2  ~  F(2, 2 K - 2),

    or ``F(1, K - 1)`` where all is real.

    Args:
        w: Tapers, shape ``(K, blocks)``.
        sequence: Limited to about 1, shape ``(blocks, sequences)``.

    Source: Thomson, "Spectrum estimation and harmonic analysis" (Proc. IEEE, 1982), section XIII.
    """
    u, y = w.sum(1), w @ sequence
    return ConstantSums(len(w), float(u @ u), u @ y, (np.abs(y) ** 2).sum(0))


@dataclass(frozen=True)
class LineSums(Sums):
    """What the test for lines and their levels need of slow sequences: see `line_sums`."""

    limited: ConstantSums
    sides: Complex
    blocks: int
    total: Complex
    energy: Real
    uy: Complex
    uu: float
    yy: Real

    def fit(self, dimensions: NDArray[np.int64], contrast: float) -> "LineFit":
        """Test each sequence for a line and estimate its level.

        The level is the mean of ``z_b``. Its interval follows from the slow spectrum of ``z_b`` at zero or, where that
        is wider, from the variance of ``z_b``: tapers overlook what is loud at the ends, the variance what is alike in
        time.

        Args:
            dimensions: Of one value: 2 where it is complex, 1 where it is real.
            contrast: How much more than the bins next to it a line's own must hold. A steady tone one bin off turns by
                a whole circle from block to block, so that slow time alone would take it for a line.
        """
        from scipy.special import fdtri

        freedom = self.limited.tapers - 1
        mean = self.total / self.blocks
        residual = self.yy - 2 * (np.conj(mean) * self.uy).real + np.abs(mean) ** 2 * self.uu
        slow = np.maximum(residual, 0) * self.limited.tapers / freedom / self.blocks**2
        plain = np.maximum(self.energy / self.blocks - np.abs(mean) ** 2, 0) / (self.blocks - 1)
        return LineFit(
            p_value=self.limited.p_value(dimensions),
            here=np.abs(self.limited.uy) >= contrast * np.abs(self.sides).max(0),
            level=np.abs(mean),
            radius=np.sqrt(fdtri(dimensions, dimensions * freedom, 0.95) * np.maximum(slow, plain)),
        )


def line_sums(w: Real, z: Complex, next_to: Complex, limiter: Real) -> LineSums:
    """Sum up one segment for the lines in ``z``.

    Args:
        w: Tapers, shape ``(K, blocks)``.
        z: One complex value per block and harmonic, shape ``(blocks, harmonics)``.
        next_to: The same in the bins on either side, shape ``(2, blocks, harmonics)``.
        limiter: Gives loud and quiet blocks a like say, so that loud moments do not mask the pauses; shape of ``z``.
    """
    # The level's spread: this segment's own slow spectrum at zero, weighted by its share of the mean.
    u, y, share = w.sum(1), w @ z, len(z) / len(w)
    return LineSums(
        limited=constant_sums(w, z * limiter),
        sides=np.einsum("b,sbh->sh", u @ w, next_to * limiter),
        blocks=len(z),
        total=z.sum(0),
        energy=(np.abs(z) ** 2).sum(0),
        uy=share * (u @ y),
        uu=share * float(u @ u),
        yy=share * (np.abs(y) ** 2).sum(0),
    )


@dataclass(frozen=True)
class LineFit:
    """Lines, one entry per harmonic.

    Attributes:
        p_value: Probability of so steady a line where none is.
        here: Whether the line stands in this bin and not in one next to it.
        level: Magnitude of the mean.
        radius: Half the width of the level's 95 % interval.
    """

    p_value: Real
    here: NDArray[np.bool_]
    level: Real
    radius: Real


@lru_cache(maxsize=64)
def tapers(blocks: int, duration_s: float) -> NDArray[Any]:
    """Return Slepian tapers of half-bandwidth 1 Hz or more, shape ``(K, blocks)``."""
    from scipy.signal.windows import dpss

    half_bandwidth = min(max(4.0, HALF_BANDWIDTH_HZ * duration_s), blocks / 3)
    return np.asarray(dpss(blocks, half_bandwidth, int(min(2 * half_bandwidth - 1, 40))))
