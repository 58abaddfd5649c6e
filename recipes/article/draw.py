"""Pictures of overlaps, matrices, spectra and curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator
from torch import Tensor

from audioup.overlap import count

DPI = 90
PLACED = 9  # kernels side by side


def new_figure(width: float, height: float) -> Figure:
    """Begin a figure that is drawn without a display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def draw_overlaps(path: Path, most: int = 6) -> None:
    """Draw the counts of all sizes and strides from 1 to ``most``; green where they are even inside."""
    figure = new_figure(13, 9)
    panels = figure.subplots(most, most)
    for size in range(1, most + 1):
        for stride in range(1, most + 1):
            axes = panels[size - 1, stride - 1]
            counts = count(PLACED, size, stride).numpy()
            colour = "tab:green" if size % stride == 0 else "tab:red"
            axes.bar(np.arange(len(counts)), counts, width=1.0, color=colour, edgecolor="white", linewidth=0.5)
            for n in range(PLACED):
                corner = n * stride - 0.45, -1.2 - 0.9 * (n % 2)
                axes.add_patch(Rectangle(corner, size - 0.1, 0.6, color="gray", alpha=0.6))
            axes.set(xlim=(-1, (PLACED - 1) * stride + most), ylim=(-2.4, 6.5), xticks=[], yticks=[])
            if size == 1:
                axes.set_title(f"stride {stride}")
            if stride == 1:
                axes.set_ylabel(f"size {size}")
    save(figure, path)


def draw_counts(counts: Tensor, path: Path) -> None:
    """Draw counts of an image with their numbers."""
    figure = new_figure(5, 6.5)
    axes = figure.subplots()
    draw_matrix(axes, counts.double().numpy(), "d")
    axes.set_title("placements that cover each sample")
    save(figure, path)


def draw_matrix(axes: "object", values: np.ndarray, form: str = "") -> None:
    """Draw a matrix as an image, with its numbers where ``form`` says how."""
    from matplotlib.axes import Axes

    if not isinstance(axes, Axes):
        raise TypeError(f"axes must be of matplotlib, got {type(axes).__name__}")
    axes.imshow(values, cmap="viridis", vmin=0)
    axes.set(xticks=[], yticks=[])
    if form:
        for (row, column), value in np.ndenumerate(values):
            if not value:
                continue
            text = f"{int(value)}" if form == "d" else f"{value:{form}}"
            bright = value > 0.6 * values.max()
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="black" if bright else "white")


def draw_stacks(stacks: Mapping[str, Tensor], path: Path) -> None:
    """Draw counts of one, two, ... layers, below each other."""
    figure = new_figure(11, 2 * len(stacks))
    panels = figure.subplots(len(stacks), 1, squeeze=False)[:, 0]
    for axes, (name, counts) in zip(panels, stacks.items(), strict=True):
        axes.bar(np.arange(len(counts)), counts.numpy(), width=1.0, edgecolor="white", linewidth=0.3)
        axes.set_title(f"{name}: {counts.max().item()} at most", loc="left")
        axes.set_xticks([])
    save(figure, path)


def draw_matrices(matrices: Mapping[str, Tensor], path: Path) -> None:
    """Draw matrices side by side, each with the sums of its rows beside it."""
    figure = new_figure(3.2 * len(matrices), 5)
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        draw_matrix(axes, matrix.numpy(), "g")
        axes.set_title(name)
        for row, total in enumerate(matrix.sum(1).tolist()):
            axes.text(matrix.shape[1] - 0.3, row, f"{total:.2f}", va="center", fontsize=7)
    figure.suptitle("rows are output samples, their sums beside them: what a constant becomes")
    save(figure, path)


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]], path: Path, *, title: str, x: str, y: str, log: bool = True
) -> None:
    """Draw named curves of ``(x, y)``; names up to the last space share a colour."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    groups = list(dict.fromkeys(name.rsplit(" ", 1)[0] for name in curves))
    shown: set[str] = set()
    for name, points in curves.items():
        group = name.rsplit(" ", 1)[0]
        at, values = zip(*points, strict=True)
        axes.plot(at, values, color=f"C{groups.index(group)}", alpha=0.8, label=None if group in shown else group)
        shown.add(group)
    if log:
        axes.set_yscale("log")
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def draw_dots(
    groups: Mapping[str, Mapping[str, Sequence[float]]], path: Path, title: str, reference: Mapping[str, float]
) -> None:
    """Draw one dot for each seed, in percent: panels by name, with a line at the reference, rows of dots by name."""
    figure = new_figure(5.5 * len(groups), 3)
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (name, rows) in zip(panels, groups.items(), strict=True):
        for place, (row, values) in enumerate(rows.items()):
            axes.semilogx([100 * value for value in values], [place] * len(values), "o", alpha=0.7, label=row)
        axes.set_yticks(range(len(rows)), list(rows) if axes is panels[0] else [])
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        for which in ("major", "minor"):
            getattr(axes.xaxis, f"set_{which}_formatter")("{x:g}")
        axes.set(title=name, xlabel="% of the energy", ylim=(-0.6, len(rows) - 0.4))
        axes.invert_yaxis()
        if name in reference:
            axes.axvline(100 * reference[name], color="black", linestyle="--")
        axes.grid(alpha=0.3, which="both")
    figure.suptitle(title)
    save(figure, path)


def draw_scatter(points: Mapping[str, tuple[Tensor, Tensor]], path: Path, *, title: str, x: str, y: str) -> None:
    """Draw clouds of points on logarithmic axes, and the line along which y is proportional to x."""
    figure = new_figure(7, 5)
    axes = figure.subplots()
    for name, (across, up) in points.items():
        axes.loglog(across.numpy(), up.numpy(), ".", markersize=3, alpha=0.4, label=name)
    across, up = next(iter(points.values()))
    ends = np.array([across.min().item(), across.max().item()])
    axes.loglog(ends, ends * (up / across).median().item(), "k--", label="proportional")
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    save(figure, path)
