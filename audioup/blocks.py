"""From sound to slow sequences: Hann blocks in step with a period, and what each tells of its harmonics.

Per block ``b`` and harmonic: ``z_b`` is the Hann-windowed DFT, ``sigma_b^2`` the mean power of the bins beside it, and
``c_b = z_b / sqrt(|z_b|^2 + sigma_b^2 + sigma_0^2)`` is limited. Four sequences are tested for a constant: ``c_b``, a
line; ``c_b^2``, a line whose sign follows the content; the limited DFT of the block's normalised square, a variance
that repeats with the period; and products of bins with their images (`Pairs`).
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from audioup.pairing import Pairs
from audioup.slowtime import (
    Complex,
    ConstantSums,
    LineFit,
    LineSums,
    Real,
    Sums,
    constant_sums,
    line_sums,
    segments,
    tapers,
)

BLOCK_S = 0.064  # a block is at least this long: short enough for many blocks, long enough for narrow bins
LEAST_BLOCKS = 12  # fewer cannot carry enough tapers
FAINTEST_DBFS = -110.0  # below this a block's own noise no longer sets its weight, and a line is no tone
SHALLOWEST_DB = -80.0  # the same for the depth of a modulation

# In the Hann bins next to its own a line is half as high: ratio 2 where it is ours, 1/2 where it is one bin off.
LINE_CONTRAST = 1 / math.sqrt(2)
# Squared 4; and 1 for a tone midway between two bins, whose square turns by a whole circle from block to block.
SQUARE_CONTRAST = 1.4


@dataclass(frozen=True)
class PeriodSums(Sums):
    """What was summed up of one period; the last axis is that of the harmonics or, for images, of the pairs."""

    lines: LineSums
    squares: LineSums
    modulation: LineSums
    floor: Real
    images: ConstantSums
    decoy_images: ConstantSums


class Blocks:
    """Cuts sound into blocks in step with a period and sums up their slow sequences.

    Args:
        sample_rate: In Hz.
        period: In samples.
        strides: Whose images are looked for; none for a decoy.
    """

    def __init__(self, sample_rate: int, period: int, strides: tuple[int, ...] = ()) -> None:
        self.sample_rate, self.period = sample_rate, period
        self.periods = max(4, math.ceil(BLOCK_S * sample_rate / period))
        self.length = self.periods * period
        self.harmonics = np.arange(1, period // 2 + 1)
        self.pairs = Pairs(self.length, strides)
        self.window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.length) / self.length)

    @cached_property
    def nyquist(self) -> NDArray[np.bool_]:
        """Which of the harmonics is Nyquist's."""
        return 2 * self.harmonics == self.period

    @cached_property
    def dimensions(self) -> NDArray[np.int64]:
        """Of a block's value at each harmonic: real at Nyquist, complex elsewhere."""
        return np.where(self.nyquist, 1, 2)

    @cached_property
    def amplitude(self) -> Real:
        """From a two-sided line to the sine that has it."""
        return np.where(self.nyquist, 1.0, 2.0)

    def too_short(self, samples: int) -> str | None:
        """Say why so many samples cannot be tested for lines of this period, or return None if they can."""
        if samples // self.length >= LEAST_BLOCKS:
            return None
        block_ms = 1000 * self.length / self.sample_rate
        return f"{samples / self.sample_rate:.2f} s is less than {LEAST_BLOCKS} blocks of {block_ms:.0f} ms"

    def pieces(self, samples: int) -> list[tuple[int, int]]:
        """Cut ``samples`` into ``(start, stop)`` of about 20 s or less, each from a multiple of the period."""
        blocks = samples // self.length
        if blocks < LEAST_BLOCKS:
            return [(0, samples)]
        count = min(segments(blocks * self.length, self.sample_rate), blocks // LEAST_BLOCKS)
        starts = [int(part[0]) * self.length for part in np.array_split(np.arange(blocks), count)]
        return list(zip(starts, [*starts[1:], samples], strict=True))

    def sums(self, samples: Real, start: int) -> PeriodSums | None:
        """Sum up the whole blocks of a piece of sound.

        Args:
            samples: Shape ``(T,)``.
            start: Index of the first of them in the recording.

        Returns:
            The sums, or None where there are fewer than 12 blocks.
        """
        first = -start % self.period
        blocks = (len(samples) - first) // self.length
        if blocks < LEAST_BLOCKS:
            return None
        frames = samples[first : first + blocks * self.length].reshape(blocks, self.length)
        w = tapers(blocks, blocks * self.length / self.sample_rate)
        spectrum = self._spectrum(frames)
        z, next_to, beside = self._at_harmonics(spectrum)
        limit = (10 ** (FAINTEST_DBFS / 20) / self.amplitude) ** 2
        limiter = 1 / np.sqrt(np.abs(z) ** 2 + beside + limit)
        images, decoys = self.pairs.sequences(frames)
        square = self._normalised_square(samples)[first : first + blocks * self.length]
        v, v_next_to, v_beside = self._at_harmonics(self._spectrum(square.reshape(blocks, self.length)))
        v_limit = (10 ** (SHALLOWEST_DB / 20) / self.amplitude) ** 2
        return PeriodSums(
            lines=line_sums(w, z, next_to, limiter),
            squares=line_sums(w, z**2, next_to**2, limiter**2),
            modulation=line_sums(w, v, v_next_to, 1 / np.sqrt(np.abs(v) ** 2 + v_beside + v_limit)),
            floor=beside.sum(0),
            images=constant_sums(w, images),
            decoy_images=constant_sums(w, decoys),
        )

    def lines(self, sums: PeriodSums) -> LineFit:
        """Lines; levels are two-sided."""
        return sums.lines.fit(self.dimensions, LINE_CONTRAST)

    def squares(self, sums: PeriodSums) -> LineFit:
        """Lines of any sign; levels are two-sided and squared. At Nyquist every square is positive: no test."""
        fit = sums.squares.fit(self.dimensions, SQUARE_CONTRAST)
        return replace(fit, p_value=np.where(self.nyquist, 1.0, fit.p_value))

    def modulation(self, sums: PeriodSums) -> LineFit:
        """Variance that repeats with the period; levels are two-sided, relative to the mean power."""
        return sums.modulation.fit(self.dimensions, LINE_CONTRAST)

    def floor(self, sums: PeriodSums) -> Real:
        """RMS amplitude of the spectrum beside each line in one block."""
        return self.amplitude * np.sqrt(sums.floor / sums.lines.blocks)

    def _normalised_square(self, samples: Real) -> Real:
        # The mean runs along, for a level that wanders would bend each block alike if blocks were normed one by one.
        from scipy.ndimage import uniform_filter1d

        square = (samples - uniform_filter1d(samples, self.length)) ** 2
        return square / (uniform_filter1d(square, self.length).clip(0) + 10 ** (FAINTEST_DBFS / 10))

    def _spectrum(self, frames: Real) -> Complex:
        return np.fft.rfft(frames * self.window) / self.window.sum()

    def _at_harmonics(self, spectrum: Complex) -> tuple[Complex, Complex, Real]:
        """Return the bins at the harmonics, the two next to each, and the mean power beside them."""
        next_to = np.stack([spectrum[:, self._bins(-1)], spectrum[:, self._bins(1)]])
        power = spectrum.real**2 + spectrum.imag**2
        widest = min(10, max(2, self.periods // 2 - 1))
        beside = [power[:, self._bins(side * o)] for o in range(2, widest + 1) for side in (-1, 1)]
        return spectrum[:, self._bins(0)], next_to, sum(beside[1:], beside[0]) / len(beside)

    def _bins(self, offset: int) -> NDArray[np.int64]:
        index = np.abs(self.harmonics * self.periods + offset)
        return np.minimum(index, self.length - index)  # the spectrum of a real signal is mirrored at 0 and at Nyquist
