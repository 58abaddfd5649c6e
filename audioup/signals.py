"""Inputs for a network that are made of its own real ones, whatever they are: mels, latents, codes or sound.

A held input, a loud one and a quiet one, and one that is noise: frames of the real inputs, drawn at random.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Sound = np.ndarray[Any, Any]


def single(inputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Take batches of inputs apart: what has three axes or more becomes as many inputs as its first axis is long.

    Args:
        inputs: One tensor or several, time on the last axis.

    Raises:
        TypeError: If an input is no tensor.
        ValueError: If there is none, one is empty or holds NaN or infinity, or they differ in more than length.
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not given:
        raise ValueError("inputs must hold at least one tensor, got none")
    for n, x in enumerate(given):
        if not isinstance(x, Tensor):
            raise TypeError(f"inputs must be tensors, got {type(x).__name__} at index {n}")
        if x.dim() == 0 or x.numel() == 0:
            raise ValueError(f"inputs must have at least one frame on the last axis, got shape {tuple(x.shape)}")
        if not x.isfinite().all():
            raise ValueError(f"inputs must be finite, got NaN or infinity at index {n}")
    apart = [one for x in given for one in (x.split(1) if x.dim() > 2 else (x,))]
    shapes = {(*x.shape[:-1], x.dtype) for x in apart}
    if len(shapes) > 1:
        raise ValueError(f"inputs must differ in length only, got {sorted(map(str, shapes))}")
    return apart


def is_sound(x: Tensor) -> bool:
    """Whether an input looks like sound rather than frames: floating point, with one or two values at a time."""
    return x.is_floating_point() and math.prod(x.shape[1:-1] if x.dim() > 2 else x.shape[:-1]) <= 2


def held(x: Tensor, frame: int, frames: int) -> Tensor:
    """Repeat one frame of an input ``frames`` times."""
    return x[..., frame : frame + 1].expand(*x.shape[:-1], frames).contiguous()


def drawn(inputs: Sequence[Tensor], frames: int, seed: int) -> Tensor:
    """Draw frames from all inputs, each as likely, one independent of the other: stationary, and noise."""
    pool = torch.cat(list(inputs), -1)
    picks = np.random.default_rng(seed).integers(pool.shape[-1], size=frames)
    return pool[..., torch.from_numpy(picks).to(pool.device)]


def extremes(inputs: Sequence[Tensor], sounds: Sequence[Sequence[Sound]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Find the frames at which the sound is quietest and loudest.

    Args:
        inputs: The inputs.
        sounds: The sounds that each gave.

    Returns:
        Input and frame, of the quietest and of the loudest.
    """
    energies = []
    for x, channels in zip(inputs, sounds, strict=True):
        frames = x.shape[-1]
        energy = np.zeros(frames)
        for sound in channels:
            of = np.arange(len(sound)) * frames // max(1, len(sound))
            energy += np.bincount(of, np.square(sound), minlength=frames)
        energies.append(energy)
    every = np.concatenate(energies)
    starts = np.cumsum([0, *(len(energy) for energy in energies)])

    def place(index: int) -> tuple[int, int]:
        which = int(np.searchsorted(starts, index, side="right")) - 1
        return which, index - int(starts[which])

    return place(int(every.argmin())), place(int(every.argmax()))
