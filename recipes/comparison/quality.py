"""How near a vocoder's sound comes to the recording: the field's metrics, each from the package kept for it."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import audioup.telemetry  # noqa: F401

# isort: split
import auraloss
import librosa
import numpy as np
import pesq
import pystoi
import scipy.fft
import torch
import torchaudio
import torchcrepe
from numpy.typing import NDArray
from speechmos import dnsmos
from torch import Tensor
from torchcrepe.loudness import REF_DB
from visqol import VisqolApi
from vocoder.mel import input_mel

RATE = 16000  # Hz, that of PESQ wide band, ViSQOL for speech, CREPE and DNSMOS
CREPE_HOP = 160  # 10 ms
SILENCE_DB = -60.0  # A-weighted; below, nothing is voiced
UNVOICED = 0.21  # periodicity below
VISQOL_S = 0.7  # it finds no patch to compare in shorter clips
PITCHES_HZ = (50.0, 550.0)
CEPSTRUM = slice(1, 14)  # 13 coefficients, without the level

Metrics = dict[str, float]
Crepe = Literal["full", "tiny"]


class Quality:
    """Compare generated with recorded clips at one sample rate.

    Args:
        sample_rate: In Hz.
        hop_length: Of the mel, in samples.
        crepe: Size of the pitch tracker.
    """

    def __init__(self, sample_rate: int, hop_length: int, crepe: Crepe = "full") -> None:
        self.sample_rate, self.crepe = sample_rate, crepe
        self.mel = input_mel(sample_rate, hop_length)
        self.stft = auraloss.freq.MultiResolutionSTFTLoss()
        self._voices: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}

    def clip(self, name: str, real: Tensor, generated: Tensor) -> Metrics:
        """Return the metrics of one clip.

        Args:
            name: Of the recording; what is found in it is kept.
            real: The recording, shape ``(T,)``.
            generated: What stands for it, of the same length.

        Returns:
            ``mel_l1`` (log-mel, natural logarithm), ``multi_resolution_stft`` (auraloss), ``stoi``, ``pesq_wb``,
            ``visqol``, ``mcd_db`` (see `mel_cepstral_distortion`), ``periodicity_error`` and ``voicing_f1`` (see
            `compare_voices`) and DNSMOS' ``dnsmos_overall``, ``_speech``, ``_background``. NaN where a metric is not
            defined for the clip, as PESQ where it finds no utterance.
        """
        log_mels = [self.mel(sound).numpy() for sound in (real, generated)]
        reference, degraded = (self._at_16k(sound) for sound in (real, generated))
        if name not in self._voices:
            self._voices[name] = self._voice(reference)
        return {
            "mel_l1": self.mel_l1([real], [generated]),
            "multi_resolution_stft": float(self.stft(generated.view(1, 1, -1), real.view(1, 1, -1))),
            "stoi": float(pystoi.stoi(real.numpy(), generated.numpy(), self.sample_rate)),
            "pesq_wb": _pesq(reference, degraded),
            "visqol": _visqol(reference, degraded),
            "mcd_db": mel_cepstral_distortion(*log_mels),
            **compare_voices(self._voices[name], self._voice(degraded)),
            **_dnsmos(degraded),
        }

    def mel_l1(self, real: Sequence[Tensor], generated: Sequence[Tensor]) -> float:
        """Return the mean absolute difference of the log-mel spectrograms, natural logarithm, the mean over clips."""
        return float(np.mean([(self.mel(a) - self.mel(b)).abs().mean() for a, b in zip(real, generated, strict=True)]))

    def alone(self, real: Tensor) -> Metrics:
        """Return what of the metrics needs no reference, for a recording."""
        return _dnsmos(self._at_16k(real))

    def _at_16k(self, sound: Tensor) -> NDArray[np.float64]:
        return torchaudio.functional.resample(sound, self.sample_rate, RATE).double().clamp(-1, 1).numpy()

    def _voice(self, sound: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        return find_voice(sound, self.crepe)


def find_voice(sound: NDArray[np.float64], crepe: Crepe = "full") -> tuple[NDArray[Any], NDArray[Any]]:
    """Track pitch: periodicity and whether it is voiced, every 10 ms, as Vocos and CARGAN do.

    CREPE with Viterbi decoding from 50 to 550 Hz; frames of an A-weighted level below -60 dB count as not periodic,
    those of a periodicity below 0.21 as unvoiced.

    Args:
        sound: At 16 kHz, shape ``(T,)``, 64 ms or more.
        crepe: Size of the network.

    Source: Morrison et al., "Chunked Autoregressive GAN for Conditional Waveform Synthesis" (ICLR 2022), section 4.2;
    Siuzdak, "Vocos" (ICLR 2024), section 4.2.
    """
    audio = torch.from_numpy(sound).float().unsqueeze(0)
    _, found = torchcrepe.predict(
        audio, RATE, CREPE_HOP, *PITCHES_HZ, crepe, return_periodicity=True, batch_size=512, pad=False
    )
    periodicity = found[0].numpy()
    size = torchcrepe.WINDOW_SIZE
    power = np.abs(librosa.stft(sound, n_fft=size, hop_length=CREPE_HOP, center=False)) ** 2
    with np.errstate(divide="ignore"):  # 0 Hz has no logarithm, and a floor instead
        weighted = librosa.perceptual_weighting(power, librosa.fft_frequencies(sr=RATE, n_fft=size)) - REF_DB
    periodicity[weighted.mean(0)[: len(periodicity)] < SILENCE_DB] = 0
    return periodicity, periodicity >= UNVOICED


def compare_voices(real: tuple[NDArray[Any], NDArray[Any]], generated: tuple[NDArray[Any], NDArray[Any]]) -> Metrics:
    """Compare what `find_voice` found: root-mean-square error of the periodicity, F1 of voiced against unvoiced."""
    (periodicity, voiced), (other, other_voiced) = real, generated
    hits, all_voiced = float((voiced & other_voiced).sum()), float(voiced.sum() + other_voiced.sum())
    return {
        "periodicity_error": float(np.sqrt(np.mean((periodicity - other) ** 2))),
        "voicing_f1": 2 * hits / all_voiced if all_voiced else float("nan"),
    }


def mel_cepstral_distortion(real: NDArray[Any], generated: NDArray[Any]) -> float:
    """Return the mel-cepstral distortion in dB: ``10 / ln 10 sqrt(2 sum_m dc_m^2)``, ``m = 1 .. 13``, frame by frame.

    With ``log |H| = sum_m c_m cos(m w)`` and the orthonormal cosine transform ``C_m`` of the ``N`` log-mel magnitudes,
    ``c_m = C_m sqrt(2 / N)``: the root mean square, in dB, of the difference of two smoothed spectra.

    Args:
        real: Natural-log mel spectrogram, shape ``(n_mels, T)``.
        generated: Of the same shape.

    Source: Kubichek, "Mel-cepstral distance measure for objective speech quality assessment" (PACRIM 1993).
    """
    transform = scipy.fft.dct(real - generated, type=2, axis=0, norm="ortho")[CEPSTRUM]
    return float(20 / np.log(10) * np.sqrt(np.square(transform).sum(0) / len(real)).mean())


def means(clips: Sequence[Metrics]) -> Metrics:
    """Average metrics over clips, leaving out those where one is not defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a metric that is defined for no clip
        return {key: float(np.nanmean([clip[key] for clip in clips])) for key in clips[0]}


def _pesq(reference: NDArray[np.float64], degraded: NDArray[np.float64]) -> float:
    try:
        return float(pesq.pesq(RATE, reference, degraded, "wb"))
    except (pesq.NoUtterancesError, pesq.BufferTooShortError, ValueError):  # ValueError: digital silence
        return float("nan")


def _visqol(reference: NDArray[np.float64], degraded: NDArray[np.float64]) -> float:
    if len(reference) < VISQOL_S * RATE or not (reference.any() and degraded.any()):
        return float("nan")
    return float(_visqol_for_speech().measure_from_arrays(reference, degraded, RATE).moslqo)


@cache
def _visqol_for_speech() -> VisqolApi:
    api = VisqolApi()
    api.create(mode="speech")
    return api


def _dnsmos(sound: NDArray[np.float64]) -> Metrics:
    found: Mapping[str, float] = dnsmos.run(sound.astype(np.float32), RATE)
    names = {"overall": "ovrl_mos", "speech": "sig_mos", "background": "bak_mos"}
    return {f"dnsmos_{name}": float(found[key]) for name, key in names.items()}
