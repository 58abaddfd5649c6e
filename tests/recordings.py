"""Recordings made on the spot for tests."""

import os
from pathlib import Path

import numpy as np
import soundfile
from vocoder.data import Clip

RATE = 8000


def write(path: Path, samples: np.ndarray | float = 0.1, seconds: float = 0.25, rate: int = RATE, **kwargs) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(samples, float):
        samples = np.full(round(seconds * rate), samples)
    soundfile.write(os.fsencode(path), samples, rate, **kwargs)  # bytes: any name will do
    return path


def clip_of(path: Path) -> Clip:
    info = soundfile.info(path)
    return Clip(path, info.frames, info.samplerate, path.stem)
