"""What a generator costs and how far it looks, counted from its sizes alone: no torch, no weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import NamedTuple

OUTER_TAPS = 7  # of the convolutions before the first stage and after the last


class Taps(NamedTuple):
    """The kernel of an upsampling layer.

    Attributes:
        learned: Taps of its weight for a pair of channels.
        length: Taps of its kernel at the output rate.
        filter_length: Taps of its interpolation filter, which it may run first, channel by channel; 0 without.
        order: Regularity order held whatever is learned: at 0 a constant may come out with a tone.
    """

    learned: int
    length: int
    filter_length: int = 0
    order: int = 0

    def origin(self, stride: int, causal: bool) -> int:
        """Return the tap on the first output sample of its own frame, by the rule of all layers."""
        return 0 if causal else (self.length - stride + 1) // 2

    def multiply_adds(self, inputs: int, outputs: int, stride: int) -> int:
        """Count for one input frame: every tap between every pair of channels, or fewer if the filter runs first."""
        composite = inputs * outputs * self.length
        if not self.filter_length:
            return composite
        return min(composite, inputs * self.filter_length + inputs * outputs * self.learned * stride)


def _resized(stride: int, filter_length: int, order: int) -> Taps:
    return Taps(stride + 1, filter_length + stride, filter_length, order)


# Kernels as long as the recipe's vocoder has them; "transposed" is what a schedule's own kernel sizes are for. Halfway
# between samples the triangle is B_2 * (1, 1) / 2, which at stride 2 is B_3.
LAYERS: dict[str, Callable[[int], Taps]] = {
    "transposed": lambda s: Taps(2 * s, 2 * s),
    "subpixel": lambda s: Taps(3 * s, 3 * s),
    "regular-1": lambda s: Taps(3 * s, 3 * s, order=1),
    "regular-2": lambda s: Taps(4 * s, 4 * s, order=2),
    "resize-nearest": lambda s: _resized(s, s, order=1),
    "resize-linear": lambda s: _resized(s, 2 * s - s % 2, order=3 if s == 2 else 2),
    "resize-cubic": lambda s: _resized(s, 4 * s - s % 2, order=1),
    "resize-sinc": lambda s: _resized(s, 12 * s - s % 2, order=1),
}


class Cost(NamedTuple):
    """Multiply-adds for each frame of the generator's input, and parameters without the gains of weight norm."""

    multiply_adds: int
    parameters: int


@dataclass(frozen=True)
class GeneratorSizes:
    """HiFi-GAN's: a convolution, stages that upsample, halve the channels and refine by blocks, a convolution.

    Attributes:
        strides: Of the stages.
        taps: Of their upsamplers.
        channels: Before the first stage.
        n_mels: Channels of the input.
        block_kernels: Of the residual blocks of a stage, side by side.
        dilations: Of each block: one convolution with and one without, as in HiFi-GAN's block "1".
        causal: Whether no layer looks ahead.
    """

    strides: tuple[int, ...]
    taps: tuple[Taps, ...]
    channels: int
    n_mels: int
    block_kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    causal: bool

    @property
    def rates(self) -> tuple[int, ...]:
        """Samples for each input frame before every stage, and after the last."""
        return tuple(accumulate(self.strides, mul, initial=1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels before every stage, and after the last."""
        return tuple(self.channels >> stage for stage in range(len(self.strides) + 1))

    def upsampler(self, stage: int) -> Cost:
        """Count one upsampling layer."""
        taps, (inputs, outputs) = self.taps[stage], self.widths[stage : stage + 2]
        once = taps.multiply_adds(inputs, outputs, self.strides[stage])
        return Cost(self.rates[stage] * once, inputs * outputs * taps.learned + outputs)

    def blocks(self, stage: int) -> Cost:
        """Count the residual blocks after one upsampling layer."""
        width, pairs = self.widths[stage + 1], 2 * len(self.dilations)
        weights = pairs * sum(self.block_kernels) * width**2
        return Cost(self.rates[stage + 1] * weights, weights + pairs * len(self.block_kernels) * width)

    def upsamplers(self) -> Cost:
        """Count all upsampling layers."""
        return _total([self.upsampler(stage) for stage in range(len(self.strides))])

    def whole(self) -> Cost:
        """Count the generator."""
        first, last = OUTER_TAPS * self.n_mels * self.channels, OUTER_TAPS * self.widths[-1]
        ends = Cost(first + self.rates[-1] * last, first + self.channels + last + 1)
        return _total([ends, self.upsamplers(), *(self.blocks(stage) for stage in range(len(self.strides)))])

    def context(self, whole: bool) -> tuple[int, int]:
        """Count the input frames before and after its own that the samples of one frame depend on.

        Args:
            whole: Of the generator; otherwise of its upsamplers alone.
        """
        # From the samples first .. last of one frame back to what they are made of, layer by layer.
        outer = self._sides(OUTER_TAPS - 1) if whole else (0, 0)
        blocks = self._block_sides() if whole else (0, 0)
        first, last = -outer[0], self.rates[-1] - 1 + outer[1]
        for stride, taps in zip(reversed(self.strides), reversed(self.taps), strict=True):
            # y[n] takes x[m] where 0 <= n - s m + c < L.
            c = taps.origin(stride, self.causal)
            first = -((taps.length - 1 - c - (first - blocks[0])) // stride)
            last = (last + blocks[1] + c) // stride
        return max(0, outer[0] - first), max(0, last + outer[1])

    def look_ahead(self, whole: bool) -> int:
        """Count the output samples that wait for later frames; see `context`."""
        outer, blocks = (self._sides(OUTER_TAPS - 1)[1], self._block_sides()[1]) if whole else (0, 0)
        late = outer
        for stride, taps in zip(self.strides, self.taps, strict=True):
            late = stride * late + max(0, taps.origin(stride, self.causal)) + blocks
        return late + outer

    def delay(self) -> float:
        """Return by how many output samples the upsamplers delay, were their kernels symmetric."""
        late = 0.0
        for stride, taps in zip(self.strides, self.taps, strict=True):
            late = stride * late + (taps.length - stride) / 2 - taps.origin(stride, self.causal)
        return late

    def _sides(self, reach: int) -> tuple[int, int]:
        # Of a convolution that spans `reach` samples beside its own; torch's padding="same" has the odd one after.
        return (reach, 0) if self.causal else (reach // 2, reach - reach // 2)

    def _block_sides(self) -> tuple[int, int]:
        chains = [
            [self._sides(spread * (kernel - 1)) for dilation in self.dilations for spread in (dilation, 1)]
            for kernel in self.block_kernels
        ]
        before, after = ([sum(sides[end] for sides in chain) for chain in chains] for end in (0, 1))
        return max(before, default=0), max(after, default=0)


def overlap(kernel_size: int, stride: int) -> tuple[str, tuple[int, int]]:
    """Tell how the frames of a free kernel overlap, and the fewest and most of them that meet in a sample.

    Returns:
        ``"even"`` where the stride divides the kernel size, ``"gap"`` where the kernel is shorter than the stride and
        leaves samples out, otherwise ``"uneven"``.

    Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016).

    Example:
        >>> overlap(16, 8), overlap(7, 4), overlap(3, 4)
        (('even', (2, 2)), ('uneven', (1, 2)), ('gap', (0, 1)))
    """
    kind = "even" if kernel_size % stride == 0 else "gap" if kernel_size < stride else "uneven"
    return kind, (kernel_size // stride, math.ceil(kernel_size / stride))


def _total(costs: list[Cost]) -> Cost:
    return Cost(*map(sum, zip(*costs, strict=True)))
