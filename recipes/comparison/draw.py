"""Pictures of a comparison: every harmonic's bound, quality against tone, and tones while training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from comparison.goal import allowed_dbfs

Row = Mapping[str, Any]
COLUMNS = 4
COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9", "black", "C7", "tan", "teal", "orchid")
MARKERS = "osD^v<>Ph*Xpd8"


def draw_all(results: Row, folder: Path) -> list[Path]:
    """Draw all pictures into ``folder``; return their paths."""
    pictures = {"harmonics.png": draw_harmonics, "quality.png": draw_quality, "curves.png": draw_curves}
    for name, draw in pictures.items():
        draw(results, folder / name)
    return [folder / name for name in pictures]


def draw_harmonics(results: Row, path: Path) -> None:
    """Draw every harmonic's upper bound on speech, of the first seed at its last step, against what is allowed."""
    last: dict[str, Row] = {}
    for row in results["rows"]:
        if row["variant"] not in last or last[row["variant"]]["seed"] == row["seed"]:
            last[row["variant"]] = row
    columns = min(COLUMNS, len(last))
    rows = -(-len(last) // columns)
    figure = _figure(4.2 * columns, 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    own = results["recordings"]["lines"]["speech"]["upper_dbfs"]
    for axes, row in zip(panels.flat, last.values(), strict=False):
        bounds = row["lines"]["speech"]["upper_dbfs"]
        hz, upper = [float(key) for key in bounds], list(bounds.values())
        allowed = [allowed_dbfs(own.get(key)) for key in bounds]
        axes.fill_between(hz, -110, allowed, color="0.85", label="allowed: recordings + 3 dB, or -75")
        axes.vlines(hz, -110, upper, color=["C3" if a > b else "C2" for a, b in zip(upper, allowed, strict=True)])
        axes.set(title=f"{row['variant']}, {row['phase']}", ylim=(-110, -15))
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(last) :]:
        axes.remove()
    panels[0, 0].legend(loc="upper right", fontsize=8)
    figure.supxlabel("Hz (red: too loud)")
    figure.supylabel("upper bound, dBFS")
    figure.savefig(path, dpi=90)


def draw_quality(results: Row, path: Path) -> None:
    """Draw mel L1 and PESQ against all lines of speech together, for each phase."""
    phases = list(dict.fromkeys(row["phase"] for row in results["rows"]))
    figure = _figure(7 * len(phases), 9)
    panels = figure.subplots(2, len(phases), squeeze=False, sharex=True, sharey="row")
    variants = list(dict.fromkeys(row["variant"] for row in results["rows"]))
    chance = results["recordings"]["lines"]["speech"]["total_dbfs"]
    for column, phase in enumerate(phases):
        for axes, (key, label) in zip(
            panels[:, column], (("mel_l1", "mel L1 (less is better)"), ("pesq_wb", "PESQ-wb")), strict=True
        ):
            for row in (row for row in results["rows"] if row["phase"] == phase):
                if row["lines"]["speech"]["total_dbfs"] is None or row["quality"][key] is None:
                    continue  # not testable, or not defined for any clip
                number = variants.index(row["variant"])
                style = {"marker": MARKERS[number % len(MARKERS)], "color": COLOURS[number % len(COLOURS)]}
                known = row["variant"] in [text.get_label() for text in axes.lines]
                axes.plot(
                    row["lines"]["speech"]["total_dbfs"],
                    row["quality"][key],
                    linestyle="",
                    markersize=9,
                    label="_" if known else row["variant"],
                    **style,
                )
            if chance is not None:
                axes.axvline(chance, color="black", linestyle="--", label="recordings, by chance")
            axes.set(ylabel=label, title=phase)
            axes.grid(alpha=0.3)
        panels[1, column].set_xlabel("all lines on held-out speech together, dBFS")
    panels[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=90)


def draw_curves(results: Row, path: Path) -> None:
    """Draw lines, their number and mel L1 on validation speech against the training step."""
    figure = _figure(15, 5.5)
    panels = figure.subplots(1, 3)
    titles = {
        "total_dbfs": "all lines together, dBFS",
        "detected": "lines found",
        "mel_l1": "mel L1",
    }
    variants = list(dict.fromkeys(row["variant"] for row in results["rows"]))
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        _curves(axes, results, variants, key)
        for step in {row["options"]["warmup_steps"] for row in results["rows"]}:
            if any(row["steps"] > step for row in results["rows"]):
                axes.axvline(step, color="gray", linestyle=":")
        axes.set(title=f"{title}, validation speech", xlabel="step (dotted: discriminators join)")
        axes.grid(alpha=0.3)
    if results["recordings_curve"] is not None:
        panels[0].axhline(results["recordings_curve"], color="black", linestyle="--", label="recordings, by chance")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=90)


def _curves(axes: Axes, results: Row, variants: list[str], key: str) -> None:
    for run, curves in results["curves"].items():
        variant, _, _ = run.rpartition("-")
        number = variants.index(variant)
        style: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "color": COLOURS[number % len(COLOURS)]}
        if curves.get(key):
            steps, values = zip(*curves[key], strict=True)
            known = variant in [line.get_label() for line in axes.lines]
            axes.plot(steps, values, markersize=4, label="_" if known else variant, **style)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
