"""Bins and their images: does a band sound like a copy of another, in step with the stride?

An interpolator passes a component at ``f`` and copies it to ``k fs_in - f`` and ``k fs_in + f``, where ``fs_in`` is the
rate it starts from. Seen from blocks that start on frames, ``Z(k fs_in + f) / Z(f)`` and ``Z(k fs_in - f) / Z(f)*``
keep their phase; bands of speech or music that are no copies do not.
"""

import math
from dataclasses import dataclass

import numpy as np

from audioup.slowtime import Complex, Real

BAND = (0.01, 0.45)  # of the rate that a stage starts from
APART = 4  # bins: from here on white noise is as good as independent under the window
DISJOINT = 8  # bins: from here on two main lobes share no component
MOST_PAIRS = 64  # of one band
EMPTY = 1e-12  # of a bin: what is below is rounding


@dataclass(frozen=True)
class Row:
    """One image band of a stage: which ``columns`` are its pairs, and the first and last bins of source and image."""

    stage: int
    columns: slice
    source: tuple[int, int]
    image: tuple[int, int]


class Pairs:
    """Pairs of bins of blocks of ``length`` samples: the first image on either side, of every stage.

    Args:
        length: Of a block, in samples, a multiple of the product of strides.
        strides: From input to output.
    """

    def __init__(self, length: int, strides: tuple[int, ...]) -> None:
        self.rows: list[Row] = []
        sources: list[int] = []
        images: list[int] = []
        sides: list[int] = []
        harmonic = length // math.prod(strides)  # bins from one stride harmonic to the next
        # Far side lobes keep a phase to the edges of the block, which relates bins by itself: Hann's are too high.
        self._window = _blackman_harris(length)
        for stage, stride in enumerate(strides):
            spacing = length // math.prod(strides[stage:])  # bins from one image to the next
            for side in (-1, 1):
                source = _sources(length, spacing, side) if stride > 1 else []
                image = [spacing + side * f for f in source]
                if source:
                    columns = slice(len(sources), len(sources) + len(source))
                    self.rows.append(Row(stage, columns, (source[0], source[-1]), (image[0], image[-1])))
                sources += source
                images += image
                sides += [side] * len(source)
        self._source, self._image, self._side = (np.array(x, dtype=np.int64) for x in (sources, images, sides))
        # Not a multiple of the harmonics' distance off: there lie images of images.
        off = next(o for o in range(DISJOINT, 2 * DISJOINT) if o % harmonic)
        self._decoy = self._image + off * self._side

    def sequences(self, frames: Real) -> tuple[Complex, Complex]:
        """Return unit values that stand still where bins are copies, and the same for decoys.

        Decoys are pairs that no stride relates: the image is sought some bins off. Unit values let loud moments count
        no more than others; where a bin is empty the value is zero. Two stride tones keep their phases too, but are
        no copies: what all blocks have in common is taken off first.

        Args:
            frames: Blocks of sound, shape ``(blocks, length)``.

        Returns:
            Both of shape ``(blocks, pairs)``.
        """
        if not self.rows:
            none = np.zeros((len(frames), 0), dtype=np.complex128)
            return none, none
        spectrum = np.fft.rfft(frames * self._window)
        # The quiet blocks tell what is common: a plain mean would carry the loud ones into all others.
        weight = 1 / (spectrum.real**2 + spectrum.imag**2 + EMPTY**2)
        spectrum -= (spectrum * weight).sum(0) / weight.sum(0)
        source = spectrum[:, self._source]
        # The mirrored image carries the conjugate of what it copies.
        source = _unit(np.where(self._side < 0, source, source.conj()))
        return source * _unit(spectrum[:, self._image]), source * _unit(spectrum[:, self._decoy])


def _sources(length: int, spacing: int, side: int) -> list[int]:
    decoy = 2 * DISJOINT  # at most so far from the image
    highest = min(BAND[1] * spacing, (spacing - DISJOINT - decoy) / 2)
    if side > 0:
        highest = min(highest, length // 2 - APART - decoy - spacing)
    found = list(range(max(APART, math.ceil(BAND[0] * spacing)), math.floor(highest) + 1, APART))
    return found[:: max(1, math.ceil(len(found) / MOST_PAIRS))]


def _unit(z: Complex) -> Complex:
    return z / np.maximum(np.abs(z), EMPTY)


def _blackman_harris(length: int) -> Real:
    """Four terms, side lobes below -92 dB (Harris, "On the use of windows for harmonic analysis", Proc. IEEE, 1978)."""
    turn = 2 * np.pi * np.arange(length) / length
    terms = (0.35875, -0.48829, 0.14128, -0.01168)
    return np.asarray(sum(a * np.cos(k * turn) for k, a in enumerate(terms)))
