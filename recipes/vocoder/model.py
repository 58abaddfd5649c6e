"""The generator: HiFi-GAN's, with its upsamplers chosen by name.

Kong, Kim & Bae, "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis" (NeurIPS
2020). Module names are the published ones (``conv_pre``, ``ups.N``, ``resblocks.N``, ``conv_post``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from audioup import ResizeConv1d, SubPixelConv1d, TransposedConv1d, regular
from audioup.init import weight_norm
from audioup.layer import UpsamplingLayer1d

SLOPE = 0.1

# One word swaps the family. Kernel sizes are those in use: twice the stride for transposed convolutions; the resize
# kernel of stride + 1 taps gives nearest-neighbour resizing that very composite length. An order p takes p (stride - 1)
# taps' freedom, so a regular kernel is p strides longer, which leaves it p more free taps than the free one.
UPSAMPLERS: dict[str, Callable[[int, int, int], UpsamplingLayer1d]] = {
    "transposed": lambda i, o, s: weight_norm(TransposedConv1d(i, o, 2 * s, s)),
    "subpixel": lambda i, o, s: weight_norm(SubPixelConv1d(i, o, 3, s)),
    "resize-nearest": lambda i, o, s: weight_norm(ResizeConv1d(i, o, s + 1, s, mode="nearest")),
    "resize-linear": lambda i, o, s: weight_norm(ResizeConv1d(i, o, s + 1, s, mode="linear")),
    "resize-cubic": lambda i, o, s: weight_norm(ResizeConv1d(i, o, s + 1, s, mode="cubic")),
    "resize-sinc": lambda i, o, s: weight_norm(ResizeConv1d(i, o, s + 1, s, mode="sinc")),
    "regular-1": lambda i, o, s: regular(weight_norm(TransposedConv1d(i, o, 3 * s, s)), order=1),
    "regular-2": lambda i, o, s: regular(weight_norm(TransposedConv1d(i, o, 4 * s, s)), order=2),
}


@dataclass(frozen=True)
class GeneratorShape:
    """Sizes of a generator.

    Attributes:
        strides: Upsampling factors; their product is the hop length.
        channels: Channels after the first convolution, halved by every stage.
        block_kernels: Kernel sizes of the residual blocks of a stage, whose outputs are averaged.
        block_dilations: Dilations of each block.
        convolutions_per_dilation: 2 for HiFi-GAN's block "1", 1 for its block "2".
    """

    strides: tuple[int, ...]
    channels: int
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    convolutions_per_dilation: int

    @property
    def hop_length(self) -> int:
        """Output samples per mel frame."""
        return math.prod(self.strides)


class ResidualBlock(nn.Module):
    """Dilated convolutions, each added to its input; shape ``(batch, channels, T)`` is kept."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...], convolutions_per_dilation: int):
        super().__init__()

        def convolution(dilation: int) -> nn.Module:
            return parametrizations.weight_norm(
                nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding="same")
            )

        self.paired = convolutions_per_dilation == 2
        first = nn.ModuleList(convolution(d) for d in dilations)
        if self.paired:
            self.convs1, self.convs2 = first, nn.ModuleList(convolution(1) for _ in dilations)
        else:
            self.convs = first

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x``."""
        if self.paired:
            for dilated, plain in zip(self.convs1, self.convs2, strict=True):
                x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        else:
            for dilated in self.convs:
                x = x + dilated(F.leaky_relu(x, SLOPE))
        return x


class AddNoise(nn.Module):
    """Add white noise, the same to all channels but for a learned gain (Karras, Laine & Aila, StyleGAN, CVPR 2019)."""

    def __init__(self, channels: int, standard_deviation: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels, 1), standard_deviation))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` of shape ``(batch, channels, T)`` with noise."""
        return x + self.gain * torch.randn(x.shape[0], 1, x.shape[-1], device=x.device, dtype=x.dtype)


class Generator(nn.Module):
    """Turn a log-mel spectrogram ``(batch, n_mels, T)`` into sound ``(batch, 1, hop_length * T)`` in -1 .. 1.

    Args:
        n_mels: Mel bands of the input.
        shape: Sizes.
        upsampler: A key of `UPSAMPLERS`.
        noise: Standard deviation at the start of the white noise added after every upsampler, one source a stage with
            a learned gain for every channel; 0 leaves it out, as published. Smooth interpolation of a slow mel has
            nothing above its pass-band for later layers to shape.

    Raises:
        ValueError: If the upsampler is unknown or the channels cannot be halved at every stage.
    """

    def __init__(self, n_mels: int, shape: GeneratorShape, upsampler: str, noise: float = 0.0) -> None:
        super().__init__()
        if upsampler not in UPSAMPLERS:
            raise ValueError(f"upsampler must be one of {', '.join(UPSAMPLERS)}, got {upsampler!r}")
        if shape.channels % 2 ** len(shape.strides):
            raise ValueError(f"channels must be divisible by {2 ** len(shape.strides)}, got {shape.channels}")
        self.shape = shape
        self.conv_pre = parametrizations.weight_norm(nn.Conv1d(n_mels, shape.channels, 7, padding="same"))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        self.noises = nn.ModuleList()
        channels = shape.channels
        for stride in shape.strides:
            self.ups.append(UPSAMPLERS[upsampler](channels, channels // 2, stride))
            channels //= 2
            if noise > 0:
                self.noises.append(AddNoise(channels, noise))
            for kernel_size, dilations in zip(shape.block_kernels, shape.block_dilations, strict=True):
                self.resblocks.append(ResidualBlock(channels, kernel_size, dilations, shape.convolutions_per_dilation))
        self.conv_post = parametrizations.weight_norm(nn.Conv1d(channels, 1, 7, padding="same"))

    def forward(self, mel: Tensor) -> Tensor:
        """Generate sound from ``mel``."""
        x = self.conv_pre(mel)
        blocks = len(self.shape.block_kernels)
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            if self.noises:
                x = self.noises[stage](x)
            branches = self.resblocks[stage * blocks : (stage + 1) * blocks]
            x = sum(block(x) for block in branches) / blocks
        return torch.tanh(self.conv_post(F.leaky_relu(x)))
