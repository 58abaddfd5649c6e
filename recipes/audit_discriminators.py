"""Measure which lines each discriminator puts into the gradient that its generator learns from.

A strided discriminator repeats with its strides, and its backward pass is an upsampling one: what it teaches may whine
at its own harmonics, whatever the generator's layers are. Every member is heard apart, with the adversarial loss and
with feature matching, on held-out speech: trained members of a run on what its generator makes of that speech, or, with
no run, untrained ones on the speech itself (feature matching then compares with other speech).

A generator can make steady tones only at harmonics of its own strides. Lines of the gradient at other frequencies cost
it precision and average out; those that both share are what it may learn to whine, so they are counted apart.

    python recipes/audit_discriminators.py
    python recipes/audit_discriminators.py --run runs/vocoder
"""

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm
from vocoder.checkpoint import load_checkpoint, misfit
from vocoder.data import Clip, UnreadableClip, load_clip, open_corpus
from vocoder.discriminators import Discriminators
from vocoder.lessons import LOSSES, measure_lessons, strides_of
from vocoder.presets import PRESETS
from vocoder.runs import Run, open_run

from audioup.gradient_report import GradientReport

LEAST_PERIODS = 4  # of the longest discriminator, in a segment without its margins
AXIS_FROM_DB = -80.0


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the lines in what each discriminator teaches its generator."""

    run: Path | None = None
    """Folder of a run of train_vocoder.py, such as runs/vocoder; by default untrained discriminators are heard."""
    preset: Literal["tiny", "v3", "v2", "v1"] | None = None
    """Sizes of untrained discriminators, by default tiny; a run has its own."""
    data: str | None = None
    """espeak, ljspeech, vctk, libritts, or a folder of recordings; by default the run's, or espeak."""
    cache: Path = Path("~/.cache/audioup")
    """Folder of synthesised and downloaded speech."""
    out: Path = Path("runs/discriminators")
    """Folder for audit.json, audit.txt and audit.png."""
    segments: int = 128
    """Held-out segments, each from a random sample on."""
    segment_size: int = 20480
    """Samples a segment."""
    margin: int = 2048
    """Samples at either end of a segment that are not looked at: the discriminators see their own padding there."""
    batch_size: int = 8
    """Segments at a time."""
    seed: int = 0
    """Decides untrained weights and where segments begin."""


def open_discriminators(run: Run | None, preset: str) -> tuple[Discriminators, str]:
    """Return the discriminators in ``eval()``, and what they are in words: trained, not trained, or of no run.

    Raises:
        ValueError: If the run's checkpoint cannot be read or does not fit.
    """
    if run is None:
        return Discriminators(PRESETS[preset].discriminators).eval(), f"untrained, preset {preset}"
    discriminators = Discriminators(PRESETS[run.options.preset].discriminators)
    weights, _ = load_checkpoint(run.checkpoint, ("discriminators",))
    if faults := misfit(weights["discriminators"], discriminators):
        raise ValueError(f"{run.checkpoint} does not fit the preset {run.options.preset}: {faults}")
    discriminators.load_state_dict(weights["discriminators"])
    trained, warmup = run.steps - run.options.warmup_steps, run.options.warmup_steps
    history = f"trained for {trained} steps" if trained > 0 else f"NEVER TRAINED, all {run.steps} steps were warm-up"
    if trained <= 0 and run.options.steps > warmup:
        history += f" (it lasts {warmup})"
    return discriminators.eval(), f"of {run.options.name}, {history}"


