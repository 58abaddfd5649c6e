"""Grids of images as PNG, and the curve of checkerboard energy over training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

GAP = 1  # sample between images


def grid(images: Tensor, columns: int, zoom: int = 3) -> np.ndarray:
    """Lay images out in rows, each sample as a square.

    Args:
        images: Shape ``(n, 3, H, W)``, from -1 to 1; what lies beyond is cut.
        columns: Images a row.
        zoom: Sides of the squares.

    Returns:
        uint8 array of shape ``(height, width, 3)``, white between the images.
    """
    n, _, height, width = images.shape
    rows = -(-n // columns)
    values = images.detach().cpu().permute(0, 2, 3, 1).clamp(-1, 1).numpy()
    sheet = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3))
    for place, image in enumerate(values):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = image
    pixels = np.round((sheet + 1) * 127.5).astype(np.uint8)
    return pixels.repeat(zoom, 0).repeat(zoom, 1)


def write_png(pixels: np.ndarray, path: Path) -> None:
    """Write an array of `grid` as a PNG file of 256 colours, which every sample is brought to by itself."""
    from PIL import Image

    Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def plot_curve(curve: Sequence[dict[str, Any]], real: dict[str, float], path: Path) -> None:
    """Draw the energy at either period against the step, beside that of the photographs."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for colour, key in enumerate(("E2", "E4")):
        axes.semilogy(
            [point["step"] for point in curve], [point[key] for point in curve], color=f"C{colour}", label=key
        )
        axes.axhline(real[key], color=f"C{colour}", linestyle="--", label=f"{key} of the photographs")
    axes.set(xlabel="step", ylabel="share of energy", title="Checkerboard energy of generated images")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)
