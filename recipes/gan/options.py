"""Options of `train_gan.py`."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal

from training import machine
from training.machine import Machine, Precision, check_shares

from gan.models import UPSAMPLERS, Upsampler

# What may differ between the parts of one run; everything else decides the weights.
FREE_TO_CHANGE = {"name", "steps", "save_every", "measure_every", "resume", "resume_from", "out", "accelerator"}
FREE_TO_CHANGE |= machine.FREE_TO_CHANGE
LATEST = {"precision": "32-true"}  # options that earlier runs did not have


@dataclasses.dataclass(frozen=True)
class Options(Machine):
    """Train a small GAN on patches of photographs and measure the checkerboards of what it generates."""

    name: str = "gan"
    """The run's results go to OUT/NAME."""
    data: str = "photos"
    """photos (the two that come with scikit-learn), or a folder of images, with or without a folder for each class."""
    upsamplers: tuple[Upsampler, ...] = ("resize-nearest", "transposed", "transposed")
    """The layer of each doubling, first to last, from 4 x 4: two make 16 x 16 images, three 32 x 32."""
    discriminator_stride: Literal[1, 2] = 2
    """Of the discriminator's first layer; the others have 2."""
    width: int = 16
    """Channels before the generator's last layer and after the discriminator's first; doubled further inside."""
    latent: int = 64
    """Numbers that an image is drawn from."""
    steps: int = 6000
    """Of both networks."""
    batch_size: int = 32
    """Images a step, over all processes."""
    learning_rate: float = 1e-3
    """Adam's."""
    r1: float = 0.1
    """Weight of the discriminator's squared gradient at real images."""
    ema: float = 0.995
    """Of the mean of the generator's weights over steps, which is what is measured and shown."""
    seed: int = 0
    """Decides weights, patches and latents."""
    measure_every: int = 200
    """Steps between points of the curve."""
    save_every: int = 500
    """Steps between checkpoints."""
    resume: bool = False
    """Continue OUT/NAME from its newest checkpoint."""
    resume_from: int | None = None
    """The same from the checkpoint of this step; later ones are renamed, and no longer count."""
    out: Path = Path("runs")
    """Folder of all runs."""
    precision: Precision = "32-true"
    """auto is bf16-mixed on CUDA and 32-true elsewhere; 64-true is slow, to compare trainings without rounding."""


def check(options: Options) -> None:
    """Raise `ValueError` naming the first option that is out of range."""
    if not 1 <= len(options.upsamplers) <= 5 or any(name not in UPSAMPLERS for name in options.upsamplers):
        raise ValueError(f"--upsamplers must be one to five of {', '.join(UPSAMPLERS)}, got {options.upsamplers}")
    for key in ("width", "latent", "steps", "measure_every", "save_every"):
        if getattr(options, key) < 1:
            raise ValueError(f"--{key.replace('_', '-')} must be at least 1, got {getattr(options, key)}")
    check_shares(options, options.batch_size)
    normalised = options.batch_size // options.accumulate  # together, over all processes
    if normalised < 2:
        raise ValueError(
            f"--batch-size must be at least {2 * options.accumulate} for batch normalisation, got {options.batch_size}"
        )
    for key in ("learning_rate", "r1"):
        if not 0 <= getattr(options, key) < math.inf:
            raise ValueError(f"--{key.replace('_', '-')} must not be negative, and finite, got {getattr(options, key)}")
    if not 0 <= options.ema < 1:
        raise ValueError(f"--ema must be at least 0 and below 1, got {options.ema}")
    if not 0 <= options.seed < 2**32:
        raise ValueError(f"--seed must be at least 0 and below 2**32, got {options.seed}")
    if options.name in ("", ".", "..") or Path(options.name).name != options.name:
        raise ValueError(f"--name must be a plain folder name, got {options.name!r}")
    check_folder(options.out / options.name)


def check_folder(folder: Path) -> None:
    """Raise `ValueError` if a file stands where a folder of results has to be."""
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise ValueError(f"--out must be a folder, got {place}")


def plain(options: Options) -> dict[str, Any]:
    """Return the options that decide a run's weights, with its steps, as values of JSON."""
    content = dataclasses.asdict(options)
    kept = {key: value for key, value in content.items() if key == "steps" or key not in FREE_TO_CHANGE}
    decided: dict[str, Any] = json.loads(json.dumps(kept))
    return decided


def differences(then: dict[str, Any], options: Options) -> list[str]:
    """List in words which options that decide the weights are others now than ``then``."""
    return [
        f"{key}: {then.get(key)!r} then, {value!r} now"
        for key, value in plain(options).items()
        if key != "steps" and {**LATEST, **then}.get(key) != value
    ]
