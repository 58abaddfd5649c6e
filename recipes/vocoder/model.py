"""The generator: HiFi-GAN's or BigVGAN's, with its upsamplers chosen by name.

Kong, Kim & Bae, "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis" (NeurIPS
2020); Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (ICLR 2023). Module names are the
published ones (``conv_pre``, ``ups.N``, ``resblocks.N``, ``conv_post``); `vocoder.published` loads published weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from audioup import Oversampled, ResizeConv1d, Snake, SnakeBeta, SubPixelConv1d, TransposedConv1d, regular
from audioup.init import weight_norm
from audioup.layer import UpsamplingLayer1d

SLOPE = 0.1
ACTIVATIONS = ("leaky_relu", "snake", "snakebeta")

# One word swaps the family. Kernel sizes are those in use: twice the stride for transposed convolutions; the resize
# kernel of stride + 1 taps gives nearest-neighbour resizing that very composite length. An order p takes p (stride - 1)
# taps' freedom, so a regular kernel is p strides longer, which leaves it p more free taps than the free one. "partial"
# overlaps unevenly, 2:1 (Pons et al.); "default" is torch's initialisation instead of ICNR.
UPSAMPLERS: dict[str, Callable[[int, int, int], UpsamplingLayer1d]] = {
    "transposed": lambda i, o, s: weight_norm(TransposedConv1d(i, o, 2 * s, s)),
    "transposed-partial": lambda i, o, s: weight_norm(TransposedConv1d(i, o, 3 * s // 2, s)),
    "subpixel": lambda i, o, s: weight_norm(SubPixelConv1d(i, o, 3, s)),
    "subpixel-default": lambda i, o, s: weight_norm(SubPixelConv1d(i, o, 3, s, init="default")),
    "resize-nearest": lambda i, o, s: weight_norm(ResizeConv1d(i, o, s + 1, s, mode="nearest")),
    "resize-linear": lambda i, o, s: weight_norm(ResizeConv1d(i, o, s + 1, s, mode="linear")),
    "resize-cubic": lambda i, o, s: weight_norm(ResizeConv1d(i, o, s + 1, s, mode="cubic")),
    "resize-sinc": lambda i, o, s: weight_norm(ResizeConv1d(i, o, s + 1, s, mode="sinc")),
    "regular-1-short": lambda i, o, s: regular(weight_norm(TransposedConv1d(i, o, 2 * s, s)), order=1),
    "regular-2-short": lambda i, o, s: regular(weight_norm(TransposedConv1d(i, o, 3 * s, s)), order=2),
    "regular-1": lambda i, o, s: regular(weight_norm(TransposedConv1d(i, o, 3 * s, s)), order=1),
    "regular-1-projected": lambda i, o, s: regular(weight_norm(TransposedConv1d(i, o, 3 * s, s)), 1, init="project"),
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
        upsampling_kernels: Kernel size of every transposed convolution, for ``upsampler="transposed"`` only; by
            default those of `UPSAMPLERS`.
        activation: ``"leaky_relu"``, HiFi-GAN's, also before every upsampler; ``"snake"`` or ``"snakebeta"``,
            BigVGAN's, at twice the sample rate, and none before the upsamplers.
        activation_taps: Filter of snakes at the double rate, as `audioup.Oversampled` takes it; by default its own.
        log_scale: Whether snakes learn logarithms.
        final_tanh: Whether ``tanh`` bounds the sound, instead of clipping.
        final_bias: Whether the last convolution has a bias.
    """

    strides: tuple[int, ...]
    channels: int
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    convolutions_per_dilation: int
    upsampling_kernels: tuple[int, ...] | None = None
    activation: str = "leaky_relu"
    activation_taps: tuple[float, ...] | None = None
    log_scale: bool = True
    final_tanh: bool = True
    final_bias: bool = True

    @property
    def hop_length(self) -> int:
        """Output samples per mel frame."""
        return math.prod(self.strides)


