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
from importlib.metadata import version
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
from vocoder.checkpoint import checkpoints, drafts, steps_done

SHOWN, COLUMNS = 64, 8
REPORTED = 1024  # images that the final numbers are of, none of those of the curve


def prepare_folder(options: Options, patches: Patches) -> list[Path]:
    """Begin the run's folder, or check that the one there is the run to be continued; return its checkpoints."""
    folder = options.out / options.name
    config = folder / "config.json"
    content = {
        "options": plain(options),
        "photographs": patches.fingerprint(),
        "versions": {name: version(name) for name in ("audioup", "torch", "lightning-fabric", "numpy")},
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
    saved = checkpoints(folder / "checkpoints")
    if saved and not options.resume:
        raise ValueError(f"{folder} holds checkpoints without the config.json that says of which run; remove it")
    if saved and steps_done(saved[-1]) > options.steps:
        raise ValueError(f"--steps {options.steps}: {saved[-1]} has been trained for longer already")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(content, config)
    return saved


def train(trainer: Trainer, folder: Path) -> None:
    """Train from the trainer's step to the last, with points of the curve, image grids and checkpoints."""
    options = trainer.options
    if trainer.step == 0:
        trainer.measure()
        save_grid(trainer, folder)
    with tqdm(total=options.steps, initial=trainer.step, unit="step", desc=options.name, leave=False) as bar:
        while trainer.step < options.steps:
            losses = trainer.train_step()
            last = trainer.step == options.steps
            if last or trainer.step % options.measure_every == 0:
                losses.update(trainer.measure())
                bar.set_postfix({key: f"{value:.3g}" for key, value in losses.items() if key != "step"}, refresh=False)
            if last or trainer.step % options.save_every == 0:
                trainer.save(folder / "checkpoints")
                save_grid(trainer, folder)
            bar.update()


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
    fresh = latents(REPORTED, trainer.options.latent, seed=trainer.options.seed + 1).to(trainer.fabric.device)
    with torch.no_grad():
        images = torch.cat([trainer.mean(part) for part in fresh.split(MEASURED)])
    report = {
        **plain(trainer.options),
        "size": trainer.mean.size,
        **energies(images),
        "photographs": real,
        "training_s": trainer.seconds,
        "device": str(trainer.fabric.device),
        "threads": torch.get_num_threads(),
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
    """Train, measure and report; return the report."""
    check(options)
    size = FIRST * STRIDE ** len(options.upsamplers)
    patches = Patches(photographs(options.data, size), size)
    try:
        fabric = Fabric(accelerator=options.accelerator, devices=1)
    except RuntimeError as error:
        raise ValueError(f"--accelerator {options.accelerator}: {error}") from error
    saved = prepare_folder(options, patches)
    folder = options.out / options.name
    trainer = Trainer(options, fabric, patches)
    if saved:
        trainer.resume(saved[-1])
    train(trainer, folder)
    return report_on(trainer, folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        report = run(options)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"train_gan: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"train_gan: interrupted; --resume continues {options.out / options.name}", file=sys.stderr)
        return 130
    folder = options.out / options.name
    for key in ("E2", "E4"):
        print(f"{key}: {100 * report[key]:.2f} % of the energy; photographs {100 * report['photographs'][key]:.2f} %")
    print(f"{report['training_s']:.0f} s; look: {folder / 'images'}, {folder / 'curve.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
