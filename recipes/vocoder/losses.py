"""Losses of the generator and of the discriminators.

HiFi-GAN's least-squares adversarial loss, feature matching and mel loss (Kong, Kim & Bae, NeurIPS 2020), with the
multi-resolution STFT loss of Parallel WaveGAN (Yamamoto, Song & Kim, ICASSP 2020), from auraloss.
"""

from collections.abc import Iterable, Sequence

import auraloss
import torch
from torch import Tensor, distributed, nn

from vocoder.discriminators import Judgement
from vocoder.mel import CLAMP, LogMel

ADVERSARIAL_WEIGHT, FEATURE_WEIGHT, MEL_WEIGHT, STFT_WEIGHT = 1.0, 2.0, 45.0, 45.0


class SharedSpectralConvergence(auraloss.freq.SpectralConvergenceLoss):  # type: ignore[misc]
    """Spectral convergence ``|| |Y| - |X| || / || |Y| ||`` of a batch that is spread over processes, and parts of each.

    A ratio of norms over a batch is no mean over its examples, so what is under the roots is summed over all. The
    gradient is such that its mean over processes and parts is that of the whole.

    Attributes:
        known: Both sums over the whole batch, where it is in several parts.
        parts: Of the batch, in each process.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: Tensor | None = None
        self.parts = 1

    def forward(self, x_mag: Tensor, y_mag: Tensor) -> Tensor:
        """Compare magnitudes of the same shape."""
        processes = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        if processes * self.parts == 1:
            ratio: Tensor = super().forward(x_mag, y_mag)
            return ratio
        here = torch.stack([(y_mag - x_mag).square().sum(), y_mag.square().sum()])
        whole = self.known
        if whole is None:
            whole = here.detach().clone()
            distributed.all_reduce(whole)
        error, size = whole + processes * self.parts * (here - here.detach())
        return (error / size).sqrt()


class ReconstructionLoss(nn.Module):
    """Compare generated with real sound, both ``(batch, 1, T)``, by their spectra: ``(mel loss, STFT loss)``.

    Both are of the module's own type, float32 unless it was converted.

    The logarithm is ``log(1e-5 + magnitude)``: HiFi-GAN's ``log(max(1e-5, magnitude))`` has no gradient where the
    generated sound is too soft, which is where one is needed most.
    """

    def __init__(self, sample_rate: int, hop_length: int) -> None:
        super().__init__()
        self.mel = LogMel(sample_rate, hop_length)
        self.stft = auraloss.freq.MultiResolutionSTFTLoss()
        self.convergences = [SharedSpectralConvergence() for _ in self.stft.stft_losses]
        for resolution, convergence in zip(self.stft.stft_losses, self.convergences, strict=True):
            resolution.spectralconv = convergence

    @torch.no_grad()
    def announce(self, generated: Sequence[Tensor], real: Sequence[Tensor]) -> None:
        """Take note of a batch in several parts, before each is compared by itself with a gradient."""
        sums: list[list[Tensor]] = [[] for _ in self.convergences]
        for resolution, found in zip(self.stft.stft_losses, sums, strict=True):
            for pair in zip(generated, real, strict=True):
                x_mag, y_mag = (resolution.stft(audio.flatten(0, 1))[0] for audio in pair)
                found.append(torch.stack([(y_mag - x_mag).square().sum(), y_mag.square().sum()]))
        for convergence, found in zip(self.convergences, sums, strict=True):
            convergence.known, convergence.parts = torch.stack(found).sum(0), len(generated)
            if distributed.is_available() and distributed.is_initialized():
                distributed.all_reduce(convergence.known)

    def forward(self, generated: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return both losses, unweighted."""
        with torch.autocast(generated.device.type, enabled=False):
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
