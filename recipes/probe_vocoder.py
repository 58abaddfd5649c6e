"""Find the tones of a trained vocoder, the stages they come from, and what training made of them.

The run's generator is probed (`audioup.probe`) twice on held-out mels: as it was drawn, from the run's options and
seed, and as it is trained. Printed are its stages, the verdicts on real input, silence, a constant and noise side by
side, and how far each line falls as one stage at a time is held at order 1.

    python recipes/train_vocoder.py
    python recipes/probe_vocoder.py runs/vocoder
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor
from tqdm import tqdm
from vocoder.checkpoint import drafts
from vocoder.data import UnreadableClip, load_clip, open_corpus
from vocoder.model import Generator
from vocoder.probe_picture import draw_probes
from vocoder.runs import Run, open_run

from audioup.probe import probe
from audioup.probe_report import SIGNALS, ProbeReport
from audioup.table import table
from audioup.tone_report import ToneReport

LONGEST_S = 600


@dataclass(frozen=True)
class Options:
    """Probe a trained vocoder and, beside it, the same before training."""

    run: tyro.conf.Positional[Path]
    """Folder of a run of train_vocoder.py, such as runs/vocoder."""
    data: str | None = None
    """Recordings, as in train_vocoder.py; by default those of the run."""
    cache: Path = Path("~/.cache/audioup")
    """Folder of synthesised and downloaded speech."""
    clips: int = 8
    """At most so many held-out clips."""
    seconds: float = 4.0
    """How long silence, the constant and noise last."""
    out: Path | None = None
    """Picture (.png), with the numbers beside it as JSON; by default RUN/probe.png."""


def untrained(run: Run) -> Generator:
    """Draw the generator that a run began with: same options, same seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(run.options.seed)
        fresh = Generator(run.mel.mel.n_mels, run.generator.shape, run.options.upsampler, run.options.noise)
    return fresh.eval()


def held_out(run: Run, options: Options) -> list[Tensor]:
    """Turn held-out recordings into mels of shape ``(1, n_mels, T)``; `ValueError` if none is usable."""
    corpus = open_corpus(options.data or run.options.data, run.sample_rate, options.cache)
    mels: list[Tensor] = []
    for clip in corpus.test:
        if len(mels) == options.clips:
            break
        try:
            audio = load_clip(clip, run.sample_rate)
        except UnreadableClip as error:
            print(f"left out: {error}")
            continue
        if len(audio) >= run.mel.hop_length:
            mels.append(run.mel(audio[: len(audio) // run.mel.hop_length * run.mel.hop_length])[None])
    if not mels:
        raise ValueError(f"none of the {len(corpus.test)} held-out clips is readable and a frame long")
    return mels


def probed(generator: Generator, mels: Sequence[Tensor], run: Run, seconds: float, title: str) -> ProbeReport:
    """Probe a generator, with a progress bar that counts its runs."""
    stages = len(generator.shape.strides)
    # To find the stages and see whether it listens, 5; silence, constant and noise; the clips, once and by stage.
    with tqdm(total=8 + len(mels) * (1 + stages), unit="run", desc=title) as bar:

        def call(mel: Tensor) -> Tensor:
            bar.update()
            sound: Tensor = generator(mel)
            return sound

        report = probe(generator, mels, run.sample_rate, call=call, seconds=seconds)
        bar.total = bar.n
    return report


def format_probes(before: ProbeReport, after: ProbeReport) -> str:
    """Lay both reports out: stages, signals side by side, attribution and notes."""
    rows = [("input", "before training", "", "after", "")]
    rows += [(name, *_found(getattr(before, name)), *_found(getattr(after, name))) for name in SIGNALS]
    stages = [
        f"stage {stage.position}: {stage.name}, {stage.kind}, {stage.rate_in:g} -> {stage.rate_out:g} samples a frame"
        for stage in after.stages
    ]
    parts = ["\n".join(stages), table(rows)]
    for title, report in (("before training", before), ("after", after)):
        parts.append(f"{title}: {'no line on real input' if report.attribution is None else ''}".rstrip())
        if report.attribution is not None:
            parts[-1] += f"\n{report.attribution}"
    parts.append("\n".join([f"verdict: {after.verdict}", *after.notes]))
    return "\n\n".join(parts)


def _found(report: ToneReport) -> tuple[str, str]:
    line = report.strongest
    if line is None:
        return report.verdict, ""
    detected = sum(one.detected for one in report.lines)
    return f"{line.level_dbfs:.1f} dBFS at {line.frequency_hz:.1f} Hz", f"{detected} of {len(report.lines)} lines"


def run_probe(options: Options) -> None:
    """Probe, print and write."""
    if options.clips < 1:
        raise ValueError(f"--clips must be at least 1, got {options.clips}")
    if not 0 < options.seconds <= LONGEST_S:
        raise ValueError(f"--seconds must be above 0 and at most {LONGEST_S}, got {options.seconds}")
    out = options.out or options.run / "probe.png"
    numbers = out.with_suffix(".json")
    if out.suffix != ".png" or out.is_dir() or numbers.is_dir():
        raise ValueError(f"--out must be a file ending in .png, and its .json no folder, got {out}")
    run = open_run(options.run)
    mels = held_out(run, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    with drafts(out, numbers) as (picture_draft, numbers_draft):
        before = probed(untrained(run), mels, run, options.seconds, "before training")
        after = probed(run.generator, mels, run, options.seconds, "after")
        content: dict[str, Any] = {
            "run": str(options.run),
            "steps": run.steps,
            "clips": len(mels),
            "before": before.to_dict(),
            "after": after.to_dict(),
        }
        numbers_draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        draw_probes(before, after, picture_draft)
    print(format_probes(before, after))
    print(f"\npicture: {out}   numbers: {numbers}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        run_probe(options)
    except (ValueError, OSError) as error:
        print(f"probe_vocoder: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("probe_vocoder: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
