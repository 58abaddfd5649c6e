"""Resize-convolution: interpolation by a fixed filter, then a learned convolution at the output rate, in one kernel."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Unpack

from audioup.engines import extend
from audioup.fixed import FixedModule, along
from audioup.functional import check_input, upsample1d, upsample2d
from audioup.interpolation import interpolation_filter
from audioup.layer import LayerOptions, UpsamplingLayer, UpsamplingLayer1d, UpsamplingLayer2d, swap_channels

HARDLY_PASSED = 0.01  # gain, over the largest
REPRESENTED = 1e-6  # distance, over the norm, of a kernel that is there but for its rounding


class ResizeConv(FixedModule, UpsamplingLayer):
    """The family: the kernel is a fixed interpolation filter convolved with the weight."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        mode: str,
        zeros: int,
        rolloff: float,
        separable: bool | None,
        options: LayerOptions,
    ) -> None:
        sizes, strides = self._per_axis("kernel_size", kernel_size), self._per_axis("stride", stride)
        filters = [interpolation_filter(mode, step, zeros, rolloff) for step in strides]
        self._filter_lengths = tuple(map(len, filters))
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        if separable not in (None, True, False):
            raise ValueError(f"separable must be True, False or None, got {separable!r}")
        self.mode = mode
        self.zeros = zeros
        self.rolloff = rolloff
        self.separable = separable
        for axis, (taps, size) in enumerate(zip(filters, sizes, strict=True)):
            # h[l] = sum_q w[q] a[l - (k - 1 - q)]: row q holds the filter, shifted so that the weight is flipped.
            shifts = [F.pad(taps, (size - 1 - q, q)) for q in range(size)]
            self._fix(f"filter_{axis}", taps, self.weight)
            self._fix(f"filter_matrix_{axis}", torch.stack(shifts), self.weight)
        self.reset_parameters()

    def kernel(self) -> Tensor:
        """Return the folded kernel, shape ``(in_channels, out_channels / groups, *(La + kernel_size - 1))``."""
        # From (g out, in, *k), brought in order before the product, while the taps are few; one product for both axes.
        taps = swap_channels(self.weight, self.groups)
        matrix = self._fixed("filter_matrix_0", taps)
        if self.axes == 1:
            return taps @ matrix
        matrix = torch.kron(matrix, self._fixed("filter_matrix_1", taps))
        return (taps.flatten(2) @ matrix).unflatten(-1, self.kernel_lengths)

    def weight_for(self, kernel: Tensor) -> Tensor:
        """Return the weight whose folded kernel is ``kernel``; where there is none, nearest but for huge weights.

        Shifts of a smooth filter are almost alike. What it holds below -40 dB of what it passes best is then left out.
        """
        matrices = [self._designs[f"filter_matrix_{axis}"].to(kernel) for axis in range(self.axes)]
        for smallest in (0.0, HARDLY_PASSED):
            weight = again = kernel
            for axis, matrix in enumerate(matrices, start=-self.axes):
                weight = along(weight, torch.linalg.pinv(matrix, rtol=smallest), axis)
            for axis, matrix in enumerate(matrices, start=-self.axes):
                again = along(weight if axis == -self.axes else again, matrix, axis)
            if (again - kernel).norm() <= REPRESENTED * kernel.norm():
                break
        return swap_channels(weight, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Upsample ``x`` of shape ``(batch, in_channels, T)`` or ``(batch, in_channels, H, W)``; see the layer."""
        if not (self._fewer_when_separable() if self.separable is None else self.separable):
            return super().forward(x)
        check_input(x, self.in_channels, self.axes)
        weight = self.weight  # once: a parametrisation computes it at every mention
        reach = self._geometry.context()
        z = extend(x, reach, self.padding_mode)
        for axis, (left, _) in enumerate(reach):
            z = self._interpolate(z, axis, self._fixed(f"filter_{axis}", weight))
            # y[n] = b + sum_q w[q] z[n + c - (k - 1) + q], where z begins `left` frames before x.
            first = self.strides[axis] * left + self.origins[axis] - (self.kernel_sizes[axis] - 1)
            wanted = self.strides[axis] * x.shape[axis - self.axes] + self.kernel_sizes[axis] - 1
            z = z.narrow(axis - self.axes, first, wanted)
        convolve = F.conv1d if self.axes == 1 else F.conv2d
        return convolve(z, weight, self.bias, groups=self.groups)

    def extra_repr(self) -> str:
        """Describe the layer as its constructor call."""
        words = self._changed(zeros=6, rolloff=1.0, separable=None)
        return ", ".join([super().extra_repr(), f"mode={self.mode!r}", *words])

    def _interpolate(self, x: Tensor, axis: int, taps: Tensor) -> Tensor:
        # Channel by channel along one axis, the first sample at tap 0.
        if self.axes == 1:
            kernel = taps.expand(self.in_channels, 1, -1)
            return upsample1d(x, kernel, self.strides[0], 0, groups=self.in_channels, engine=self.engine)
        kernel = (taps[:, None] if axis == 0 else taps).expand(
            self.in_channels, 1, *((-1, 1) if axis == 0 else (1, -1))
        )
        stride = (self.strides[0], 1) if axis == 0 else (1, self.strides[1])
        return upsample2d(x, kernel, stride, 0, groups=self.in_channels, engine=self.engine)

    def _fewer_when_separable(self) -> bool:
        # Multiply-adds for each input channel and sample; the second axis is interpolated at the rate of the first.
        outputs = self.out_channels // self.groups
        rates = (1, *self.strides[:-1])
        interpolation = sum(length * rate for length, rate in zip(self._filter_lengths, rates, strict=True))
        convolution = outputs * math.prod(self.kernel_sizes) * math.prod(self.strides)
        return interpolation + convolution < outputs * math.prod(self.kernel_lengths)

    def _kernel_lengths(self) -> tuple[int, ...]:
        return tuple(n + k - 1 for n, k in zip(self._filter_lengths, self.kernel_sizes, strict=True))


class ResizeConv1d(ResizeConv, UpsamplingLayer1d):
    """Upsample by interpolating and then convolving, computed by one folded kernel.

    ``kernel_size`` counts taps at the output rate; ``weight`` has shape ``(out_channels, in_channels / groups,
    kernel_size)`` as in ``torch.nn.Conv1d``. The composite kernel is the interpolation filter, ``La`` taps, convolved
    with the flipped weight, ``L = La + kernel_size - 1`` taps; the longer signal is never built. Away from the edges
    the layer equals ``torch.nn.functional.interpolate`` and ``torch.nn.Conv1d(padding="same")``; at the edges
    ``padding_mode`` extends the input, not the interpolated signal. All phases have the same gain at DC, whatever is
    learned: a constant input gives no tone, to rounding (about -150 dB in float32; -55 dB in bfloat16, also under
    autocast, since the folded kernel is rounded). A signal that varies can give one; see `audioup.measure_tones`.

    ``mode="nearest"`` with ``kernel_size = stride + 1`` has the kernel length ``2 * stride`` of the usual transposed
    convolution, and its cost.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Taps of the learned convolution, at the output rate.
        stride: Output samples per input frame.
        mode: ``"nearest"``, ``"linear"``, ``"cubic"``, ``"sinc"`` or ``"bspline-p"`` with any ``p``; see
            `audioup.interpolation.interpolation_filter`.
        zeros: Zero crossings on either side of the sinc, its reach in input frames.
        rolloff: Cut-off of the sinc as a share of the input's Nyquist frequency.
        separable: Interpolate channel by channel and then convolve, instead of folding both into one kernel: the same
            output, and fewer multiply-adds when ``out (La + kernel_size - 1) > La + out kernel_size stride``, ``out``
            being the outputs of a group, as for a long sinc. ``None`` counts and chooses. ``engine`` is that of the
            folded kernel, and of the interpolation.
        options: See `audioup.layer.UpsamplingLayer`, also for attributes and errors.

    Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016); Pons et al., "Upsampling
    artifacts in neural audio synthesis" (ICASSP 2021).

    Example:
        >>> layer = ResizeConv1d(8, 4, 9, 8, mode="nearest")
        >>> layer(torch.randn(1, 8, 10)).shape, layer.kernel_length
        (torch.Size([1, 4, 80]), 16)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        mode: str = "nearest",
        zeros: int = 6,
        rolloff: float = 1.0,
        separable: bool | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, mode, zeros, rolloff, separable, options)