@torch.no_grad()
def draw_segments(clips: Sequence[Clip], sample_rate: int, run: Run | None, options: Options) -> tuple[Tensor, Tensor]:
    """Cut real segments and what stands for generated ones, each ``(segments, 1, segment_size)``.

    Both begin at the same random sample. A generator's own tones are locked to its first sample, so what it makes is
    cut at a random place too: lines in the gradient are then those of the discriminators.

    Raises:
        ValueError: If no clip is long enough.
    """
    random = torch.Generator().manual_seed(options.seed)
    hop = run.mel.hop_length if run else 1
    size = math.ceil((options.segment_size + hop) / hop) * hop  # room for a place that is no multiple of the hop
    sounds = []
    for clip in clips:
        try:
            sound = load_clip(clip, sample_rate)
        except UnreadableClip as error:
            print(f"left out: {error}")
            continue
        if len(sound) >= size:
            sounds.append(sound)
    if not sounds:
        raise ValueError(f"--segment-size {options.segment_size}: none of {len(clips)} held-out clips is that long")
    places = torch.tensor([len(sound) - size + 1 for sound in sounds], dtype=torch.float64)
    chosen = torch.multinomial(places, options.segments, replacement=True, generator=random).tolist()
    real, generated = [], []
    for index in tqdm(chosen, desc="segments", unit="segment"):
        start = int(torch.rand((), generator=random, dtype=torch.float64) * places[index])
        inside = int(torch.randint(hop, (), generator=random))
        piece = sounds[index][start : start + size]
        made = run.generator(run.mel(piece).unsqueeze(0)).flatten() if run else piece
        real.append(piece[inside : inside + options.segment_size])
        generated.append(made[inside : inside + options.segment_size])
    targets, sources = torch.stack(real).unsqueeze(1), torch.stack(generated).unsqueeze(1)
    return (targets, sources) if run else (targets.roll(1, 0), sources)


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out one row for each discriminator and loss."""
    head = f"{'discriminator':20} {'loss':11} {'period':>6} {'lines found':>12} {'shared':>6} {'locked':>8}"
    lines = [f"{head}   strongest, dB of the gradient (95 % interval)"]
    for row in rows:
        report: GradientReport = row["report"]
        found, best = sum(line.detected for line in report.lines), report.strongest
        where = report.verdict
        if best and best.interval_db:
            low, high = best.interval_db
            stages = ",".join(map(str, best.stages))
            where = f"{best.level_db:6.1f} ({low:.1f} to {high:.1f}) at {best.frequency[0]:.1f} Hz, stage {stages}"
        lines.append(
            f"{row['discriminator']:20} {row['loss']:11} {row['period']:6} {found:4} of {len(report.lines):4} "
            f"{len(row['shared_hz']):6} {report.locked_share:8.2%}   {where}"
        )
    return "\n".join(lines)


def _plot(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    names = list(dict.fromkeys(row["discriminator"] for row in rows))
    figure = Figure(figsize=(13, 2.4 * len(names) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Locked lines in the gradient: discriminators {title}")
    axes = figure.subplots(len(names), len(LOSSES), squeeze=False, sharex=True, sharey=True)
    for row in rows:
        one = axes[names.index(row["discriminator"])][list(LOSSES).index(row["loss"])]
        report: GradientReport = row["report"]
        for found, colour, label in ((False, "0.6", "not detected"), (True, "red", "line")):
            lines = [line for line in report.lines if line.detected == found and line.interval_db]
            at = [line.frequency[0] for line in lines]
            ends = [line.interval_db for line in lines if line.interval_db]
            one.vlines(at, [low for low, _ in ends], [high for _, high in ends], color=colour, lw=0.6)
            one.plot(at, [line.level_db for line in lines], ".", color=colour, markersize=3, label=label)
        shared = [line for line in report.lines if line.frequency[0] in row["shared_hz"]]
        at = [line.frequency[0] for line in shared]
        one.plot(at, [line.level_db for line in shared], "o", mfc="none", mec="blue", label="at a generator's harmonic")
        share = f"{report.locked_share:.2%} of the power locked"
        one.set_title(f"{row['discriminator']}, {row['loss']}: {share}", loc="left", fontsize=9)
        one.set_ylim(AXIS_FROM_DB, 0)
        one.grid(alpha=0.3)
    for one in axes[-1]:
        one.set_xlabel("Hz")
    for one in axes[:, 0]:
        one.set_ylabel("dB of the gradient")
    axes[0][0].legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=110)


def run(options: Options) -> None:
    """Draw segments, measure every member, print the table, write JSON, text and a picture."""
    for name, least in (("segments", 3), ("segment_size", 1), ("margin", 0), ("batch_size", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(options, name)}")
    if options.run and options.preset:
        raise ValueError(f"--preset is for untrained discriminators, but --run {options.run} has its own")
    of = open_run(options.run) if options.run else None
    torch.manual_seed(options.seed)
    discriminators, words = open_discriminators(of, options.preset or "tiny")
    longest = max(math.prod(strides_of(member)) for member in discriminators.members)
    least_size = LEAST_PERIODS * longest + 2 * math.ceil(options.margin / longest) * longest
    if options.segment_size < least_size:
        raise ValueError(
            f"--segment-size must be at least {least_size}, {LEAST_PERIODS} periods of {longest} samples and the "
            f"margins, got {options.segment_size}"
        )
    corpus = open_corpus(
        options.data or (of.options.data if of else "espeak"), of.sample_rate if of else None, options.cache
    )
    options.out.mkdir(parents=True, exist_ok=True)
    real, generated = draw_segments((*corpus.test, *corpus.valid), corpus.sample_rate, of, options)
    print(f"discriminators {words}; {len(real)} segments of {corpus.source} at {corpus.sample_rate} Hz")
    hop_length = PRESETS[of.options.preset if of else options.preset or "tiny"].generator.hop_length
    rows = measure_lessons(
        discriminators, real, generated, corpus.sample_rate, hop_length, options.margin, options.batch_size
    )
    table = summary(rows)
    details = "\n\n".join(f"{row['discriminator']}, {row['loss']}\n{row['report']}" for row in rows)
    (options.out / "audit.txt").write_text(f"{words}\n\n{table}\n\n{details}\n", encoding="utf-8")
    result = {
        "discriminators": words,
        "data": corpus.source,
        "sample_rate": corpus.sample_rate,
        "options": {
            key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(options).items()
        },
        "members": [{**row, "report": row["report"].to_dict()} for row in rows],
    }
    (options.out / "audit.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    _plot(rows, words, options.out / "audit.png")
    print(
        f"{table}\nshared: at harmonics of the generator's strides, multiples of {corpus.sample_rate / hop_length:g} Hz"
    )
    print(f"look: {options.out / 'audit.png'}   numbers and more lines: {options.out}/audit.json, audit.txt")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"audit_discriminators: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
