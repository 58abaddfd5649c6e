"""Train a small GAN whose upsampling layers are of your choice, look at it, and measure its checkerboards.

With no options: 32 x 32 patches of the two photographs that come with scikit-learn, transposed convolution in the last
two of three layers, a few minutes on two CPU cores. ``runs/gan/`` gets image grids, the curve and the numbers.

    python recipes/train_gan.py
    python recipes/train_gan.py --name clean --upsamplers resize-nearest resize-nearest resize-nearest
    python recipes/train_gan.py --name mine --data path/to/images --width 32 --steps 20000
"""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import tyro
from gan.data import Patches, photographs
from gan.models import FIRST, STRIDE
from gan.options import Options, check, differences, plain
from gan.pictures import grid, plot_curve, write_png
from gan.trainer import MEASURED, Trainer, energies, latents
from lightning_fabric import Fabric
from tqdm import tqdm
from training.folder import begun, claimed, curves, resume_together
from training.machine import as_launched, is_first, launched, make_fabric
from training.provenance import provenance, versions
from training.stopping import Asked, Stopped, status_of
from vocoder.checkpoint import drafts, place_of

SHOWN, COLUMNS = 64, 8
REPORTED = 1024  # images that the final numbers are of, none of those of the curve


def prepare_folder(options: Options, patches: Patches) -> None:
    """Begin the run's folder, or check that the one there is the run to be continued."""
    folder = options.out / options.name
    config = folder / "config.json"
    content = {
        "options": plain(options),
        "photographs": patches.fingerprint(),
        "versions": versions(),
    }
    if options.resume:
        try:
            then = json.loads(config.read_text(encoding="utf-8"))
            refused = differences(then["options"], options)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"--resume: {config} cannot be read: {error!r}") from error
        if then.get("photographs") != content["photographs"]:
            refused.append("photographs: others than then")
        if refused:
            raise ValueError(f"--resume: {folder} was begun with other options ({'; '.join(refused)})")
        content["versions"] = then.get("versions")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(content, config)


def train(trainer: Trainer, folder: Path) -> None:
    """Train from the trainer's step to the last, with curves, image grids and checkpoints; `Stopped` if asked to."""
    options, fabric, first = trainer.options, trainer.fabric, trainer.fabric.is_global_zero
    saving = folder / "checkpoints"
    if trainer.step == 0 and first:
        trainer.measure()
        save_grid(trainer, folder)
    with (
        curves(folder / "tensorboard", trainer.step) if first else nullcontext() as writer,
        tqdm(
            total=options.steps, initial=trainer.step, unit="step", desc=options.name, leave=False, disable=not first
        ) as bar,
        Asked(fabric) as asked,
    ):
        while trainer.step < options.steps:
            losses = {f"loss/{name}": value for name, value in trainer.train_step().items()}
            last = trainer.step == options.steps
            if writer is not None:
                if last or trainer.step % options.measure_every == 0:
                    losses |= {name: value for name, value in trainer.measure().items() if name != "step"}
                    bar.set_postfix({name: f"{value:.3g}" for name, value in losses.items()}, refresh=False)
                for name, value in losses.items():
                    writer.add_scalar(name, value, trainer.step)
            number = asked.anywhere()
            if last or trainer.step % options.save_every == 0 or number:
                trainer.save(saving)
                if first:
                    save_grid(trainer, folder)
            bar.update()
            if number:
                raise Stopped(number, trainer.step, place_of(saving, trainer.step))
        if number := asked.anywhere():  # while the last one was saved
            raise Stopped(number, trainer.step, place_of(saving, trainer.step))


def save_grid(trainer: Trainer, folder: Path) -> None:
    """Write the images of the same latents as ever, as the mean generator makes them now."""
    with torch.no_grad():
        images = trainer.mean(trainer.fixed[:SHOWN])
    (folder / "images").mkdir(exist_ok=True)
    write_png(grid(images, COLUMNS), folder / "images" / f"step-{trainer.step:06d}.png")


def report_on(trainer: Trainer, folder: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Measure the finished generator on latents of its own; write report.json, with ``origin`` in it, and curve.png."""
    torch.manual_seed(trainer.options.seed)
    real = energies(trainer.patches.draw(REPORTED))
    fresh = latents(REPORTED, trainer.options.latent, seed=trainer.options.seed + 1).to(trainer.fixed)
    with torch.no_grad():
        images = torch.cat([trainer.mean(part) for part in fresh.split(MEASURED)])
    report = {
        **plain(trainer.options),
        "size": trainer.mean.size,
        **energies(images),
        "photographs": real,
        "training_s": trainer.seconds,
        "skipped_updates": trainer.updates.skipped,
        "accumulate": trainer.options.accumulate,
        "on_nan": trainer.options.on_nan,
        **origin,
        "curve": trainer.curve,
    }
    plot_curve(trainer.curve, real, folder / "curve.png")
    write_json(report, folder / "report.json")
    return report


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write an object so that a kill leaves the old file or the new one."""
    with drafts(path) as (draft,):
        draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def run(options: Options) -> dict[str, Any]:
    """Train, measure and report; return the report, empty in other processes than the first."""
    if options.resume_from is not None:
        options = replace(options, resume=True)
    options = as_launched(options)
    check(options)
    size = FIRST * STRIDE ** len(options.upsamplers)
    patches = Patches(photographs(options.data, size), size)
    fabric = make_fabric(options)
    folder = options.out / options.name
    if not is_first(fabric):
        with launched(fabric):
            return learn(fabric, options, patches, folder, None)
    with claimed(folder):
        saved = begun(folder, options.resume, options.resume_from, options.steps)
        prepare_folder(options, patches)
        with launched(fabric):
            return learn(fabric, options, patches, folder, saved)


def learn(fabric: Fabric, options: Options, patches: Patches, folder: Path, saved: Path | None) -> dict[str, Any]:
    """Train, in every process, and report in the first, which has chosen a checkpoint."""
    if fabric.broadcast(patches.fingerprint()) != patches.fingerprint():
        raise ValueError(f"process {fabric.global_rank} found other photographs in {options.data} than the first one")
    origin = provenance(fabric)
    trainer = Trainer(options, fabric, patches)
    resume_together(fabric, trainer, saved)
    train(trainer, folder)
    return report_on(trainer, folder, origin) if fabric.is_global_zero else {}


def show(report: dict[str, Any], folder: Path) -> None:
    """Print what came out, in the first process."""
    for key in ("E2", "E4") if report else ():
        print(f"{key}: {100 * report[key]:.2f} % of the energy; photographs {100 * report['photographs'][key]:.2f} %")
    if report:
        print(f"{report['training_s']:.0f} s; look: {folder / 'images'}, {folder / 'curve.png'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 128 + n stopped by signal n."""
    options = tyro.cli(Options, args=arguments)
    folder = options.out / options.name
    return status_of("train_gan", folder, lambda: show(run(options), folder))


if __name__ == "__main__":
    sys.exit(main())
