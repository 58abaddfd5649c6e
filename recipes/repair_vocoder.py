"""Quieten the tones of a vocoder that is trained already: swap its upsamplers, train a little more, compare.

The upsamplers of a run of `train_vocoder.py` are converted to another family, as near as it can come to what they have
learned (`audioup.convert`), and the generator is then trained a little further. Three reports, before, converted and
tuned, with their sound and pictures, and one table say what that did. OUT/NAME is a run like any other: if it is
interrupted, `train_vocoder.py --name NAME --resume` trains it to its end.

    python recipes/train_vocoder.py
    python recipes/repair_vocoder.py runs/vocoder --to regular-1
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from lightning_fabric import Fabric
from train_vocoder import prepare_folder, train
from training.folder import begun, claimed
from training.machine import make_fabric
from training.provenance import provenance
from training.stopping import Stopped
from vocoder.checkpoint import load_checkpoint
from vocoder.data import open_corpus
from vocoder.levels import strongest_line
from vocoder.model import UPSAMPLERS, Generator
from vocoder.options import Settings, resolve
from vocoder.report import check_readable, write_report
from vocoder.runs import Run, open_run
from vocoder.segments import Segments
from vocoder.trainer import Trainer

from audioup import Conversion, convert
from audioup.fold import duplicate
from audioup.table import table


@dataclass(frozen=True)
class Options:
    """Convert the upsamplers of a trained vocoder, tune it, and compare."""

    run: tyro.conf.Positional[Path]
    """Folder of the trained run, such as runs/vocoder."""
    to: Literal[
        "regular-1",
        "regular-2",
        "resize-nearest",
        "resize-linear",
        "resize-cubic",
        "resize-sinc",
        "transposed",
        "subpixel",
    ] = "regular-1"
    """What the upsamplers become. What they are already leaves them as they are: the same tuning, to compare with."""
    steps: int = 1000
    """Generator steps of tuning; with discriminators if the run ended with them."""
    learning_rate: float = 5e-4
    """At the start of the tuning."""
    tone_loss: float | None = None
    """Weight of the loss on stride tones, as in train_vocoder.py; by default that of the run."""
    name: str = "repaired"
    """The new run's results go to OUT/NAME."""
    out: Path = Path("runs")
    """Folder of all runs."""
    data: str | None = None
    """Recordings, as in train_vocoder.py; by default those of the run."""
    cache: Path = Path("~/.cache/audioup")
    """Folder of synthesised and downloaded speech."""
    test_clips: int = 16
    """Held-out clips to generate and to measure, three times."""
    accelerator: str = "auto"
    """cpu, cuda, ...: see Lightning Fabric."""


def converted(generator: Generator, to: str) -> Conversion:
    """Convert a copy of a generator's upsamplers to what `vocoder.model.UPSAMPLERS` builds under a name."""
    return convert(duplicate(generator), UPSAMPLERS[to])


def settings(given: Options, run: Run) -> Settings:
    """Derive the options of the new run."""
    adversarial = run.options.warmup_steps < run.options.steps
    return dataclasses.replace(
        run.options,
        name=given.name,
        out=given.out,
        cache=given.cache,
        data=given.data or run.options.data,
        sample_rate=run.sample_rate,
        upsampler=given.to,
        steps=given.steps,
        warmup_steps=0 if adversarial else given.steps,
        learning_rate=given.learning_rate,
        tone_loss=run.options.tone_loss if given.tone_loss is None else given.tone_loss,
        test_clips=given.test_clips,
        accelerator=given.accelerator,
        devices=1,
        nodes=1,
        accumulate=1,
        resume=False,
        resume_from=None,
    )


def summary(reports: dict[str, dict[str, Any]]) -> str:
    """Lay the three reports out as one table."""
    rows: list[tuple[str, ...]] = [
        ("", "mel L1", "STFT", "STOI", "line on speech", "on silence", "on noise at -20 dBFS")
    ]
    for stage, report in reports.items():
        numbers = [f"{report['metrics'][name]:.3f}" for name in ("mel_l1", "multi_resolution_stft", "stoi")]
        rows.append((stage, *numbers, *(strongest(report["tones"][on]) for on in ("speech", "silence", "noise"))))
    return table(rows)


def strongest(tone: dict[str, Any]) -> str:
    """Say where the strongest line lies, or the verdict if there is none."""
    line = strongest_line(tone)
    return f"{line['level_dbfs']:.1f} dBFS at {line['frequency_hz']:.1f} Hz" if line else tone["verdict"]


def repair(given: Options) -> None:
    """Convert, tune, report."""
    run = open_run(given.run)
    fabric = make_fabric(dataclasses.replace(run.options, accelerator=given.accelerator, devices=1, nodes=1))
    options = resolve(settings(given, run), fabric.device)
    with claimed(options.out / options.name):
        begun(options.out / options.name, resume=False, step=None, steps=options.steps)
        tune(given, run, fabric, options)


def tune(given: Options, run: Run, fabric: Fabric, options: Settings) -> None:
    """Convert, tune, report, in a folder of its own."""
    corpus = open_corpus(options.data, run.sample_rate, options.cache)
    check_readable(corpus)
    conversion = converted(run.generator, given.to)
    folder = prepare_folder(options, corpus)
    fabric.launch()
    trainer = Trainer(options, fabric, run.sample_rate)
    trainer.generator_network.load_state_dict(conversion.model.state_dict())
    weights, _ = load_checkpoint(run.checkpoint, ("discriminators",))
    trainer.networks["discriminators"].load_state_dict(weights["discriminators"])
    trainer.wrap()
    trainer.save(folder / "checkpoints")
    print(conversion)
    (folder / "conversion.json").write_text(json.dumps(conversion.to_dict(), indent=1) + "\n", encoding="utf-8")

    origin = {"seed": options.seed, **provenance(fabric)}

    def report(stage: str, generator: Generator) -> dict[str, Any]:
        details = {"name": f"{given.name}, {stage}", "steps": trainer.step, "preset": options.preset, **origin}
        details["upsampler"] = run.options.upsampler if stage == "before" else given.to
        torch.manual_seed(options.seed)
        where = folder if stage == "tuned" else folder / stage
        return write_report(generator, trainer.mel, corpus, where, options.test_clips, details)

    reports = {
        "before": report("before", run.generator.to(fabric.device, trainer.dtype)),
        "converted": report("converted", trainer.generator_network),
    }
    trainer.generator_network.train()
    segments = Segments(
        corpus.train, corpus.sample_rate, options.segment_size, options.batch_size, options.steps, options.seed, 0, 1
    )
    train(trainer, segments, corpus, folder)
    reports["tuned"] = report("tuned", trainer.generator_network)
    text = summary(reports)
    (folder / "repair.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "repair.json").write_text(json.dumps(reports, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(text)
    print(f"listen: {folder}/{{before,converted}}/audio and {folder}/audio   numbers: {folder / 'repair.json'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 128 + n stopped by signal n."""
    options = tyro.cli(Options, args=arguments)
    try:
        repair(options)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"repair_vocoder: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(
            f"repair_vocoder: {str(interruption) or 'interrupted'}; train_vocoder.py --name {options.name} --resume "
            "trains it to its end",
            file=sys.stderr,
        )
        return interruption.status if isinstance(interruption, Stopped) else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
