"""What a recording holds at every frequency that repeats in a whole number of samples, up to a longest period.

These are the fractions ``k/q`` of the sample rate. Blocks of one length serve all of them: a component at ``f`` seen
by a block that starts at sample ``n_b`` turns by ``exp(2 pi i f n_b)``, which is taken off again, and the test for a
line of known period (`slowtime`) then runs on what stands still. Between blocks that start evenly, a tone a whole
number of bins away stands still as well; so these start unevenly.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audioup.blocks import BLOCK_S, FAINTEST_DBFS, LEAST_BLOCKS
from audioup.slowtime import Complex, LineSums, Real, Sums, line_sums, segments, tapers

LONGEST_PERIOD = 512  # samples
EVEN = 256  # samples: a block is a multiple of this
PAD = 4  # bins of the transform for one of the block: no fraction is further than an eighth of a bin from its own
HOPS = np.arange(9, 17) / 16  # of a block, from the start of one to that of the next
AT_ONCE = 256  # frequencies
ROWS = 64  # of a table of turns
DECOYS = 4  # fractions for one decoy

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class BandSums(Sums):
    """What was summed up, one entry per frequency: besides `LineSums` the limited values and their place in time.

    Attributes:
        lines: For the test and the level.
        first: Sum of the limited values ``c_b``.
        moment: Of ``t_b c_b``, the time in seconds from the recording's sample 0.
        energy: Of ``|c_b|^2``.
        time: Of ``t_b``.
        square: Of ``t_b^2``.
    """

    lines: LineSums
    first: Complex
    moment: Complex
    energy: Real
    time: float
    square: float

    def fit(self, nyquist: NDArray[np.bool_]) -> tuple[Real, Real, Real, Real]:
        """Return p-values, their logarithms, which do not run out at 1e-308, levels and radii as `LineSums.fit`."""
        fit = self.lines.fit(np.where(nyquist, 1, 2), contrast=0.0)
        explained, rest = self.lines.limited.explained()
        log_p = (1 - self.lines.limited.tapers) * np.log1p(explained / rest)  # of F(2, 2 K - 2)
        real = np.log(np.maximum(fit.p_value, np.finfo(np.float64).tiny))
        return fit.p_value, np.where(nyquist, real, log_p), fit.level, fit.radius

    def offset(self) -> tuple[Real, Real]:
        """Return how far the line is from the frequency that was asked for, in Hz, and the standard error of that.

        A line ``delta`` away turns: ``c_b = mu exp(2 pi i delta (t_b - mean t))``, to first order the slope of its
        phase over time. What mean and slope leave is noise, all of it taken to turn the phase: the limiter evens out
        lengths. Of noise from block to block and slow noise, which tapers see, the larger counts.
        """
        n, freedom = self.lines.blocks, self.lines.limited.tapers - 1
        mean_time, mean = self.time / n, self.first / n
        spread = self.square - n * mean_time**2
        power = np.maximum(np.abs(mean) ** 2, 1e-12)
        slope = ((self.moment - mean_time * self.first) * mean.conj()).imag / spread / power
        drift = slope**2 * spread * power
        slow = (self.lines.limited.explained()[1] - drift) / (freedom - 1)
        plain = (self.energy - n * power - drift) / (n - 2)
        noise = np.maximum(np.maximum(slow, plain), 1e-12)
        return slope / (2 * np.pi), np.sqrt(noise / spread / power) / (2 * np.pi)


def _band_sums(w: Real, z: Complex, limiter: Real, time: Real) -> BandSums:
    c = z * limiter
    return BandSums(
        lines=line_sums(w, z, np.zeros((1, len(z), 1), dtype=np.complex128), limiter),
        first=c.sum(0),
        moment=time @ c,
        energy=(c.real**2 + c.imag**2).sum(0),
        time=float(time.sum()),
        square=float(time @ time),
    )


@dataclass(frozen=True)
class LatticeSums:
    """What was summed up at all frequencies, band by band."""

    bands: tuple[BandSums, ...]

    def __add__(self, other: "LatticeSums") -> "LatticeSums":
        return LatticeSums(tuple(a + b for a, b in zip(self.bands, other.bands, strict=True)))


class Lattice:
    """The fractions, and decoys between them: mediants of neighbours, of periods longer than all that are looked for.

    Args:
        sample_rate: In Hz.

    Attributes:
        numerators: Of the fractions, by rising frequency, up to and including Nyquist's 1/2; then of the decoys.
        periods: Their denominators, in lowest terms.
        fractions: How many of them are no decoys.
        length: Of a block, in samples: at least 64 ms.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.length = max(4, math.ceil(BLOCK_S * sample_rate / EVEN)) * EVEN
        k, q = farey(LONGEST_PERIOD)
        self.fractions = len(k)
        middle = np.arange(0, len(k) - 1, DECOYS)
        self.numerators = np.concatenate([k, k[middle] + k[middle + 1]])
        self.periods = np.concatenate([q, q[middle] + q[middle + 1]])
        self.frequency = self.numerators / self.periods
        self.window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.length) / self.length)
        self.bins = np.rint(self.frequency * self.length * PAD).astype(np.int64)
        # From what a bin shows of a component to the sine that has it: the window's response, off the bin's middle.
        self.amplitude = np.where(self.periods == 2, 1.0, 2.0) / _hann(self.frequency * self.length - self.bins / PAD)

    def bands(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Cut values of all frequencies into those that are summed up at once."""
        return np.split(values, range(AT_ONCE, len(values), AT_ONCE))

    def too_short(self, samples: int) -> str | None:
        """Say why so many samples cannot be tested, or return None if they can."""
        if samples >= LEAST_BLOCKS * self.length:
            return None
        block_ms = 1000 * self.length / self.sample_rate
        return f"{samples / self.sample_rate:.2f} s is less than {LEAST_BLOCKS} blocks of {block_ms:.0f} ms"

    def pieces(self, samples: int, most: int) -> list[tuple[int, int]]:
        """Cut ``samples`` into ``(start, stop)`` of at most about 20 s; ``most`` of them, spread evenly."""
        if self.too_short(samples):
            return [(0, samples)]
        count = min(segments(samples, self.sample_rate), samples // (LEAST_BLOCKS * self.length))
        edges = np.linspace(0, samples, count + 1).astype(int).tolist()
        chosen = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
        return [(edges[i], edges[i + 1]) for i in chosen]

    def uneven(self, sound: Real) -> Integers:
        """Return where in a piece its blocks start; drawn by lot, with the sound itself as the seed."""
        steps = np.rint(HOPS * self.length).astype(np.int64)
        count = int((len(sound) - self.length) / steps.mean()) // len(steps) * len(steps)
        rng = np.random.default_rng(zlib.crc32(sound.tobytes()))
        hops = rng.permutation(np.tile(steps, count // len(steps)))  # each as often: the number depends on no lot
        return np.concatenate([[0], np.cumsum(hops)])

    def sums(self, sound: Real, start: int, blocks: Integers | None = None) -> "LatticeSums":
        """Sum up a piece of sound.

        Args:
            sound: Shape ``(T,)``.
            start: Index of its first sample in the recording.
            blocks: Where in the piece blocks start; by default `uneven`.
        """
        blocks = self.uneven(sound) if blocks is None else blocks
        frames = np.lib.stride_tricks.sliding_window_view(sound, self.length)[blocks]
        spectrum = np.fft.rfft(frames * self.window, PAD * self.length) / self.window.sum()
        beside = self._beside(spectrum)
        w = tapers(len(blocks), float(blocks[-1] + self.length) / self.sample_rate)
        time = (start + blocks + self.length / 2) / self.sample_rate
        bands = []
        parts = (self.bands(x) for x in (self.bins, self.numerators, self.periods, self.amplitude))
        for bins, k, q, amplitude in zip(*parts, strict=True):
            z = spectrum[:, bins] * _turned_back(k, q, start, blocks)
            limit = (10 ** (FAINTEST_DBFS / 20) / amplitude) ** 2
            limiter = 1 / np.sqrt(z.real**2 + z.imag**2 + beside[:, bins] + limit)
            bands.append(_band_sums(w, z, limiter, time))
        return LatticeSums(tuple(bands))

    def _beside(self, spectrum: Complex) -> Real:
        """Return the mean power 2 to 10 bins of a block on either side."""
        power = spectrum.real**2 + spectrum.imag**2
        bins, reach = power.shape[1], 10 * PAD
        power = np.pad(power, ((0, 0), (reach, reach)), mode="reflect")  # the spectrum of a real signal is mirrored
        offsets = [side * offset for offset in range(2 * PAD, reach + 1, PAD) for side in (-1, 1)]
        total = np.zeros((len(power), bins))
        for offset in offsets:
            total += power[:, reach + offset : reach + offset + bins]
        return total / len(offsets)


def _turned_back(k: Integers, q: Integers, start: int, blocks: Integers) -> Complex:
    """Return what takes back by how much components at ``k/q`` have turned where each block starts."""

    def back(samples: Integers) -> Complex:
        turns = samples[:, None] % q * k % q / q  # whole numbers: exact after hours
        return np.exp(-2j * np.pi * turns)

    unit = max(1, int(np.gcd.reduce(blocks)))  # two short tables for one long
    many, few = np.divmod(blocks // unit, ROWS)
    return back(start + ROWS * unit * np.arange(many.max() + 1))[many] * back(unit * np.arange(ROWS))[few]


def farey(longest: int) -> tuple[Integers, Integers]:
    """Return numerators and denominators of all fractions in (0, 1/2] with denominators to ``longest``, by size."""
    k, q = np.meshgrid(np.arange(1, longest // 2 + 1), np.arange(2, longest + 1), indexing="ij")
    chosen = (2 * k <= q) & (np.gcd(k, q) == 1)
    k, q = k[chosen], q[chosen]
    order = np.argsort(k / q)
    return k[order], q[order]


def _hann(bins: Real) -> Real:
    """Response of a Hann window so many bins off, relative to its middle."""
    return np.sinc(bins) / (1 - bins**2)
