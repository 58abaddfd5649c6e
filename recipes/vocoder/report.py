"""What a trained vocoder is worth: sound, pictures, and a report in numbers."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import auraloss
import numpy as np
import pystoi
import soundfile
import torch
from torch import Tensor, nn

from audioup import ToneReport, measure_tones, regularity_order, tonal_fraction
from audioup.layer import UpsamplingLayer1d
from audioup.plot import Panel, plot_tones
from audioup.table import plain, readable
from vocoder.checkpoint import drafts
from vocoder.data import Clip, Corpus, UnreadableClip, load_clip
from vocoder.levels import strongest_line
from vocoder.mel import LogMel
from vocoder.model import Generator

PROBE_S = 10.0  # of silence and of noise
NOISE_DBFS = -20.0
PICTURES = 4
Pair = tuple[str, Tensor, Tensor]  # name, recording, generated
MEAN_CLIPS = 300  # training clips that the mean frame is taken from, evenly through the list
LEAST_SAMPLES = 2048  # of a clip: the longest Fourier transform of the STFT distance reflects 1024 at either end


@torch.no_grad()
def write_report(
    generator: Generator, mel: LogMel, corpus: Corpus, folder: Path, clips: int, details: dict[str, Any]
) -> dict[str, Any]:
    """Generate held-out clips, silence and noise; write sound, pictures and ``report.json``; return the report.

    Args:
        generator: The trained generator; left in eval mode.
        mel: The mel it is conditioned on, on the same device.
        corpus: Its test clips are generated, its training clips give the mean frame that a model must beat.
        folder: Gets ``audio/``, ``pictures/``, ``probes/`` (silence and noise), ``report.json`` and ``report.txt``.
        clips: At most so many test clips.
        details: Copied into the report.

    Raises:
        ValueError: If no test clip is usable (see `check_readable`).
        OSError: If the folder cannot be written.
    """
    sample_rate, strides = corpus.sample_rate, generator.shape.strides
    pairs = generate_held_out(generator, mel, corpus.test, sample_rate, clips)
    generator.eval()
    if not pairs:
        raise ValueError("no held-out clip is usable")
    silence = vocode(generator, mel, torch.zeros(int(PROBE_S * sample_rate)))
    noise_source = torch.randn(int(PROBE_S * sample_rate), generator=torch.Generator().manual_seed(0))
    noise = vocode(generator, mel, noise_source * 10 ** (NOISE_DBFS / 20))
    tones = {
        "speech": measure_tones([generated.numpy() for _, _, generated in pairs], sample_rate, strides),
        "reference speech": measure_tones([real.numpy() for _, real, _ in pairs], sample_rate, strides),
        "silence": measure_tones(silence.numpy(), sample_rate, strides),
        "noise": measure_tones(noise.numpy(), sample_rate, strides),
    }
    report = {
        **details,
        "sample_rate": sample_rate,
        "test_clips": len(pairs),
        "metrics": {**_metrics(pairs, mel, corpus), "real_time_factor": _real_time_factor(generator, mel, sample_rate)},
        "parameters": sum(p.numel() for p in generator.parameters()),
        "upsamplers": describe_upsamplers(generator),
        "tones": {name: tone.to_dict() for name, tone in tones.items()},
    }
    probes = [("silence", silence, tones["silence"]), ("noise", noise, tones["noise"])]
    _write_sound(folder, sample_rate, pairs, probes)
    _write_pictures(folder, sample_rate, strides, pairs, probes)
    # Renamed into place: where report.json is, the training is done.
    with drafts(folder / "report.txt", folder / "report.json") as (words, numbers):
        words.write_text(format_report(report) + "\n", encoding="utf-8")
        numbers.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return report


def check_readable(corpus: Corpus) -> None:
    """Raise `ValueError`, before anything is trained, unless a training and a held-out clip can be used in the end."""
    for split, clips in (("training", corpus.train), ("held-out", corpus.test)):
        if not _readable(clips, corpus.sample_rate, 1, most=1):
            least_s = LEAST_SAMPLES / corpus.sample_rate
            raise ValueError(f"none of the {len(clips)} {split} clips is readable and at least {least_s:.2f} s long")


def generate_held_out(
    generator: Generator, mel: LogMel, clips: Sequence[Clip], sample_rate: int, most: int
) -> list[Pair]:
    """Turn recordings into mels and back: name, recording and generated sound of each, cut to whole frames."""
    training = generator.training
    generator.eval()
    pairs = [
        (clip.name, real, vocode(generator, mel, real))
        for clip, real in _readable(clips, sample_rate, mel.hop_length, most)
    ]
    generator.train(training)
    return pairs


@torch.no_grad()
def vocode(generator: Generator, mel: LogMel, audio: Tensor) -> Tensor:
    """Turn sound ``(T,)`` into a mel and back into sound, on the generator's device; return it on the CPU."""
    device = next(generator.parameters()).device
    return generator(mel(audio.to(device)).unsqueeze(0)).flatten().float().cpu()