class ResidualBlock(nn.Module):
    """Dilated convolutions, each added to its input; shape ``(batch, channels, T)`` is kept."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...], shape: GeneratorShape):
        super().__init__()

        def convolution(dilation: int) -> nn.Module:
            return parametrizations.weight_norm(
                nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding="same")
            )

        self.paired = shape.convolutions_per_dilation == 2
        first = nn.ModuleList(convolution(d) for d in dilations)
        if self.paired:
            self.convs1, self.convs2 = first, nn.ModuleList(convolution(1) for _ in dilations)
        else:
            self.convs = first
        count = len(dilations) * shape.convolutions_per_dilation
        self.activations = nn.ModuleList(_activation(channels, shape, SLOPE) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x``."""
        if self.paired:
            steps = zip(self.activations[::2], self.convs1, self.activations[1::2], self.convs2, strict=True)
            for first, dilated, second, plain in steps:
                x = x + plain(second(dilated(first(x))))
        else:
            for activation, dilated in zip(self.activations, self.convs, strict=True):
                x = x + dilated(activation(x))
        return x


def _activation(channels: int, shape: GeneratorShape, slope: float) -> nn.Module:
    if shape.activation == "leaky_relu":
        return nn.LeakyReLU(slope)
    snake = (Snake if shape.activation == "snake" else SnakeBeta)(channels, log_scale=shape.log_scale)
    if shape.activation_taps is None:
        return Oversampled(snake)
    # On the CPU also where a context builds models on the meta device.
    return Oversampled(snake, taps=torch.tensor(shape.activation_taps, dtype=torch.float64, device="cpu"))


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
        ValueError: If the upsampler or the activation is unknown, the channels cannot be halved at every stage, or
            the shape's upsampling kernels are for another upsampler or other stages.
    """

    def __init__(self, n_mels: int, shape: GeneratorShape, upsampler: str, noise: float = 0.0) -> None:
        super().__init__()
        if upsampler not in UPSAMPLERS:
            raise ValueError(f"upsampler must be one of {', '.join(UPSAMPLERS)}, got {upsampler!r}")
        if shape.channels % 2 ** len(shape.strides):
            raise ValueError(f"channels must be divisible by {2 ** len(shape.strides)}, got {shape.channels}")
        if shape.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {shape.activation!r}")
        kernels = shape.upsampling_kernels
        if kernels is not None and (upsampler != "transposed" or len(kernels) != len(shape.strides)):
            raise ValueError(
                f"upsampling_kernels must be one for each of the strides {shape.strides} of transposed convolutions, "
                f"got {kernels} for {upsampler!r}"
            )
        self.shape = shape
        # No parameters in it; BigVGAN has none.
        self.activation_up = nn.LeakyReLU(SLOPE) if shape.activation == "leaky_relu" else nn.Identity()
        self.conv_pre = parametrizations.weight_norm(nn.Conv1d(n_mels, shape.channels, 7, padding="same"))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        self.noises = nn.ModuleList()
        channels = shape.channels
        for stage, stride in enumerate(shape.strides):
            if kernels is None:
                self.ups.append(UPSAMPLERS[upsampler](channels, channels // 2, stride))
            else:
                self.ups.append(weight_norm(TransposedConv1d(channels, channels // 2, kernels[stage], stride)))
            channels //= 2
            if noise > 0:
                self.noises.append(AddNoise(channels, noise))
            for kernel_size, dilations in zip(shape.block_kernels, shape.block_dilations, strict=True):
                self.resblocks.append(ResidualBlock(channels, kernel_size, dilations, shape))
        self.activation_post = _activation(channels, shape, 0.01)  # the published slope at the end
        self.conv_post = parametrizations.weight_norm(nn.Conv1d(channels, 1, 7, padding="same", bias=shape.final_bias))

    def forward(self, mel: Tensor) -> Tensor:
        """Generate sound from ``mel``."""
        x = self.conv_pre(mel)
        blocks = len(self.shape.block_kernels)
        for stage, up in enumerate(self.ups):
            x = up(self.activation_up(x))
            if self.noises:
                x = self.noises[stage](x)
            branches = self.resblocks[stage * blocks : (stage + 1) * blocks]
            x = sum(block(x) for block in branches) / blocks
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.shape.final_tanh else x.clamp(-1, 1)
