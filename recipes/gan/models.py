"""A small DCGAN whose upsampling layers are swapped one by one, and its discriminator, whose strides are.

Source: Radford, Metz & Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
networks" (ICLR 2016), for the plan; Odena, Dumoulin & Olah (Distill, 2016), for the swap.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, distributed, nn

from audioup import ResizeConv2d, SubPixelConv2d, TransposedConv2d
from audioup.layer import UpsamplingLayer2d

Upsampler = Literal["transposed", "subpixel", "resize-nearest", "resize-linear", "resize-sinc"]
UPSAMPLERS: tuple[str, ...] = get_args(Upsampler)
STRIDE = 2
FIRST = 4  # samples along either side before the first upsampling
KERNEL = 5  # taps of a transposed convolution, as in DCGAN: uneven
RESIZED = 3  # taps of the convolution after interpolation; with nearest neighbours, 4 taps together
SLOPE = 0.2


def upsampling(name: str, inputs: int, outputs: int, bias: bool = True) -> UpsamplingLayer2d:
    """Build the layer ``name``, of `UPSAMPLERS`, that doubles both sides."""
    if name == "transposed":
        return TransposedConv2d(inputs, outputs, KERNEL, STRIDE, bias=bias)
    if name == "subpixel":
        return SubPixelConv2d(inputs, outputs, RESIZED, STRIDE, bias=bias)
    if name not in UPSAMPLERS:
        raise ValueError(f"upsampler must be one of {', '.join(UPSAMPLERS)}, got {name!r}")
    return ResizeConv2d(inputs, outputs, RESIZED, STRIDE, mode=name.removeprefix("resize-"), bias=bias)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the batch of all processes; torch's own, `SyncBatchNorm`, is for GPUs only."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(batch, channels, H, W)``."""
        if not self.training or processes() == 1:
            return super().forward(input)
        mean = MeanOverProcesses.apply(input.mean((0, 2, 3), keepdim=True))
        variance = MeanOverProcesses.apply((input - mean).square().mean((0, 2, 3), keepdim=True))
        count = processes() * input.numel() / self.num_features
        running: Any = self.running_mean, self.running_var, self.num_batches_tracked
        with torch.no_grad():
            for statistic, now in zip(running, (mean, variance * count / (count - 1)), strict=False):
                statistic.lerp_(now.flatten().to(statistic), self.momentum or 0.0)
            running[2].add_(1)
        normalised = (input - mean) * (variance + self.eps).rsqrt()
        return normalised * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class MeanOverProcesses(torch.autograd.Function):
    """Average a tensor over processes, and its gradient as well: each one's loss depends on all of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Average."""
        return _averaged(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # type: ignore[override]
        """Average the gradient."""
        return _averaged(gradients[0])


def _averaged(x: Tensor) -> Tensor:
    mean = x.detach().clone()
    distributed.all_reduce(mean)
    return mean / processes()


def processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class Generator(nn.Module):
    """Turn ``(batch, latent)`` into images ``(batch, 3, S, S)`` from -1 to 1, ``S = 4 * 2 ** len(upsamplers)``.

    Args:
        upsamplers: One name for each doubling, first to last.
        latent: Numbers that an image is drawn from.
        width: Channels before the last layer; twice as many before each layer that comes earlier.
    """

    def __init__(self, upsamplers: Sequence[str], latent: int = 64, width: int = 16) -> None:
        super().__init__()
        self.latent = latent
        self.size = FIRST * STRIDE ** len(upsamplers)
        widths = [width * 2**n for n in reversed(range(len(upsamplers)))]
        self.first = nn.Linear(latent, widths[0] * FIRST**2)
        self.norms = nn.ModuleList(BatchNorm2d(channels) for channels in widths)
        self.ups = nn.ModuleList(
            upsampling(name, inputs, outputs)
            for name, inputs, outputs in zip(upsamplers, widths, [*widths[1:], 3], strict=True)
        )

    def features(self, z: Tensor) -> Tensor:
        """Return what the last layer upsamples, shape ``(batch, width, S / 2, S / 2)``."""
        x = self.first(z).unflatten(1, (-1, FIRST, FIRST))
        for n, norm in enumerate(self.norms):
            x = nn.functional.leaky_relu(norm(x), SLOPE)
            if n + 1 < len(self.norms):
                x = self.ups[n](x)
        return x

    def forward(self, z: Tensor) -> Tensor:
        """Generate one image for each latent vector."""
        return self.ups[-1](self.features(z)).tanh()


class Discriminator(nn.Module):
    """Judge images ``(batch, 3, S, S)``: one number each, the mean over all places.

    Args:
        size: ``S``.
        first_stride: Of the first layer, 2 or 1; the others have 2. The weights have the same shapes either way.
        width: Channels after the first layer, doubled by each later one.
    """

    def __init__(self, size: int, first_stride: int = 2, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, first_stride, padding=1), nn.LeakyReLU(SLOPE)]
        while size > 2 * FIRST:
            layers += [nn.Conv2d(width, 2 * width, 3, 2, padding=1), nn.LeakyReLU(SLOPE)]
            width, size = 2 * width, size // 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, FIRST))

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(batch,)`` numbers, high for what looks real."""
        return self.layers(images).mean((1, 2, 3))