def format_report(report: dict[str, Any]) -> str:
    """Lay the report out as a table for people."""
    metrics = report["metrics"]
    rows = [
        f"{plain(report['name'])}: {report['upsampler']}, {report['preset']}, {report['steps']} steps, "
        f"{report['parameters']:,} parameters",
        f"  mel L1                 {metrics['mel_l1']:.3f}   (the training set's mean frame: "
        f"{metrics['mean_frame_mel_l1']:.3f})",
        f"  multi-resolution STFT  {metrics['multi_resolution_stft']:.3f}",
        f"  STOI                   {metrics['stoi']:.3f}",
        f"  real-time factor       {metrics['real_time_factor']:.3f}   (seconds of computing per second of sound)",
        "  stage  layer              channels   stride  kernel_size  composite L  parameters  tonal fraction  order",
    ]
    for stage, layer in enumerate(report["upsamplers"]):
        fraction = layer["tonal_fraction_db"]
        channels = f"{layer['in_channels']} -> {layer['out_channels']}"
        rows.append(
            f"  {stage:5}  {layer['kind']:17}  {channels:9}  {layer['stride']:6}  {layer['kernel_size']:11}  "
            f"{layer['kernel_length']:11}  {layer['parameters']:10,}  {fraction:11.1f} dB"
            f"  {layer['regularity_order']:5}"
        )
    rows.append("  stride tones on     strongest    at           verdict                lines        decoys")
    for name, tone in report["tones"].items():
        found, strongest = sum(line["detected"] for line in tone["lines"]), strongest_line(tone)
        where = f"{strongest['level_dbfs']:6.1f} dBFS  {strongest['frequency_hz']:7.1f} Hz" if strongest else "  none"
        decoys = "" if tone["decoy_rate"] is None else f"{tone['decoy_rate']:.1%}"
        verdict = "" if strongest else tone["verdict"]
        rows.append(f"  {name:18} {where:26} {verdict:22} {found:3} of {len(tone['lines']):3}  {decoys}")
    return "\n".join(rows)


def describe_upsamplers(generator: Generator) -> list[dict[str, Any]]:
    """List the upsampling layers, with the size of the kernel that each amounts to and its share of tone."""
    rows = []
    for layer in generator.ups:
        if not isinstance(layer, UpsamplingLayer1d):
            continue
        kernel = layer.kernel().detach()
        fraction = float(tonal_fraction(kernel.double(), layer.stride))
        rows.append(
            {
                "kind": type(layer).__name__.removeprefix("Parametrized"),
                "in_channels": layer.in_channels,
                "out_channels": layer.out_channels,
                "stride": layer.stride,
                "kernel_size": layer.kernel_size,
                "kernel_length": layer.kernel_length,
                "parameters": sum(p.numel() for p in layer.parameters()),
                "tonal_fraction_db": max(fraction, -300.0),
                "regularity_order": regularity_order(kernel, layer.stride),
            }
        )
    return rows


