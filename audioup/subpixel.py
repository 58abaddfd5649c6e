"""Sub-pixel convolution: one kernel per phase is learned at the input rate, and the phases are interleaved."""

from typing import Literal

from torch import Tensor
from typing_extensions import Unpack

from audioup.functional import check_choice
from audioup.init import icnr_
from audioup.layer import LayerOptions, UpsamplingLayer1d


class SubPixelConv1d(UpsamplingLayer1d):
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
        options: See `audioup.layer.UpsamplingLayer1d`, also for attributes and errors.

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
        check_choice("init", init, ("icnr", "default"))
        self.init = init
        self.reset_parameters()

    def kernel(self) -> Tensor:
        """Return the interleaved phases, shape ``(in_channels, out_channels / groups, kernel_size * stride)``."""
        # h[i, o, r + s j] = w[o s + r, i, k - 1 - j]: conv1d correlates, so its last tap meets the earliest frame.
        phases = self.weight.flip(-1).unflatten(0, (self.groups, -1, self.stride))  # (g, out, s, in, k)
        return phases.permute(0, 3, 1, 4, 2).reshape(
            self.in_channels, self.out_channels // self.groups, self.kernel_length
        )

    def reset_parameters(self) -> None:
        """Draw weight and bias within ``1 / sqrt(fan_in)``; if ``init`` is ``"icnr"``, copy phase 0 to all phases."""
        super().reset_parameters()
        if self.init == "icnr":
            icnr_(self.weight, self.stride)

    def extra_repr(self) -> str:
        """Describe the layer as its constructor call."""
        return ", ".join([super().extra_repr(), *self._changed(init="icnr")])

    def _kernel_length(self) -> int:
        return self.kernel_size * self.stride

    def _weight_shape(self) -> tuple[int, int, int]:
        return self.out_channels * self.stride, self.in_channels // self.groups, self.kernel_size
