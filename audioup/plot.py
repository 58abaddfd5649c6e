"""Pictures of what was measured; needs ``pip install 'audioup[plot]'``."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import librosa
import librosa.display
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from audioup.tone_report import ToneReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_S = 30.0  # a longer spectrogram shows no more on a picture this wide
AXIS_FROM_DBFS = -140.0


class Panel(NamedTuple):
    """One row of `plot_tones`: a title, the sound of shape ``(T,)``, at least its first 30 s, and its report."""

    title: str
    audio: np.ndarray
    report: ToneReport


def plot_tones(panels: Sequence[Panel], path: Path | str | IO[bytes]) -> None:
    """Draw a spectrogram of each sound with its stride harmonics marked, and beside it the level of every harmonic.

    Left, the spectrogram in dB of full scale with a tick at every harmonic, red where a tone was detected, orange where
    one changes its sign. Right, on the same frequency axis, each line's 95 % interval, and the floor beside it.

    Args:
        panels: One row each.
        path: Picture to write; the suffix (png, svg, pdf) decides the format. An open file gets a png.

    Raises:
        OSError: If ``path`` cannot be written.
        ValueError: If the format is unknown.
    """
    figure = Figure(figsize=(13, 4.2 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(panels), 2, squeeze=False, width_ratios=(3, 1), sharey="row")
    for (left, right), panel in zip(rows, panels, strict=True):
        _spectrogram(left, panel)
        _levels(right, panel.report)
    figure.savefig(path, dpi=110)


def _spectrogram(axes: "Axes", panel: Panel) -> None:
    report = panel.report
    audio = panel.audio[: int(LONGEST_S * report.sample_rate)]
    # About 64 ms, the length of the test's blocks: lines closer than 16 Hz would not be seen apart in either.
    n_fft = 2 ** max(4, min(round(np.log2(0.064 * report.sample_rate)), int(np.log2(len(audio)))))
    hop_length = max(n_fft // 8, len(audio) // 4000)
    magnitude = np.abs(librosa.stft(audio, n_fft=n_fft, hop_length=hop_length)) / (n_fft / 4)  # a full-scale sine is 1
    level = librosa.amplitude_to_db(magnitude, ref=1.0, amin=1e-7, top_db=None)
    mesh = librosa.display.specshow(
        level,
        sr=report.sample_rate,
        n_fft=n_fft,
        hop_length=hop_length,
        x_axis="time",
        y_axis="linear",
        ax=axes,
        cmap="magma",
        vmin=-120,
        vmax=0,
    )
    axes.figure.colorbar(mesh, ax=axes, label="dBFS", pad=0.01)
    for line in report.lines:
        colour, width = ("red", 1.8) if line.detected else ("orange", 1.8) if line.sign_changing else ("white", 0.5)
        # Marks at both ends only, so that they never cover the line they point at.
        for start, end in ((0.0, 0.012), (0.988, 1.0)):
            axes.axhline(line.frequency_hz, start, end, color=colour, linewidth=width)
    shown_s = len(audio) / report.sample_rate
    part = f" (the first {shown_s:.3g} s)" if round(report.duration_s - shown_s, 2) > 0 else ""
    title = f"{panel.title}{part}".strip()
    axes.set_title(f"{title}: {report.verdict}" if title else report.verdict, loc="left", fontsize=10, parse_math=False)


def _levels(axes: "Axes", report: ToneReport) -> None:
    frequency = [line.frequency_hz for line in report.lines]
    axes.plot([line.floor_dbfs for line in report.lines], frequency, color="0.6", linewidth=0.8, label="floor")
    for found, colour, label in ((False, "0.4", "not detected"), (True, "red", "tone")):
        lines = [line for line in report.lines if line.detected == found]
        if not lines:
            continue
        at = [line.frequency_hz for line in lines]
        axes.hlines(
            at,
            [line.interval_dbfs[0] for line in lines],
            [line.interval_dbfs[1] for line in lines],
            color=colour,
            lw=0.7,
        )
        axes.plot([line.level_dbfs for line in lines], at, ".", color=colour, markersize=4, label=label)
    axes.set_xlim(AXIS_FROM_DBFS, 0)
    axes.set_ylim(0, report.sample_rate / 2 * 1.01)
    axes.set_xlabel("dBFS, with 95 % interval")
    axes.grid(alpha=0.3)
    if report.lines:
        axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)  # above, where no line is
