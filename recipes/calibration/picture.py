"""A picture of a calibration: false alarms, power, levels and their bounds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from calibration.depths import Depth
from calibration.lines import KINDS, Level
from calibration.shares import Share
from calibration.size import TESTS, Size
from calibration.tables import BANDS, by_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:purple")
STYLES = ("-", "--", ":", "-.")


def draw_calibration(
    size: Sequence[Size], levels: Sequence[Level], depths: Sequence[Depth], path: Path, file_format: str = "png"
) -> None:
    """Draw false alarms by sound and test, and what is found of lines and modulations by level.

    Args:
        size: Of `measure_size`.
        levels: Of `measure_levels`.
        depths: Of `measure_depths`.
        path: Picture to write.
        file_format: png, svg or pdf.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    figure = Figure(figsize=(20, 10), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4)
    _false_alarms(axes[0, 0], size, 0.01)
    _false_alarms(axes[0, 1], size, 0.001)
    _power(axes[0, 2], levels)
    _bands(axes[0, 3], [row for row in levels if row.kind == KINDS[0]])
    _errors(axes[1, 0], [row for row in levels if row.kind == KINDS[0]])
    _bounds(axes[1, 1], levels)
    _close(axes[1, 2], levels)
    _depths(axes[1, 3], depths)
    figure.savefig(path, dpi=90, format=file_format)


def _false_alarms(axes: "Axes", size: Sequence[Size], nominal: float) -> None:
    sounds = list(dict.fromkeys(row.sound for row in size))
    for number, test in enumerate(TESTS):
        at = np.arange(len(sounds)) + 0.2 * (number - 1.5)
        rows = [row for row in size if row.test == test]
        single, together = (
            [shares.at_01 if nominal == 0.01 else shares.at_001 for shares in of]
            for of in ([row.single for row in rows], [row.together for row in rows])
        )
        axes.bar(at, [share.share for share in single], 0.18, color=COLOURS[number], alpha=0.6, label=test)
        axes.errorbar(at, [share.share for share in single], _reach(single), fmt="none", color="0.3", lw=1)
        axes.plot(at, [share.share for share in together], "_", color="black", markersize=7)
    axes.plot([], [], "_", color="black", label="all clips together")
    axes.axhline(nominal, color="red", lw=1, label="nominal")
    axes.set_yscale("symlog", linthresh=nominal)
    axes.set_xticks(range(len(sounds)), sounds, rotation=20)
    axes.set(ylabel=f"share with p < {nominal:g}", title=f"false alarms at {nominal:g}, clip by clip", ylim=(0, 0.5))
    axes.legend(fontsize=8)


def _power(axes: "Axes", levels: Sequence[Level]) -> None:
    durations = sorted({row.seconds for row in levels})
    for (kind, seconds), rows in by_curve(levels):
        shown = [row for row in rows if row.level_dbfs is not None]
        style = STYLES[durations.index(seconds) % len(STYLES)]
        colour = COLOURS[KINDS.index(kind)]
        axes.plot(
            _levels(shown), [row.found.share for row in shown], style, color=colour, label=f"{kind}, {seconds:g} s"
        )
    axes.axhline(0.9, color="red", lw=0.7)
    axes.set(xlabel="level of the lines, dBFS", ylabel="share with p < 0.001", title="power: lines in speech")
    axes.legend(fontsize=8)


def _bands(axes: "Axes", steady: Sequence[Level]) -> None:
    durations = sorted({row.seconds for row in steady})
    for (_, seconds), rows in by_curve(steady):
        shown = [row for row in rows if row.level_dbfs is not None]
        for band, name in enumerate(BANDS):
            style = STYLES[durations.index(seconds) % len(STYLES)]
            shares = [share for row in shown if (share := row.found_by_band[band]) is not None]
            if shares:
                axes.plot(_levels(shown), shares, style, color=COLOURS[band], label=f"{name}, {seconds:g} s")
    axes.axhline(0.9, color="red", lw=0.7)
    axes.set(xlabel="level of the lines, dBFS", ylabel="share with p < 0.001", title="power: steady lines by band")
    axes.legend(fontsize=8)


def _errors(axes: "Axes", steady: Sequence[Level]) -> None:
    for number, ((_, seconds), rows) in enumerate(by_curve(steady)):
        shown = [(row.level_dbfs, *row.error_db) for row in rows if row.level_dbfs is not None and row.error_db]
        at, low, middle, high = np.array(shown).T
        axes.fill_between(at, low, high, color=COLOURS[number % len(COLOURS)], alpha=0.2)
        axes.plot(at, middle, color=COLOURS[number % len(COLOURS)], label=f"{seconds:g} s")
    axes.axhspan(-0.5, 0.5, color="red", alpha=0.3, lw=0)
    axes.set(
        xlabel="level of the lines, dBFS",
        ylabel="estimated less true level, dB",
        title="steady lines: median and 95 % of the errors",
        ylim=(-15, 30),
    )
    axes.legend(fontsize=8)


def _bounds(axes: "Axes", levels: Sequence[Level]) -> None:
    for (kind, seconds), rows in by_curve(levels):
        bounded = [(row.level_dbfs, row.bounded) for row in rows if row.level_dbfs is not None and row.bounded]
        if bounded:
            at, shares = [level for level, _ in bounded], [share for _, share in bounded]
            label = f"{kind}, {seconds:g} s"
            axes.errorbar(at, [share.share for share in shares], _reach(shares), lw=1, elinewidth=0.5, label=label)
    axes.axhline(0.95, color="red", lw=0.7)
    axes.set(
        xlabel="level of the lines, dBFS",
        ylabel="share",
        title="upper end of the 95 % interval at or above the level",
        ylim=(0.94, 1.003),
    )
    axes.legend(fontsize=8)


def _close(axes: "Axes", levels: Sequence[Level]) -> None:
    for number, ((_, seconds), rows) in enumerate(by_curve([row for row in levels if row.kind == KINDS[0]])):
        colour = COLOURS[number % len(COLOURS)]
        shown = [(row.level_dbfs, row.close, row.sharp) for row in rows if row.close and row.sharp]
        at = [level for level, _, _ in shown if level is not None]
        axes.plot(at, [close.share for _, close, _ in shown], color=colour, label=f"within 0.5 dB, {seconds:g} s")
        axes.plot(
            at, [sharp.share for _, _, sharp in shown], ":", color=colour, label=f"upper end within, {seconds:g} s"
        )
    axes.set(xlabel="level of the lines, dBFS", ylabel="share", title="steady lines: levels told within 0.5 dB")
    axes.legend(fontsize=8)


def _depths(axes: "Axes", depths: Sequence[Depth]) -> None:
    for number, seconds in enumerate(sorted({row.seconds for row in depths})):
        rows = [row for row in depths if row.seconds == seconds]
        colour = COLOURS[number % len(COLOURS)]
        at = [row.depth_db for row in rows]
        axes.plot(at, [row.found.share for row in rows], color=colour, label=f"p < 0.001, {seconds:g} s")
        axes.plot(at, [row.detected.share for row in rows], ":", color=colour, label=f"detected, {seconds:g} s")
    axes.axhline(0.9, color="red", lw=0.7)
    axes.set(xlabel="depth of the modulation, dB", ylabel="share found", title="power: modulated white noise")
    axes.legend(fontsize=8)


def _levels(rows: Sequence[Level]) -> list[float]:
    return [row.level_dbfs for row in rows if row.level_dbfs is not None]


def _reach(shares: Sequence[Share]) -> list[list[float]]:
    return [
        [share.share - share.interval[0] for share in shares],
        [share.interval[1] - share.share for share in shares],
    ]
