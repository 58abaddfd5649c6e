"""Train a small HiFi-GAN vocoder with the upsampler of your choice, then listen to it and measure its stride tones.

With no options: speech is synthesised by eSpeak NG, a tiny generator is trained for a few minutes on two CPU cores, and
``runs/vocoder/`` gets the sound, the spectrograms and the report.

    python recipes/train_vocoder.py
    python recipes/train_vocoder.py --name other --upsampler resize-nearest --data path/to/recordings --steps 3000
"""

import json
import math
import sys
import warnings
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import tyro
from lightning_fabric import Fabric
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from training.folder import begun, claimed, curves, resume_together
from training.machine import as_launched, is_first, largest, launched, make_fabric
from training.provenance import provenance, versions
from training.stopping import Asked, Stopped, ignore_signals, status_of
from vocoder.checkpoint import drafts, place_of
from vocoder.data import Corpus, listing_digest, open_corpus
from vocoder.options import Options, Settings, begun_with, plain, resolve
from vocoder.report import check_readable, format_report, generate_held_out, write_report
from vocoder.segments import ClipWarning, Segments
from vocoder.skipped import list_skipped, say_skipped, say_unreadable
from vocoder.trainer import Trainer

from audioup import measure_tones
from audioup.table import readable

NOT_REPORTED = ("resume", "resume_from", "out", "cache")  # of the options


def prepare_folder(options: Settings, corpus: Corpus) -> Path:
    """Make the run's folder and write its configuration, or check that the recordings are those it was begun with."""
    folder = options.out / options.name
    config = folder / "config.json"
    content = {
        "options": plain(options),
        "sample_rate": corpus.sample_rate,
        "versions": versions(),
        "recordings": listing_digest(corpus.train),
    }
    if options.resume:
        then = json.loads(config.read_text(encoding="utf-8"))
        if then.get("recordings") != content["recordings"]:
            raise ValueError(f"--resume: the recordings in {options.data} are not those that {folder} was begun with")
        content["versions"] = then.get("versions")
    folder.mkdir(parents=True, exist_ok=True)
    with drafts(config) as (draft,):
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
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
    """Train from the trainer's step to the last, with checkpoints and validations; `Stopped` if a signal asks to."""
    options, fabric, first = trainer.options, trainer.fabric, trainer.fabric.is_global_zero
    steps = range(trainer.step, options.steps)
    batches = DataLoader(
        segments, batch_size=None, sampler=steps, num_workers=options.workers, worker_init_fn=ignore_signals
    )
    saving = folder / "checkpoints"
    with (
        curves(folder / "tensorboard", trainer.step) if first else nullcontext() as writer,
        tqdm(total=options.steps, initial=trainer.step, unit="step", desc=options.name, disable=not first) as bar,
        Asked(fabric) as asked,
    ):
        for batch in batches:
            losses = trainer.train_step(batch.to(fabric.device))
            bar.set_postfix({name: f"{value:.2f}" for name, value in losses.items()}, refresh=False)
            bar.update()
            if writer is not None:
                for name, value in losses.items():
                    writer.add_scalar(f"loss/{name}", value, trainer.step)
                validating = trainer.step % options.validate_every == 0 or trainer.step == options.steps
                trainer.monitor.write(writer, trainer.step, trainer.generator_network if validating else None)
                if validating:
                    validate(trainer, corpus, writer)
            number = asked.anywhere()
            if trainer.step % options.save_every == 0 or trainer.step == options.steps or number:
                trainer.save(saving)
            if number:
                raise Stopped(number, trainer.step, place_of(saving, trainer.step))
        if number := asked.anywhere():  # while the last one was saved
            raise Stopped(number, trainer.step, place_of(saving, trainer.step))


def run(given: Options, said: Collection[str] | None = None) -> None:
    """Train, generate, measure and report; ``said`` are the options that were given, for `begun_with`."""
    if given.resume_from is not None:
        given = replace(given, resume=True)
    given = as_launched(begun_with(given, said) if given.resume else given)
    fabric = make_fabric(given)
    options = resolve(given, fabric.device)
    folder = options.out / options.name
    if not is_first(fabric):
        with launched(fabric):
            learn(fabric, options, folder, None, None)
        return
    # The first process checks everything and speaks or downloads the corpus; the others find it done.
    with claimed(folder):
        saved = begun(folder, options.resume, options.resume_from, options.steps)
        corpus = open_corpus(options.data, options.sample_rate, options.cache)
        print(
            f"{readable(options.data)}: {len(corpus.train)} clips to train on, {len(corpus.valid)} to validate, "
            f"{len(corpus.test)} to test, {corpus.sample_rate} Hz"
        )
        say_skipped(corpus)
        check_readable(corpus)
        list_skipped(prepare_folder(options, corpus), corpus.skipped)
        with launched(fabric):
            learn(fabric, options, folder, corpus, saved)


def learn(fabric: Fabric, options: Settings, folder: Path, corpus: Corpus | None, saved: Path | None) -> None:
    """Train, in every process, and report in the first, which has opened the corpus and chosen a checkpoint."""
    fabric.barrier()
    if corpus is None:
        corpus = open_corpus(options.data, options.sample_rate, options.cache)
    if fabric.broadcast(listing_digest(corpus.train)) != listing_digest(corpus.train):
        raise ValueError(f"process {fabric.global_rank} found other recordings in {options.data} than the first one")
    origin = provenance(fabric)
    trainer = Trainer(options, fabric, corpus.sample_rate)
    trainer.wrap()
    resume_together(fabric, trainer, saved)
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
        warnings.simplefilter("always", ClipWarning)  # each is about another one
        warnings.showwarning = lambda message, *_: tqdm.write(f"train_vocoder: {message}", file=sys.stderr)
        train(trainer, segments, corpus, folder)
    segments.agree(lambda marks: largest(fabric, marks))
    if fabric.is_global_zero:
        torch.manual_seed(options.seed)
        details = {
            **{key: value for key, value in plain(options).items() if key not in NOT_REPORTED},
            "clips": {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)},
            "skipped": len(corpus.skipped) + len(segments.unreadable),
            "clipped": len(segments.clipped),
            "skipped_updates": trainer.updates.skipped,
            "training_s": trainer.seconds,
            **origin,
        }
        report = write_report(trainer.generator_network, trainer.mel, corpus, folder, options.test_clips, details)
        print(format_report(report))
        say_unreadable(segments)
        list_skipped(folder, [*corpus.skipped, *segments.skipped()])
        print(f"listen: {folder / 'audio'}   look: {folder / 'pictures'}   numbers: {folder / 'report.json'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 128 + n stopped by signal n."""
    words = sys.argv[1:] if arguments is None else arguments
    options = tyro.cli(Options, args=words)
    said = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    return status_of("train_vocoder", options.out / options.name, lambda: run(options, said))


if __name__ == "__main__":
    sys.exit(main())
