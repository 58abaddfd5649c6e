"""A picture of two probes: the lines before and after training, and the stages that those after it come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from audioup.attribution import Attribution
from audioup.probe_report import SIGNALS, ProbeReport
from audioup.tone_report import ToneReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST_DBFS = -140.0
DEEPEST_DB = 40.0  # of the colours


def draw_probes(before: ProbeReport, after: ProbeReport, path: Path, file_format: str = "png") -> None:
    """Draw the lines of every signal, and how far each fell by stage.

    One row for each signal: level and 95 % interval of every harmonic, before training in grey and after it in colour,
    filled where a tone was detected; below them the matrix of the attribution.

    Args:
        before: Of the generator as it was drawn.
        after: Of the same generator, trained.
        path: Picture to write.
        file_format: png, svg or pdf.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    figure = Figure(figsize=(13, 14), layout="constrained")
    FigureCanvasAgg(figure)
    *rows, last = figure.subplots(len(SIGNALS) + 1, 1)
    for axes, name in zip(rows, SIGNALS, strict=True):
        _lines(axes, name, getattr(before, name), getattr(after, name))
    rows[-1].set_xlabel("Hz")
    _matrix(last, after.attribution)
    figure.savefig(path, dpi=110, format=file_format)


def _lines(axes: "Axes", name: str, before: ToneReport, after: ToneReport) -> None:
    for report, colour, label in ((before, "0.6", "before training"), (after, "tab:red", "after")):
        for found in (False, True):
            lines = [line for line in report.lines if line.detected == found]
            at = [line.frequency_hz for line in lines]
            ends = np.array([line.interval_dbfs for line in lines]).reshape(-1, 2).T
            axes.vlines(at, *ends, color=colour, lw=0.7)
            words = f"{label}{'' if found else ', not detected'}"
            shown = colour if found else "none"
            levels = [line.level_dbfs for line in lines]
            axes.plot(
                at, levels, "o", color=colour, markerfacecolor=shown, markersize=4, label=words if lines else None
            )
    axes.set_ylim(LOWEST_DBFS, 0)
    axes.set_xlim(0, after.sample_rate / 2 * 1.01)
    axes.set_ylabel("dBFS")
    axes.grid(alpha=0.3)
    axes.set_title(f"{name}   before: {before.verdict}   after: {after.verdict}", loc="left", fontsize=10)
    if before.lines or after.lines:
        axes.legend(fontsize=8, loc="upper right", ncols=4)


def _matrix(axes: "Axes", attribution: Attribution | None) -> None:
    if attribution is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no line on real input: nothing to attribute", ha="center", va="center")
        return
    # By frequency here, where the table has the strongest first.
    order = np.argsort(attribution.frequencies_hz)
    drops = np.full((len(attribution.trials), len(order)), np.nan)
    for row, trial in zip(drops, attribution.trials, strict=True):
        row[:] = np.array(trial.drop_db)[order] if trial.drop_db else np.nan
    axes.imshow(drops, cmap="RdBu_r", vmin=-DEEPEST_DB, vmax=DEEPEST_DB, aspect="auto")
    for y, trial in enumerate(attribution.trials):
        for x, line in enumerate(order):
            words = "-"
            if trial.drop_db:
                words = f"{'≥' * trial.at_least[line]}{round(trial.drop_db[line]) + 0:d}"
            pale = not trial.drop_db or abs(trial.drop_db[line]) < 0.6 * DEEPEST_DB
            axes.text(x, y, words, ha="center", va="center", color="black" if pale else "white")
    labels: Sequence[str] = [
        f"{attribution.frequencies_hz[line]:.0f} Hz\n{attribution.before_dbfs[line]:.0f} dBFS" for line in order
    ]
    axes.set_xticks(range(len(order)), labels, fontsize=8)
    names = [
        f"{trial.name}, stride {trial.stride}\n"
        + (trial.note if trial.change_db is None else f"sound changes by {trial.change_db:.1f} dB")
        for trial in attribution.trials
    ]
    axes.set_yticks(range(len(names)), [name[:60] for name in names], fontsize=8)
    axes.set_title(
        "drop of the strongest lines on real input with one stage held at order 1, in dB (not additive)",
        loc="left",
        fontsize=10,
    )
