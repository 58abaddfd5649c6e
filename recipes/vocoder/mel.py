"""HiFi-GAN's mel spectrogram."""

import math

import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

CLAMP = 1e-5  # magnitudes below are silence


class LogMel(nn.Module):
    """Turn sound ``(..., T)`` into a natural-log mel magnitude spectrogram ``(..., n_mels, T // hop_length)``.

    HiFi-GAN's definition: Hann window, ``(n_fft - hop_length) / 2`` samples reflected at either end instead of centred
    frames, magnitude (not power), Slaney's mel scale and normalisation, logarithm of the value clamped at 1e-5. At
    22.05 kHz ``n_fft`` is 1024; at other rates the power of two nearest to the same duration. It is of the module's own
    type, float32 unless it was converted.

    Args:
        sample_rate: In Hz.
        hop_length: Samples per frame.
        n_mels: Bands.
        maximum_hz: Upper edge of the last band; None is Nyquist.

    Source: Kong, Kim & Bae, "HiFi-GAN" (NeurIPS 2020) and its published configuration.
    """

    def __init__(self, sample_rate: int, hop_length: int, n_mels: int = 80, maximum_hz: float | None = None) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.n_fft = max(2 ** round(math.log2(1024 * sample_rate / 22050)), 2 * hop_length)
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate,
            self.n_fft,
            hop_length=hop_length,
            f_max=maximum_hz,
            n_mels=n_mels,
            power=1.0,
            center=False,
            norm="slaney",
            mel_scale="slaney",
        )

    def magnitude(self, audio: Tensor) -> Tensor:
        """Return the mel magnitudes before the logarithm."""
        pad = (self.n_fft - self.hop_length) // 2
        flat = audio.reshape(-1, audio.shape[-1]).to(self.mel.mel_scale.fb.dtype)
        # One sample is reflected over and over where a clip is shorter than the pad.
        mode = "reflect" if flat.shape[-1] > pad else "replicate"
        mel = self.mel(F.pad(flat, (pad, self.n_fft - self.hop_length - pad), mode=mode))
        return mel.reshape(*audio.shape[:-1], *mel.shape[-2:])

    def forward(self, audio: Tensor) -> Tensor:
        """Return the log-mel spectrogram."""
        return self.magnitude(audio).clamp(min=CLAMP).log()


def input_mel(sample_rate: int, hop_length: int) -> LogMel:
    """Build the mel that a generator is conditioned on: up to 8 kHz at 22.05 kHz and below, in proportion above."""
    return LogMel(sample_rate, hop_length, maximum_hz=min(sample_rate / 2, 8000 * max(1.0, sample_rate / 22050)))
