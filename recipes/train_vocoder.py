"""Train a small HiFi-GAN vocoder with the upsampler of your choice, then listen to it and measure its stride tones.

With no options: speech is synthesised by eSpeak NG, a tiny generator is trained for a few minutes on two CPU cores, and
``runs/vocoder/`` gets the sound, the spectrograms and the report.

    python recipes/train_vocoder.py
    python recipes/train_vocoder.py --name other --upsampler resize-nearest --data path/to/recordings --steps 3000
"""

import json
import math
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
import tyro
from lightning_fabric import Fabric
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from vocoder.checkpoint import checkpoints, steps_done
from vocoder.data import Corpus, listing_digest, open_corpus
from vocoder.options import Options, Settings, begun_with, plain, resolve
from vocoder.report import check_readable, format_report, generate_held_out, write_report
from vocoder.segments import Segments
from vocoder.skipped import list_skipped, say_skipped, say_unreadable
from vocoder.trainer import Trainer

from audioup import measure_tones
from audioup.table import readable


def prepare_folder(options: Settings, corpus: Corpus) -> Path:
    """Make the run's folder and write its configuration, or check that the one there is the run to be continued."""
    folder = options.out / options.name
    config = folder / "config.json"
    versions = {name: version(name) for name in ("audioup", "torch", "torchaudio", "lightning-fabric", "numpy")}
    content = {
        "options": plain(options),
        "sample_rate": corpus.sample_rate,
        "versions": {"python": platform.python_version(), **versions},
        "recordings": listing_digest(corpus.train),
    }
    if options.resume:
        then = json.loads(config.read_text(encoding="utf-8"))
        if then.get("recordings") != content["recordings"]:
            raise ValueError(f"--resume: the recordings in {options.data} are not those that {folder} was begun with")
        content["versions"] = then.get("versions")
    elif config.exists():
        raise ValueError(f"{folder} holds a run already: --resume continues it, --name NAME begins another")
    folder.mkdir(parents=True, exist_ok=True)
    # Renamed into place, so that a kill leaves the old one or the new one.
    draft = config.with_suffix(".new")
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draft.replace(config)
    return folder


def validate(trainer: Trainer, corpus: Corpus, writer: SummaryWriter) -> None:
    """Write held-out sound, its mel L1 and the levels of its stride tones to TensorBoard."""
    generator, mel, rate = trainer.generator_network, trainer.mel, corpus.sample_rate
    held_out = generate_held_out(generator, mel, corpus.valid, rate, most=4)
    if not held_out:
        return
    device = trainer.fabric.device
    distance = [float((mel(g.to(device)) - mel(r.to(device))).abs().mean()) for _, r, g in held_out]
    writer.add_scalar("validation/mel_l1", sum(distance) / len(distance), trainer.step)
    tones = measure_tones([g.numpy() for _, _, g in held_out], rate, generator.shape.strides)
    for line in tones.lines:
        if line.detected:
            writer.add_scalar(f"tones_dbfs/{line.frequency_hz:.1f}_hz", line.level_dbfs, trainer.step)
    strongest = tones.strongest
    if tones.lines:
        power = sum(10 ** (line.level_dbfs / 10) for line in tones.lines)
        writer.add_scalar("validation/total_tones_dbfs", 10 * math.log10(power), trainer.step)
    writer.add_scalar("validation/tones_detected", sum(line.detected for line in tones.lines), trainer.step)
    if strongest:
        writer.add_scalar("validation/strongest_tone_dbfs", strongest.level_dbfs, trainer.step)
    writer.add_audio("generated", held_out[0][2].unsqueeze(0), trainer.step, rate)
    writer.add_audio("reference", held_out[0][1].unsqueeze(0), trainer.step, rate)