class ResizeConv2d(ResizeConv, UpsamplingLayer2d):
    """Upsample images by interpolating and then convolving, computed by one folded kernel.

    `ResizeConv1d` along both axes, with a filter for either. Away from the edges the layer equals
    ``torch.nn.functional.interpolate(mode=...)`` and ``torch.nn.Conv2d(padding="same")``; a constant stays constant,
    without a checkerboard, whatever is learned.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Taps of the learned convolution, at the output rate, for both axes or a pair.
        stride: Output samples per input sample, for both axes or a pair.
        mode: As in `ResizeConv1d`; ``"bilinear"`` and ``"bicubic"`` are ``"linear"`` and ``"cubic"`` along both axes.
        zeros: Zero crossings on either side of the sinc.
        rolloff: Cut-off of the sinc as a share of the input's Nyquist frequency.
        separable: Interpolate one axis after the other and then convolve; ``None`` counts multiply-adds and chooses.
        options: See `audioup.layer.UpsamplingLayer`, also for attributes and errors.

    Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016).

    Example:
        >>> layer = ResizeConv2d(8, 4, 3, 2, mode="bilinear")
        >>> layer(torch.randn(1, 8, 5, 6)).shape, layer.kernel_length
        (torch.Size([1, 4, 10, 12]), (6, 6))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        *,
        mode: str = "nearest",
        zeros: int = 6,
        rolloff: float = 1.0,
        separable: bool | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(str(mode), mode)
        super().__init__(in_channels, out_channels, kernel_size, stride, mode, zeros, rolloff, separable, options)


def folded(
    weight: Tensor, strides: tuple[int, ...], mode: str, groups: int = 1, zeros: int = 6, rolloff: float = 1.0
) -> Tensor:
    """Return the kernel of a resize by ``mode`` and the convolution of ``weight`` after it.

    Args:
        weight: Shape ``(out_channels, in_channels / groups, *kernel_size)``.
        strides: Of the resize, for each axis of the kernel.
        mode: Of `audioup.interpolation.interpolation_filter`.
        groups: Of the convolution.
        zeros: Of a sinc.
        rolloff: Of a sinc.

    Returns:
        Tensor of shape ``(in_channels, out_channels / groups, *(La + kernel_size - 1))``.
    """
    axes = len(strides)
    layer = (ResizeConv1d if axes == 1 else ResizeConv2d)(
        weight.shape[1] * groups,
        weight.shape[0],
        weight.shape[2] if axes == 1 else tuple(weight.shape[2:]),  # type: ignore[arg-type]
        strides[0] if axes == 1 else strides,  # type: ignore[arg-type]
        groups=groups,
        bias=False,
        mode=mode,
        zeros=zeros,
        rolloff=rolloff,
        device="meta",
    )
    layer.weight = nn.Parameter(weight)
    return layer.kernel().detach()