def _readable(clips: Sequence[Clip], sample_rate: int, hop_length: int, most: int) -> list[tuple[Clip, Tensor]]:
    found: list[tuple[Clip, Tensor]] = []
    for clip in clips:
        if len(found) == most:
            break
        try:
            audio = load_clip(clip, sample_rate)
        except UnreadableClip as error:
            print(f"left out of the report: {error}")
            continue
        audio = audio[: len(audio) // hop_length * hop_length]
        if len(audio) < LEAST_SAMPLES:
            print(f"left out of the report: {readable(clip.path)} is shorter than {LEAST_SAMPLES} samples")
            continue
        found.append((clip, audio))
    return found


def _metrics(pairs: list[Pair], mel: LogMel, corpus: Corpus) -> dict[str, Any]:
    on_cpu = LogMel(corpus.sample_rate, mel.hop_length, maximum_hz=mel.mel.f_max)
    evenly = corpus.train[:: math.ceil(len(corpus.train) / MEAN_CLIPS)]
    training = [on_cpu(audio) for _, audio in _readable(evenly, corpus.sample_rate, mel.hop_length, MEAN_CLIPS)]
    if not training:
        raise ValueError("none of the training clips is readable any more: there is no mean frame to compare with")
    mean_frame = torch.cat(training, dim=1).mean(1, keepdim=True)
    stft = auraloss.freq.MultiResolutionSTFTLoss()
    distances, from_mean, spectral, stoi = [], [], [], []
    for _, real, generated in pairs:
        target = on_cpu(real)
        distances.append((on_cpu(generated) - target).abs().mean(0))
        from_mean.append((mean_frame - target).abs().mean(0))
        spectral.append(float(stft(generated.view(1, 1, -1), real.view(1, 1, -1))))
        stoi.append(float(pystoi.stoi(real.numpy(), generated.numpy(), corpus.sample_rate)))
    return {
        "mel_l1": float(torch.cat(distances).mean()),
        "mean_frame_mel_l1": float(torch.cat(from_mean).mean()),
        "multi_resolution_stft": float(np.mean(spectral)),
        "stoi": float(np.mean(stoi)),
    }


def _real_time_factor(generator: nn.Module, mel: LogMel, sample_rate: int) -> float:
    weight = next(generator.parameters())
    device = weight.device
    frames = math.ceil(PROBE_S * sample_rate / mel.hop_length)
    log_mel = torch.randn(1, mel.mel.n_mels, frames, device=device, dtype=weight.dtype) - 5  # about the level of speech
    times = []
    for _ in range(7):
        start = time.perf_counter()
        generator(log_mel)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:])) / (frames * mel.hop_length / sample_rate)  # the first two warm up


def _write_sound(
    folder: Path,
    sample_rate: int,
    pairs: list[Pair],
    probes: list[tuple[str, Tensor, ToneReport]],
) -> None:
    audio = folder / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    for name, real, generated in pairs:
        _write_wav(audio / f"{name}.reference.wav", real.clamp(-1, 1), sample_rate)
        _write_wav(audio / f"{name}.generated.wav", generated, sample_rate)
    (folder / "probes").mkdir(exist_ok=True)
    for name, sound, _ in probes:
        # Float: what a silent mel leaves lies below the steps of 16 bits.
        _write_wav(folder / "probes" / f"{name}.wav", sound, sample_rate, subtype="FLOAT")


def _write_wav(path: Path, sound: Tensor, sample_rate: int, subtype: str = "PCM_16") -> None:
    try:
        soundfile.write(path, sound.numpy(), sample_rate, subtype=subtype)
    except (soundfile.SoundFileError, AssertionError) as error:  # how soundfile reports a full disk
        raise OSError(f"cannot write {readable(path)} (is the disk full?): {plain(str(error))}") from error


def _write_pictures(
    folder: Path,
    sample_rate: int,
    strides: tuple[int, ...],
    pairs: list[Pair],
    probes: list[tuple[str, Tensor, ToneReport]],
) -> None:
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for name, real, generated in pairs[:PICTURES]:
        panels = [
            Panel(f"{title}, {name}", sound.numpy(), measure_tones(sound.numpy(), sample_rate, strides))
            for title, sound in (("reference", real), ("generated", generated))
        ]
        plot_tones(panels, pictures / f"{name}.png")
    panels = [Panel(f"generated, {name}", sound.numpy(), tone) for name, sound, tone in probes]
    plot_tones(panels, folder / "probes" / "tones.png")
