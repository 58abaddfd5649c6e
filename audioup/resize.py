"""Resize-convolution: interpolation by a fixed filter, then a learned convolution at the output rate, in one kernel."""

from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from audioup.interpolation import interpolation_filter
from audioup.layer import LayerOptions, UpsamplingLayer1d


class ResizeConv1d(UpsamplingLayer1d):
    """Upsample by interpolating and then convolving, computed by one folded kernel.

    ``kernel_size`` counts taps at the output rate; ``weight`` has shape ``(out_channels, in_channels / groups,
    kernel_size)`` as in ``torch.nn.Conv1d``. The composite kernel is the interpolation filter, ``La`` taps, convolved
    with the flipped weight, ``L = La + kernel_size - 1`` taps; the longer signal is never built. Away from the edges
    the layer equals ``torch.nn.functional.interpolate`` and ``torch.nn.Conv1d(padding="same")``; at the edges
    ``padding_mode`` extends the input, not the interpolated signal. All phases have the same gain at DC, whatever is
    learned: a constant input gives no tone. (A signal that varies can; see `audioup.measure_tones`.)

    ``mode="nearest"`` with ``kernel_size = stride + 1`` has the kernel length ``2 * stride`` of the usual transposed
    convolution, and its cost.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Taps of the learned convolution, at the output rate.
        stride: Output samples per input frame.
        mode: ``"nearest"``, ``"linear"`` or ``"sinc"``; see `audioup.interpolation.interpolation_filter`.
        zeros: Zero crossings on either side of the sinc, its reach in input frames.
        rolloff: Cut-off of the sinc as a share of the input's Nyquist frequency.
        options: See `audioup.layer.UpsamplingLayer1d`, also for attributes and errors.

    Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016); Pons et al., "Upsampling
    artifacts in neural audio synthesis" (ICASSP 2021).

    Example:
        >>> layer = ResizeConv1d(8, 4, 9, 8, mode="nearest")
        >>> layer(torch.randn(1, 8, 10)).shape, layer.kernel_length
        (torch.Size([1, 4, 80]), 16)
    """

    filter_matrix: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        mode: Literal["nearest", "linear", "sinc"] = "nearest",
        zeros: int = 6,
        rolloff: float = 1.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        self._filter = interpolation_filter(mode, stride, zeros, rolloff)
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        self.mode = mode
        # Derived from the arguments alone, so it stays out of the state dict.
        self.register_buffer("filter_matrix", self.weight.new_empty(kernel_size, self.kernel_length), persistent=False)
        self.reset_parameters()

    def kernel(self) -> Tensor:
        """Return the folded kernel, shape ``(in_channels, out_channels / groups, La + kernel_size - 1)``."""
        folded = self.weight @ self.filter_matrix  # (g out, in, L)
        return folded.unflatten(0, (self.groups, -1)).transpose(1, 2).flatten(0, 1)

    def reset_parameters(self) -> None:
        """Draw weight and bias within ``1 / sqrt(fan_in)`` and fill the matrix that folds the filter in."""
        super().reset_parameters()
        # h[l] = sum_q w[q] a[l - (k - 1 - q)]: row q holds the filter, shifted so that the weight is flipped.
        matrix = torch.zeros(self.kernel_size, self.kernel_length, dtype=self._filter.dtype)
        for q in range(self.kernel_size):
            start = self.kernel_size - 1 - q
            matrix[q, start : start + len(self._filter)] = self._filter
        self.filter_matrix.copy_(matrix)

    def extra_repr(self) -> str:
        """Describe the layer as its constructor call."""
        return f"{super().extra_repr()}, mode={self.mode!r}"

    def _kernel_length(self) -> int:
        return len(self._filter) + self.kernel_size - 1
