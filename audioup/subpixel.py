"""Sub-pixel convolution: one kernel per phase is learned at the input rate, and the phases are interleaved."""

import math
from typing import Literal

from torch import Tensor
from typing_extensions import Unpack

from audioup.checks import check_choice
from audioup.init import icnr_
from audioup.layer import LayerOptions, UpsamplingLayer, UpsamplingLayer1d, UpsamplingLayer2d, swap_channels


class SubPixelConv(UpsamplingLayer):
    """The family: the weight holds the phases of the kernel as channels."""

    def kernel(self) -> Tensor:
        """Return the interleaved phases, shape ``(in_channels, out_channels / groups, *(kernel_size * stride))``."""
        taps = interleave(self.weight, self.strides)  # (g out, in, *L)
        return swap_channels(taps, self.groups)

    def weight_for(self, kernel: Tensor) -> Tensor:
        """Return the phases of ``kernel`` as channels."""
        return separate(swap_channels(kernel, self.groups), self.strides)

    def extra_repr(self) -> str:
        """Describe the layer as its constructor call."""
        return ", ".join([super().extra_repr(), *self._changed(init="icnr")])

    def _begin(self, init: Literal["icnr", "default"]) -> None:
        check_choice("init", init, ("icnr", "default"))
        self.init = init
        self.reset_parameters()

    def _kernel_lengths(self) -> tuple[int, ...]:
        return tuple(k * s for k, s in zip(self.kernel_sizes, self.strides, strict=True))

    def _draw(self) -> Tensor:
        weight = super()._draw()
        return icnr_(weight, self.strides) if self.init == "icnr" else weight

    def _by_output(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.out_channels, math.prod(self.strides)), tuple(range(1, 3 + self.axes))

    def _weight_shape(self) -> tuple[int, ...]:
        return self.out_channels * math.prod(self.strides), self.in_channels // self.groups, *self.kernel_sizes


class SubPixelConv1d(SubPixelConv, UpsamplingLayer1d):
    """Upsample by convolving to ``stride`` times the channels at the input rate and interleaving them in time.

    ``kernel_size`` counts taps at the input rate, so the composite kernel has ``kernel_size * stride`` taps; ``weight``
    has shape ``(out_channels * stride, in_channels / groups, kernel_size)`` and channel ``o * stride + r`` is phase
    ``r`` of output ``o``. For odd ``kernel_size`` the layer equals ``torch.nn.Conv1d(padding="same")`` followed by
    `audioup.functional.pixel_shuffle_1d`; for even sizes it is centred, which that pair is not (half a frame apart).
    There is one bias per output channel: a bias per phase, which the plain pair has, makes a tone on silence.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, after interleaving.
        kernel_size: Taps at the input rate.
        stride: Output samples per input frame.
        init: ``"icnr"`` starts with equal phases (no tone on a constant input at step 0), ``"default"`` with
            independent ones.
        options: See `audioup.layer.UpsamplingLayer`, also for attributes and errors.

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution" (CVPR 2016); Aitken et al., "Checkerboard
    artifact free sub-pixel convolution" (2017).

    Example:
        >>> import torch
        >>> SubPixelConv1d(8, 4, 3, 8)(torch.randn(1, 8, 10)).shape
        torch.Size([1, 4, 80])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        init: Literal["icnr", "default"] = "icnr",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        self._begin(init)


class SubPixelConv2d(SubPixelConv, UpsamplingLayer2d):
    """Upsample images by convolving to ``stride_1 * stride_2`` times the channels and interleaving them.

    `SubPixelConv1d` along both axes: ``weight`` is ``(out_channels * stride_1 * stride_2, in_channels / groups,
    *kernel_size)``. Channel ``(o * stride_1 + r_1) * stride_2 + r_2`` is phase ``(r_1, r_2)`` of ``o``, the order
    of ``torch.nn.PixelShuffle``. For odd sizes the layer equals ``torch.nn.Conv2d(padding="same")`` and
    ``PixelShuffle``, but for the bias, one per output channel.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, after interleaving.
        kernel_size: Taps at the input rate, for both axes or a pair.
        stride: Output samples per input sample, for both axes or a pair.
        init: ``"icnr"`` or ``"default"``.
        options: See `audioup.layer.UpsamplingLayer`, also for attributes and errors.

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution" (CVPR 2016); Aitken et al., "Checkerboard
    artifact free sub-pixel convolution" (2017).

    Example:
        >>> import torch
        >>> SubPixelConv2d(8, 4, 3, 2)(torch.randn(1, 8, 5, 6)).shape
        torch.Size([1, 4, 10, 12])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        *,
        init: Literal["icnr", "default"] = "icnr",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        self._begin(init)


def interleave(weight: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Write the phases of a sub-pixel weight as taps at the output rate.

    Args:
        weight: Shape ``(out_channels * S, in_channels / groups, *k)``, one ``k`` per stride; ``S`` is their product.
        stride: Phases along every axis.

    Returns:
        Tensor of shape ``(out_channels, in_channels / groups, *(k * stride))``.
    """
    # h[o, i, r + s j] = w[o s + r, i, k - 1 - j]: conv1d correlates, so its last tap meets the earliest frame.
    axes = len(stride)
    phases = weight.flip(tuple(range(-axes, 0))).unflatten(0, (-1, *stride))  # (out, *s, in, *k)
    pairs = [axis for d in range(axes) for axis in (axes + 2 + d, 1 + d)]
    taps = phases.permute(0, axes + 1, *pairs)  # (out, in, k, s, k, s)
    return taps.reshape(*taps.shape[:2], *(k * s for k, s in zip(weight.shape[2:], stride, strict=True)))


def separate(taps: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Undo `interleave`."""
    axes = len(stride)
    for d in reversed(range(axes)):
        taps = taps.unflatten(2 + d, (-1, stride[d]))
    phases = taps.permute(0, *range(3, 3 + 2 * axes, 2), 1, *range(2, 2 + 2 * axes, 2))  # (out, *s, in, *k)
    return phases.flatten(0, axes).flip(tuple(range(-axes, 0)))
