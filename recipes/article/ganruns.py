"""The GANs that several claims are measured on: each is trained once, or found trained, or gone on with."""

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import train_gan
from gan.models import Discriminator, Generator, Upsampler
from gan.options import LATEST, Options, plain

from article.earlier import load_finished, read_result, refuse_others
from article.outcome import Context

NEAREST: Upsampler = "resize-nearest"
KINDS: dict[str, tuple[tuple[Upsampler, ...], int]] = {
    # Layers, and the stride of the discriminator's first layer.
    "two": ((NEAREST, "transposed", "transposed"), 2),
    "one": ((NEAREST, NEAREST, "transposed"), 2),
    "none": ((NEAREST,) * 3, 2),
    "unstrided": ((NEAREST,) * 3, 1),
    "nearest": ((NEAREST,) * 3, 2),
    "linear": (("resize-linear",) * 3, 2),
    "sinc": (("resize-sinc",) * 3, 2),
}
STEPS, QUICK_STEPS = 4000, 600
SHORT = {"nearest": 1000, "linear": 1000, "sinc": 1000}  # steps of those that are only compared to each other
SEEDS = {"none": 5, "unstrided": 5}  # of the others 3
REPORT = {"steps": int, "E2": float, "E4": float, "photographs": dict, "curve": list}


def options(context: Context, kind: str, seed: int) -> Options:
    """Return the options of a run; ``quick`` leaves out the first layer, for 16 x 16 images, and most steps."""
    layers, stride = KINDS[kind]
    return Options(
        name=f"{kind}-{seed}",
        data=context.data,
        upsamplers=layers[1:] if context.quick else layers,
        discriminator_stride=1 if stride == 1 else 2,
        steps=QUICK_STEPS if context.quick else SHORT.get(kind, STEPS),
        seed=seed,
        save_every=1000,
        out=context.folder / "gan",
        accelerator=context.accelerator,
        width=16,
    )


def trained(context: Context, kind: str) -> list[dict[str, Any]]:
    """Return the reports of all seeds of a kind, trained now as far as they are not.

    Raises:
        ValueError: If the folder holds a run of other options or of other photographs, or is damaged.
    """
    return [_trained(options(context, kind, seed), context.photographs) for seed in range(SEEDS.get(kind, 3))]


def _trained(wanted: Options, photographs: str) -> dict[str, Any]:
    folder = wanted.out / wanted.name
    if not (folder / "report.json").exists():
        return train_gan.run(dataclasses.replace(wanted, resume=(folder / "config.json").exists()))
    report = read_result(folder / "report.json", REPORT)
    config = read_result(folder / "config.json", {"photographs": str}, remove=folder)
    then = {**LATEST, **report, "photographs": config["photographs"]}
    refuse_others(folder, then, {**plain(wanted), "photographs": photographs})
    return report


@lru_cache(maxsize=32)
def _open(folder: Path, steps: int, upsamplers: tuple[str, ...], latent: int, width: int) -> Generator:
    network = Generator(upsamplers, latent, width)
    load_finished(network, "mean", steps, folder, "checkpoints")
    return network.eval().requires_grad_(False)


def generator(context: Context, kind: str, seed: int) -> Generator:
    """Open the running mean of a trained generator."""
    wanted = options(context, kind, seed)
    return _open(wanted.out / wanted.name, wanted.steps, wanted.upsamplers, wanted.latent, wanted.width)


def discriminator(context: Context, kind: str, seed: int) -> torch.nn.Module:
    """Open a trained discriminator."""
    wanted = options(context, kind, seed)
    network = Discriminator(context.size, wanted.discriminator_stride, wanted.width)
    load_finished(network, "discriminator", wanted.steps, wanted.out / wanted.name, "checkpoints")
    return network.eval().requires_grad_(False)
