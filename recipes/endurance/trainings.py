"""Small trainings of both recipes, as commands, and what they leave."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from vocoder.checkpoint import DIGESTS, checkpoints

RECIPES = Path(__file__).parent.parent
FEW_THREADS = {"OMP_NUM_THREADS": "1"}  # these networks are too small for more


@dataclass(frozen=True)
class Training:
    """A training program with options that make it short.

    Attributes:
        program: ``train_vocoder`` or ``train_gan``.
        options: Of it, but for the folder and the name.
    """

    program: str
    options: tuple[str, ...]

    def command(self, folder: Path, *options: str) -> list[str]:
        """Return the command that trains in ``folder``, or goes on if it was begun there."""
        where = ("--out", str(folder.parent), "--name", folder.name)
        resume = ("--resume",) if (folder / "config.json").exists() else ()
        return [sys.executable, str(RECIPES / f"{self.program}.py"), *self.options, *where, *resume, *options]


def vocoder(data: Path, steps: int, *options: str) -> Training:
    """Return a short training of a vocoder, half of it with discriminators, with a checkpoint after every step."""
    sizes = ("--data", str(data), "--cache", str(data.parent / "cache"), "--batch-size", "2", "--segment-size", "2048")
    times = ("--steps", str(steps), "--warmup-steps", str(steps // 2), "--save-every", "1", "--validate-every", "7")
    return Training("train_vocoder", ("--accelerator", "cpu", "--test-clips", "1", *sizes, *times, *options))


def gan(steps: int, *options: str) -> Training:
    """Return a short training of a GAN, with a checkpoint after every step."""
    sizes = ("--batch-size", "4", "--width", "8", "--latent", "16", "--upsamplers", "resize-nearest", "transposed")
    times = ("--steps", str(steps), "--save-every", "1", "--measure-every", "7")
    return Training("train_gan", ("--accelerator", "cpu", *sizes, *times, *options))


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; return it with what it printed."""
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def environment() -> dict[str, str]:
    """Return the environment of a training."""
    return {**os.environ, **FEW_THREADS}


def differences(one: Path, other: Path) -> list[str]:
    """Name what differs, in any bit, between the newest checkpoints of two runs; times are left out."""
    newest = [checkpoints(folder / "checkpoints")[-1] for folder in (one, other)]
    if newest[0].name != newest[1].name:
        return [f"{newest[0].name} and {newest[1].name}"]
    files = sorted(path.name for path in newest[0].iterdir() if path.name != DIGESTS)
    found = []
    for file in files:
        contents: list[Any]
        if file.endswith(".safetensors"):
            contents = [load_file(folder / file) for folder in newest]
        else:
            contents = [torch.load(folder / file, weights_only=True) for folder in newest]
            for content in contents:
                content.pop("seconds")
        found += [f"{file}: {where}" for where in _differing(*contents)]
    return found


def _differing(one: object, other: object, where: str = "") -> list[str]:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [where]
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [f"{where}: {sorted(map(str, one.keys() ^ other.keys()))}"]
        return [place for key in one for place in _differing(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [
            place for n, pair in enumerate(zip(one, other, strict=True)) for place in _differing(*pair, f"{where}/{n}")
        ]
    return [] if one == other else [where]


def clear(folder: Path) -> None:
    """Remove what an earlier trial left."""
    shutil.rmtree(folder, ignore_errors=True)
