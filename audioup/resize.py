"""Resize-convolution: interpolation by a fixed filter, then a learned convolution at the output rate, in one kernel."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self, Unpack

from audioup.functional import check_positive
from audioup.interpolation import interpolation_filter
from audioup.layer import LayerOptions, UpsamplingLayer1d


class ResizeConv1d(UpsamplingLayer1d):
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
        check_positive("kernel_size", kernel_size)
        taps = interpolation_filter(mode, stride, zeros, rolloff).numpy()
        # h[l] = sum_q w[q] a[l - (k - 1 - q)]: row q holds the filter, shifted so that the weight is flipped.
        shifts = [np.pad(taps, (kernel_size - 1 - q, q)) for q in range(kernel_size)]
        self._design = torch.from_numpy(np.stack(shifts))
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        self.mode = mode
        self.zeros = zeros
        self.rolloff = rolloff
        # Follows from the arguments alone, so it stays out of the state dict.
        self.register_buffer("filter_matrix", self._design.to(self.weight), persistent=False)
        self.register_load_state_dict_post_hook(_redesign_after_loading)
        self.reset_parameters()

    def kernel(self) -> Tensor:
        """Return the folded kernel, shape ``(in_channels, out_channels / groups, La + kernel_size - 1)``."""
        folded = self.weight @ self.filter_matrix  # (g out, in, L)
        return folded.unflatten(0, (self.groups, -1)).transpose(1, 2).flatten(0, 1)

    def extra_repr(self) -> str:
        """Describe the layer as its constructor call."""
        return ", ".join([super().extra_repr(), f"mode={self.mode!r}", *self._changed(zeros=6, rolloff=1.0)])

    def _kernel_length(self) -> int:
        return self._design.shape[1]

    def _redesign(self) -> None:
        self.filter_matrix = self._design.to(self.weight)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Wherever the layer goes, its filter is rounded once from float64, and is there after the meta device.
        super()._apply(fn, recurse)
        self._redesign()
        return self


def _redesign_after_loading(layer: ResizeConv1d, _: object) -> None:
    layer._redesign()
