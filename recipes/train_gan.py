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
from tqdm import tqdm
from training.folder import chosen, claimed, curves
from training.machine import is_first, launched, make_fabric
from training.provenance import provenance, versions
from training.stopping import Asked, Stopped, status_of
from vocoder.checkpoint import checkpoints, drafts, place_of, set_aside, steps_done

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
        if not config.exists():
            raise ValueError(f"--resume: {folder} holds no run")
        try:
            then = json.loads(config.read_text(encoding="utf-8"))
            refused = differences(then["options"], options)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"--resume: {config} cannot be read: {error!r}") from error
        if then.get("photographs") != content["photographs"]:
            refused.append("photographs: others than then")
        if refused:
            raise ValueError(f"--resume: {folder} was begun with other options ({'; '.join(refused)})")
    elif config.exists():
        raise ValueError(f"{folder} holds a run already: --resume continues it, --name NAME begins another")
    if checkpoints(folder / "checkpoints") and not options.resume:
        raise ValueError(f"{folder} holds checkpoints without the config.json that says of which run; remove it")
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


def save_grid(trainer: Trainer, folder: Path) -> None:
    """Write the images of the same latents as ever, as the mean generator makes them now."""
    with torch.no_grad():
        images = trainer.mean(trainer.fixed[:SHOWN])
    (folder / "images").mkdir(exist_ok=True)
    write_png(grid(images, COLUMNS), folder / "images" / f"step-{trainer.step:06d}.png")


def report_on(trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Measure the finished generator on latents of its own, and write report.json and curve.png."""
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
        **provenance(trainer.fabric),
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
    check(options)
    size = FIRST * STRIDE ** len(options.upsamplers)
    patches = Patches(photographs(options.data, size), size)
    fabric = make_fabric(options)
    folder = options.out / options.name
    first = is_first(fabric)
    with claimed(folder) if first else nullcontext():
        if options.resume and not (folder / "config.json").exists():
            raise ValueError(f"--resume: {folder} holds no run")
        saved = chosen(folder / "checkpoints", options.resume_from) if options.resume else None
        if saved and steps_done(saved) > options.steps:
            raise ValueError(f"--steps {options.steps}: {saved} has been trained for longer already")
        if first:
            prepare_folder(options, patches)
        with launched(fabric):
            saved = fabric.broadcast(saved)
            trainer = Trainer(options, fabric, patches)
            if saved:
                trainer.resume(saved)
                fabric.barrier()  # all have read it
                if fabric.is_global_zero:
                    for path in set_aside(saved.parent, trainer.step):
                        print(f"renamed to {path}: a later checkpoint, which no longer counts")
            train(trainer, folder)
            return report_on(trainer, folder) if fabric.is_global_zero else {}


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
