"""What a loss on stride tones costs and buys: mel L1 against the lines that are left, for several weights.

    python recipes/tone_loss.py
    python recipes/tone_loss.py --data path/to/recordings --weights 0 300 1000

The same vocoder is trained with each upsampler and each weight of ``train_vocoder.py --tone-loss``, everything else
equal and without discriminators. A run that is finished is never trained again, one that was interrupted goes on: start
the program again, or several with other ``--upsamplers`` beside each other and once more for the table of all.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from vocoder.levels import levels
from vocoder.once import train_once

from audioup.table import table as aligned

SIGNALS = ("speech", "silence", "noise")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train with several weights of the loss on stride tones, and compare."""

    out: Path = Path("runs/tone_loss")
    """Folder of the runs, tone_loss.json, tone_loss.txt and tone_loss.png."""
    data: str = "espeak"
    """Recordings, as in train_vocoder.py."""
    upsamplers: tuple[Literal["transposed", "subpixel", "regular-1", "regular-2"], ...] = ("transposed", "regular-1")
    """Layers to train with; the first without the loss is what all are compared to."""
    weights: tuple[float, ...] = (0.0, 30.0, 100.0, 300.0, 1000.0)
    """Of the loss."""
    steps: int = 1000
    """Of each run."""
    batch_size: int | None = None
    """Segments a step; by default the preset's."""
    segment_size: int = 8192
    """Samples a segment."""
    seed: int = 1234
    """Decides weights and data order, the same in all runs."""
    test_clips: int = 16
    """Held-out clips to generate and to measure."""
    cache: Path = Path("~/.cache/audioup")
    """Folder of synthesised and downloaded speech."""
    accelerator: str = "auto"
    """cpu, cuda, ...: see Lightning Fabric."""


def train(options: Options, upsampler: str, weight: float) -> dict[str, Any]:
    """Train one vocoder, or go on with it, or find it done; return its report."""
    given = {
        **{key: getattr(options, key) for key in ("data", "steps", "segment_size", "seed")},
        "warmup_steps": options.steps,
        "upsampler": upsampler,
        "tone_loss": weight,
    }
    if options.batch_size is not None:
        given["batch_size"] = options.batch_size
    free = {key: getattr(options, key) for key in ("cache", "test_clips", "accelerator")}
    return train_once(options.out / f"{upsampler}-{weight:g}", given, free)


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Take out of a run's report what is compared."""
    return {
        "upsampler": report["upsampler"],
        "weight": report["tone_loss"],
        **{key: report["metrics"][key] for key in ("mel_l1", "multi_resolution_stft", "stoi")},
        "training_s": report["training_s"],
        "lines": {signal: levels(report["tones"][signal]) for signal in SIGNALS},
    }


def table(rows: Sequence[dict[str, Any]], recordings: dict[str, float | None]) -> str:
    """Lay the runs out as a table for people."""
    head = ("upsampler", "weight", "mel L1", "STFT", "STOI", "on speech", "at Hz", "total", "on silence", "on noise")
    cells: list[tuple[str, ...]] = [head]
    for row in rows:
        speech = row["lines"]["speech"]
        cells.append(
            (
                row["upsampler"],
                f"{row['weight']:g}",
                *(f"{row[key]:.3f}" for key in ("mel_l1", "multi_resolution_stft", "stoi")),
                _shown(speech),
                "" if speech["strongest_hz"] is None else f"{speech['strongest_hz']:g}",
                "" if speech["total_dbfs"] is None else f"{speech['total_dbfs']:.1f}",
                *(_shown(row["lines"][signal]) for signal in ("silence", "noise")),
            )
        )
    cells.append(("recordings", "", "", "", "", _shown(recordings), "", f"{recordings['total_dbfs']:.1f}", "", ""))
    title = "Strongest lines in dBFS; < is an upper bound where none was found; total is of all lines."
    return f"{title}\n{aligned(cells)}"


