"""Discriminators: multi-period (HiFi-GAN) and multi-resolution (UnivNet).

Kong, Kim & Bae, "HiFi-GAN" (NeurIPS 2020); Jang et al., "UnivNet: A Neural Vocoder with Multi-Resolution Spectrogram
Discriminators for High-Fidelity Waveform Generation" (Interspeech 2021).
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1

Judgement = tuple[Tensor, list[Tensor]]  # scores, and the features of every layer


@dataclass(frozen=True)
class DiscriminatorShape:
    """Sizes of the discriminators.

    Attributes:
        periods: One multi-period discriminator each.
        period_channels: Output channels of each of its layers.
        resolutions: One spectrogram discriminator each: n_fft, hop_length, win_length.
        resolution_channels: Channels of their layers.
    """

    periods: tuple[int, ...]
    period_channels: tuple[int, ...]
    resolutions: tuple[tuple[int, int, int], ...]
    resolution_channels: int


class PeriodDiscriminator(nn.Module):
    """Judge sound folded into rows of ``period`` samples, columns apart."""

    def __init__(self, period: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        widths = (1, *channels)
        # All layers but the last thin the rows out by three.
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (5, 1), stride=(3 if n < len(channels) - 1 else 1, 1), padding=(2, 0)))
            for n, (i, o) in enumerate(pairwise(widths))
        )
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> Judgement:
        """Judge ``audio`` of shape ``(batch, 1, T)``."""
        x = F.pad(audio, (0, -audio.shape[-1] % self.period), mode="reflect")
        return _judge(x.unflatten(-1, (-1, self.period)), self.layers, self.score)


class ResolutionDiscriminator(nn.Module):
    """Judge a magnitude spectrogram."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, win_length: int, channels: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)
        widths = (1, *[channels] * 5)
        # The three middle layers halve the time axis.
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    i, o, (3, 9 if n < 4 else 3), stride=(1, 2 if 1 <= n <= 3 else 1), padding=(1, 4 if n < 4 else 1)
                )
            )
            for n, (i, o) in enumerate(pairwise(widths))
        )
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> Judgement:
        """Judge ``audio`` of shape ``(batch, 1, T)``."""
        # The Fourier transform has no bfloat16 form, so it stays outside mixed precision.
        wide = torch.promote_types(audio.dtype, torch.float32)
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                audio.squeeze(1).to(wide),
                self.n_fft,
                self.hop_length,
                len(self.window),
                self.window.to(wide),
                return_complex=True,
            )
            magnitude = spectrum.abs().unsqueeze(1)
        return _judge(magnitude, self.layers, self.score)


class Discriminators(nn.Module):
    """All discriminators of a shape; on sounds ``(batch, 1, T)`` they return one judgement each, sound by sound."""

    def __init__(self, shape: DiscriminatorShape) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            [
                *(PeriodDiscriminator(period, shape.period_channels) for period in shape.periods),
                *(ResolutionDiscriminator(*sizes, shape.resolution_channels) for sizes in shape.resolutions),
            ]
        )

    def forward(self, *sounds: Tensor) -> list[list[Judgement]]:
        """Judge sounds in one call, which is what averaging gradients over processes needs."""
        return [[member(sound) for member in self.members] for sound in sounds]


def _judge(x: Tensor, layers: nn.ModuleList, score: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    x = score(x)
    return x.flatten(1), [*features, x]