def train(trainer: Trainer, segments: Segments, corpus: Corpus, folder: Path) -> None:
    """Train from the trainer's step to the last, with checkpoints and validations."""
    options, fabric = trainer.options, trainer.fabric
    steps = range(trainer.step, options.steps)
    batches = DataLoader(segments, batch_size=None, sampler=steps, num_workers=options.workers)
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=trainer.step + 1) if fabric.is_global_zero else None
    with tqdm(total=options.steps, initial=trainer.step, unit="step", desc=options.name, disable=writer is None) as bar:
        for batch in batches:
            losses = trainer.train_step(batch.to(fabric.device))
            bar.set_postfix({name: f"{value:.2f}" for name, value in losses.items()}, refresh=False)
            bar.update()
            if writer is None:
                continue
            for name, value in losses.items():
                writer.add_scalar(f"loss/{name}", value, trainer.step)
            validating = trainer.step % options.validate_every == 0 or trainer.step == options.steps
            trainer.monitor.write(writer, trainer.step, trainer.generator_network if validating else None)
            if validating:
                validate(trainer, corpus, writer)
            if trainer.step % options.save_every == 0 or trainer.step == options.steps:
                trainer.save(folder / "checkpoints")
    if writer is not None:
        writer.close()


def make_fabric(options: Options) -> Fabric:
    """Choose device, precision and number of processes; `ValueError` if this machine does not have them."""
    on_cuda = options.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    precision = options.precision if options.precision != "auto" else ("bf16-mixed" if on_cuda else "32-true")
    strategy = "ddp" if options.devices > 1 else "auto"
    try:
        return Fabric(accelerator=options.accelerator, devices=options.devices, strategy=strategy, precision=precision)
    except RuntimeError as error:
        raise ValueError(f"--accelerator {options.accelerator}: {error}") from error


def run(given: Options) -> None:
    """Train, generate, measure and report."""
    if given.resume:
        given = begun_with(given)
    fabric = make_fabric(given)
    options = resolve(given, fabric.device)
    # The first process checks everything and speaks the corpus before the others exist; they find it done.
    first = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
    corpus = open_corpus(options.data, options.sample_rate, options.cache)
    folder = options.out / options.name
    saved = checkpoints(folder / "checkpoints") if options.resume else []
    if saved and steps_done(saved[-1]) > options.steps:
        raise ValueError(f"--steps {options.steps}: {saved[-1]} has been trained for longer already")
    if first:
        print(
            f"{readable(options.data)}: {len(corpus.train)} clips to train on, {len(corpus.valid)} to validate, "
            f"{len(corpus.test)} to test, {corpus.sample_rate} Hz"
        )
        say_skipped(corpus)
        check_readable(corpus)
        list_skipped(prepare_folder(options, corpus), corpus.skipped)
    fabric.launch()
    trainer = Trainer(options, fabric, corpus.sample_rate)
    trainer.wrap()
    if saved:
        trainer.resume(saved[-1])
    segments = Segments(
        corpus.train,
        corpus.sample_rate,
        options.segment_size,
        options.batch_size,
        options.steps,
        options.seed,
        fabric.global_rank,
        fabric.world_size,
    )
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: tqdm.write(f"train_vocoder: {message}", file=sys.stderr)
        train(trainer, segments, corpus, folder)
    if fabric.is_global_zero:
        torch.manual_seed(options.seed)
        details = {
            **{key: value for key, value in plain(options).items() if key not in ("resume", "out", "cache")},
            "clips": {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)},
            "skipped": len(corpus.skipped) + len(segments.unreadable),
            "clipped": len(segments.clipped),
            "training_s": trainer.seconds,
            "device": str(fabric.device),
            "threads": torch.get_num_threads(),
        }
        report = write_report(trainer.generator_network, trainer.mel, corpus, folder, options.test_clips, details)
        print(format_report(report))
        say_unreadable(segments)
        list_skipped(folder, [*corpus.skipped, *segments.skipped()])
        print(f"listen: {folder / 'audio'}   look: {folder / 'pictures'}   numbers: {folder / 'report.json'}")
    fabric.barrier()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"train_vocoder: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"train_vocoder: interrupted; --resume continues {options.out / options.name}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