def _shown(found: dict[str, float | None]) -> str:
    if found["strongest_dbfs"] is not None:
        return f"{found['strongest_dbfs']:.1f}"
    return "not testable" if found["bound_dbfs"] is None else f"< {found['bound_dbfs']:.1f}"


def plot(rows: Sequence[dict[str, Any]], recordings: dict[str, float | None], path: Path) -> None:
    """Draw mel L1 against the lines: strongest and total on speech, strongest on silence and on noise."""
    figure = Figure(figsize=(13, 9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (title, signal, key) in zip(
        panels.flat,
        (
            ("Strongest line on speech", "speech", "strongest_dbfs"),
            ("All lines on speech", "speech", "total_dbfs"),
            ("Strongest line on silence", "silence", "strongest_dbfs"),
            ("Strongest line on noise at -20 dBFS", "noise", "strongest_dbfs"),
        ),
        strict=True,
    ):
        for colour, upsampler in enumerate(dict.fromkeys(row["upsampler"] for row in rows)):
            _curve(axes, [row for row in rows if row["upsampler"] == upsampler], signal, key, f"C{colour}")
        if signal == "speech":
            own = recordings["bound_dbfs" if key == "strongest_dbfs" else "total_dbfs"]
            label = (
                "upper bound of the recordings' own" if key == "strongest_dbfs" else "the recordings' own, by chance"
            )
            axes.axhline(own, color="black", linestyle="--", label=label)
        axes.axvspan(rows[0]["mel_l1"] / 1.02, rows[0]["mel_l1"] * 1.02, alpha=0.15, color="gray")
        axes.set(title=title, ylabel="dBFS")
        axes.grid(alpha=0.3)
        axes.legend()
    for axes in panels[1]:
        axes.set_xlabel("mel L1 on held-out speech (gray: within 2 % of the first layer without the loss)")
    figure.savefig(path, dpi=110)


def _curve(axes: Axes, rows: Sequence[dict[str, Any]], signal: str, key: str, colour: str) -> None:
    found = [row["lines"][signal][key] for row in rows]
    level = [math.nan if one is None else one for one in found]
    bound = [row["lines"][signal]["bound_dbfs"] if one is None else None for row, one in zip(rows, found, strict=True)]
    mel = [row["mel_l1"] for row in rows]
    axes.plot(mel, level, "o-", color=colour, label=rows[0]["upsampler"])
    below = [math.nan if one is None else one for one in bound]
    if any(one is not None for one in bound):
        axes.plot(
            mel, below, "v", color=colour, markerfacecolor="none", label=f"{rows[0]['upsampler']}, none found: bound"
        )
    for row, x, a, b in zip(rows, mel, level, below, strict=True):
        y = b if math.isnan(a) else a
        if not math.isnan(y):
            axes.annotate(f"{row['weight']:g}", (x, y), textcoords="offset points", xytext=(5, 5), color=colour)


def run(options: Options) -> None:
    """Train what is missing, read the reports, write the table, the numbers and the picture."""
    if not options.upsamplers or not options.weights:
        raise ValueError("--upsamplers and --weights must name at least one each")
    if len(set(options.weights)) < len(options.weights) or len(set(options.upsamplers)) < len(options.upsamplers):
        raise ValueError("--upsamplers and --weights must not name any twice")
    for weight in options.weights:
        if not 0 <= weight < math.inf:
            raise ValueError(f"--weights must not be negative, and finite, got {weight}")
    reports = [train(options, upsampler, weight) for upsampler in options.upsamplers for weight in options.weights]
    rows = [summary(report) for report in reports]
    recordings = levels(reports[0]["tones"]["reference speech"])
    result = {
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
        "recordings": recordings,
        "runs": rows,
    }
    text = table(rows, recordings)
    (options.out / "tone_loss.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (options.out / "tone_loss.txt").write_text(text + "\n", encoding="utf-8")
    plot(rows, recordings, options.out / "tone_loss.png")
    print(text)
    print(f"look: {options.out / 'tone_loss.png'}   numbers: {options.out / 'tone_loss.json'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"tone_loss: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tone_loss: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
