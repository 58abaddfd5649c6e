"""Losses of the generator and of the discriminators.

HiFi-GAN's least-squares adversarial loss, feature matching and mel loss (Kong, Kim & Bae, NeurIPS 2020), with the
multi-resolution STFT loss of Parallel WaveGAN (Yamamoto, Song & Kim, ICASSP 2020), from auraloss.
"""

from collections.abc import Iterable

import auraloss
import torch
from torch import Tensor, nn

from vocoder.discriminators import Judgement
from vocoder.mel import CLAMP, LogMel

ADVERSARIAL_WEIGHT, FEATURE_WEIGHT, MEL_WEIGHT, STFT_WEIGHT = 1.0, 2.0, 45.0, 45.0


class ReconstructionLoss(nn.Module):
    """Compare generated with real sound, both ``(batch, 1, T)``, by their spectra: ``(mel loss, STFT loss)``.

    The logarithm is ``log(1e-5 + magnitude)``: HiFi-GAN's ``log(max(1e-5, magnitude))`` has no gradient where the
    generated sound is too soft, which is where one is needed most.
    """

    def __init__(self, sample_rate: int, hop_length: int) -> None:
        super().__init__()
        self.mel = LogMel(sample_rate, hop_length)
        self.stft = auraloss.freq.MultiResolutionSTFTLoss()

    def forward(self, generated: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return both losses, unweighted."""
        with torch.autocast(generated.device.type, enabled=False):
            generated, real = generated.float(), real.float()
            log_mels = [(CLAMP + self.mel.magnitude(audio)).log() for audio in (generated, real)]
            return (log_mels[0] - log_mels[1]).abs().mean(), self.stft(generated, real)


def discriminator_loss(real: list[Judgement], generated: list[Judgement]) -> Tensor:
    """Sum over discriminators of the squared distance of real scores from 1 and of generated ones from 0."""
    return _sum((1 - r).square().mean() + g.square().mean() for (r, _), (g, _) in zip(real, generated, strict=True))


def adversarial_loss(generated: list[Judgement]) -> Tensor:
    """Sum over discriminators of the squared distance of generated scores from 1."""
    return _sum((1 - score).square().mean() for score, _ in generated)


def feature_loss(real: list[Judgement], generated: list[Judgement]) -> Tensor:
    """Sum over all layers of all discriminators of the mean absolute difference of their features."""
    return _sum(
        (r.detach() - g).abs().mean()
        for (_, real_features), (_, generated_features) in zip(real, generated, strict=True)
        for r, g in zip(real_features, generated_features, strict=True)
    )


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """Sum tensors, typed as a tensor."""
    return torch.stack(list(terms)).sum()
