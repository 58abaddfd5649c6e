"""Transposed convolution: the kernel itself is learned."""

from torch import Tensor
from typing_extensions import Unpack

from audioup.layer import LayerOptions, UpsamplingLayer, UpsamplingLayer1d, UpsamplingLayer2d


class TransposedConv(UpsamplingLayer):
    """The family: the weight is the kernel."""

    weight_is_kernel = True

    def kernel(self) -> Tensor:
        """Return the weight itself, shape ``(in_channels, out_channels / groups, *kernel_size)``."""
        return self.weight

    def weight_for(self, kernel: Tensor) -> Tensor:
        """Return ``kernel``."""
        return kernel

    def _kernel_lengths(self) -> tuple[int, ...]:
        return self.kernel_sizes

    def _weight_shape(self) -> tuple[int, ...]:
        return self.in_channels, self.out_channels // self.groups, *self.kernel_sizes

    def _by_output(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.groups, self.in_channels // self.groups), (1, *range(3, 3 + self.axes))


class TransposedConv1d(TransposedConv, UpsamplingLayer1d):
    """Upsample by a freely learned kernel.

    ``torch.nn.ConvTranspose1d`` with an output of exactly ``stride * T`` samples, whatever the kernel. ``kernel_size``
    counts taps at the output rate; ``weight`` has torch's shape ``(in_channels, out_channels / groups, kernel_size)``
    and torch's initialisation, so the state dict of a ``ConvTranspose1d`` loads as it is. For ``kernel_size >= stride >
    1`` torch's layer computes the same with ``padding = (kernel_size - stride + 1) // 2`` and ``output_padding =
    (kernel_size - stride) % 2``. The gain at DC differs from phase to phase unless trained otherwise: a constant input
    comes out with tones at multiples of ``fs_out / stride``, also where ``stride`` divides ``kernel_size``.

    See `audioup.layer.UpsamplingLayer` for the arguments, attributes and errors.

    Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016); Pons et al., "Upsampling
    artifacts in neural audio synthesis" (ICASSP 2021).

    Example:
        >>> import torch
        >>> TransposedConv1d(8, 4, 16, 8)(torch.randn(1, 8, 10)).shape
        torch.Size([1, 4, 80])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        self.reset_parameters()


class TransposedConv2d(TransposedConv, UpsamplingLayer2d):
    """Upsample images by a freely learned kernel; `TransposedConv1d` along both axes.

    ``torch.nn.ConvTranspose2d`` with an output of exactly ``stride`` times the input; its state dict loads as it is.
    Where the gain at DC differs from phase to phase, a constant comes out as a checkerboard.

    See `audioup.layer.UpsamplingLayer` for the arguments, attributes and errors.

    Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016).

    Example:
        >>> import torch
        >>> TransposedConv2d(8, 4, 4, 2)(torch.randn(1, 8, 5, 6)).shape
        torch.Size([1, 4, 10, 12])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        self.reset_parameters()
