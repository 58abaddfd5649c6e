"""Resize-convolution: interpolation by a fixed filter, then a learned convolution at the output rate, in one kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Unpack

from audioup.fixed import FixedModule
from audioup.functional import check_positive, context, extend, upsample1d
from audioup.interpolation import interpolation_filter
from audioup.layer import LayerOptions, UpsamplingLayer1d


class ResizeConv1d(FixedModule, UpsamplingLayer1d):
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
        options: See `audioup.layer.UpsamplingLayer1d`, also for attributes and errors.

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
        check_positive("kernel_size", kernel_size)
        taps = interpolation_filter(mode, stride, zeros, rolloff)
        # h[l] = sum_q w[q] a[l - (k - 1 - q)]: row q holds the filter, shifted so that the weight is flipped.
        shifts = [F.pad(taps, (kernel_size - 1 - q, q)) for q in range(kernel_size)]
        self._filter_length = len(taps)
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        self.mode = mode
        self.zeros = zeros
        self.rolloff = rolloff
        self.separable = separable
        self._fix("filter", taps, self.weight)
        self._fix("filter_matrix", torch.stack(shifts), self.weight)
        self.reset_parameters()

    def kernel(self) -> Tensor:
        """Return the folded kernel, shape ``(in_channels, out_channels / groups, La + kernel_size - 1)``."""
        folded = self.weight @ self._fixed("filter_matrix", self.weight)  # (g out, in, L)
        return folded.unflatten(0, (self.groups, -1)).transpose(1, 2).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Upsample ``x`` of shape ``(batch, in_channels, T)`` or ``(in_channels, T)`` to ``stride * T`` samples."""
        if not (self._fewer_when_separable() if self.separable is None else self.separable):
            return super().forward(x)
        left, right = context(self.kernel_length, self.stride, self.origin)
        extended = extend(x, [(left, right)], self.padding_mode)
        taps = self._fixed("filter", self.weight).expand(self.in_channels, 1, -1)
        z = upsample1d(extended, taps, self.stride, origin=0, groups=self.in_channels, engine=self.engine)
        # y[n] = b + sum_q w[q] z[n + c - (k - 1) + q], where z begins `left` frames before x.
        first = self.stride * left + self.origin - (self.kernel_size - 1)
        z = z.narrow(-1, first, self.stride * x.shape[-1] + self.kernel_size - 1)
        return F.conv1d(z, self.weight, self.bias, groups=self.groups)

    def _fewer_when_separable(self) -> bool:
        # Multiply-adds for each input channel and frame.
        outputs = self.out_channels // self.groups
        folded = outputs * self.kernel_length
        return self._filter_length + outputs * self.kernel_size * self.stride < folded

    def extra_repr(self) -> str:
        """Describe the layer as its constructor call."""
        return ", ".join(
            [super().extra_repr(), f"mode={self.mode!r}", *self._changed(zeros=6, rolloff=1.0, separable=None)]
        )

    def _kernel_length(self) -> int:
        return self._filter_length + self.kernel_size - 1
