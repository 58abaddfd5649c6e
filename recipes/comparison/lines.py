"""The stride tones of a vocoder: on held-out speech, on silence, and on what it was never trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from calibration.sounds import draw_sounds
from torch import Tensor
from vocoder.levels import levels
from vocoder.mel import LogMel
from vocoder.model import Generator
from vocoder.report import Pair, vocode

from audioup import ToneReport, measure_tones

SECONDS = 30.0  # of each other input
BLOCK = 4  # periods
STRANGE = ("sustained notes", "drums", "white noise")  # no speech: see `calibration.sounds`

Lines = dict[str, Any]


def other_inputs(sample_rate: int, hop_length: int) -> dict[str, list[Tensor]]:
    """Draw what else a vocoder is given, cut to whole frames: digital silence, notes, drums and noise."""
    inputs = {"silence": [torch.zeros(int(SECONDS * sample_rate))]}
    for seed, name in enumerate(STRANGE):
        drawn = draw_sounds(name, sample_rate, SECONDS, np.random.default_rng(seed))
        inputs[name] = [torch.from_numpy(sound).float() for sound in drawn]
    return {name: [clip[: len(clip) // hop_length * hop_length] for clip in clips] for name, clips in inputs.items()}


def measure_lines(generator: Generator, mel: LogMel, pairs: Sequence[Pair], sample_rate: int) -> dict[str, Lines]:
    """Measure the lines of held-out speech and of `other_inputs`: what `in_brief` says of each.

    Args:
        generator: In ``eval()``.
        mel: What it is conditioned on.
        pairs: Held-out recordings and what it makes of them.
        sample_rate: In Hz.
    """
    sounds = {"speech": [generated for _, _, generated in pairs]}
    for name, clips in other_inputs(sample_rate, mel.hop_length).items():
        sounds[name] = [vocode(generator, mel, clip) for clip in clips]
    return {name: in_brief(_measured(clips, sample_rate, generator.shape.strides)) for name, clips in sounds.items()}


def measure_recordings(
    pairs: Sequence[Pair], sample_rate: int, hop_length: int, strides: Sequence[int]
) -> dict[str, Lines]:
    """Measure the same of the recordings and of the other inputs themselves: what there is by chance, or by music."""
    sounds = {"speech": [real for _, real, _ in pairs], **other_inputs(sample_rate, hop_length)}
    return {name: in_brief(_measured(clips, sample_rate, strides)) for name, clips in sounds.items()}


def without_lines(sounds: Sequence[Tensor], period: int) -> list[Tensor]:
    """Take out of sounds what repeats with ``period`` in all of them, as loud as it is at the moment.

    The coherent mean of all periods of all sounds is scaled for every block of four periods so that it fits best (least
    squares), and subtracted. That also takes what a block has in common with it by chance.

    Args:
        sounds: Tensors of shape ``(T,)`` that start where the generator started.
        period: Product of the strides, in samples.
    """
    whole = torch.cat([sound[: len(sound) // period * period].unflatten(0, (-1, period)) for sound in sounds])
    line = (whole.mean(0) - whole.mean()).repeat(BLOCK)
    if not line.any():
        return list(sounds)
    rest = []
    for sound in sounds:
        blocks = torch.nn.functional.pad(sound, (0, -len(sound) % len(line))).unflatten(0, (-1, len(line)))
        rest.append((blocks - (blocks @ line)[:, None] / (line @ line) * line).flatten()[: len(sound)])
    return rest


def in_brief(report: ToneReport) -> Lines:
    """Return what `vocoder.levels.levels` does, ``detected`` and ``lines``, how many of how many; and every harmonic.

    ``upper_dbfs`` is the upper end of each line's 95 % interval by its frequency in Hz.
    """
    return {
        **levels(report.to_dict()),
        "detected": sum(line.detected for line in report.lines),
        "lines": len(report.lines),
        "verdict": report.verdict,
        "upper_dbfs": {f"{line.frequency_hz:g}": round(line.interval_dbfs[1], 2) for line in report.lines},
    }


def _measured(clips: Sequence[Tensor], sample_rate: int, strides: Sequence[int]) -> ToneReport:
    return measure_tones([clip.numpy() for clip in clips], sample_rate, strides)
