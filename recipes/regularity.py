"""What a guaranteed regularity order buys and what it costs: lines in deep stacks, images, droop, time of a step.

    python recipes/regularity.py

Stacks of three upsampling stages with random weights, each followed by a LeakyReLU, hear a constant, a slow signal and
white noise. Printed, drawn and written as JSON: the locked lines of their output over all the rest of it; the images
and the droop of one kernel; the time of a training step of one layer against the plain one.
"""

import dataclasses
import json
import math
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from benchmarks.steps import measure_step_times, relative_step_time
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

from audioup import FilterResponse, ResizeConv1d, TransposedConv1d, filter_response, regular
from audioup.init import icnr_, preserve_variance_
from audioup.layer import UpsamplingLayer1d

INPUTS = ("constant", "slow", "white")
LEAST = 1e-13  # of float32, as a power


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare kernels by the lines they make in stacks of three stages, their images, droop and cost."""

    out: Path = Path("runs/regularity")
    """Folder for regularity.json and regularity.png."""
    strides: tuple[int, int, int] = (8, 8, 4)
    """Of the three stages."""
    channels: int = 16
    """Of every stage."""
    slope: float = 0.1
    """Of the LeakyReLU."""
    slow: float = 0.05
    """Highest frequency of the slow signal, in cycles per input frame."""
    frames: int = 512
    """Of the input, which repeats, so that no line leaks."""
    signals: int = 24
    """Inputs of each kind that a stack hears."""
    seeds: int = 10
    """Stacks of each kind."""
    repeats: int = 15
    """Of each timing; 0 leaves them out."""
    threads: int = 2
    """Of torch, for the timings."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to begin a kernel: `kernel` taps are ``multiple`` strides, held at ``order`` or free (0)."""

    name: str
    multiple: int
    order: int
    init: str

    def fits(self, strides: Sequence[int]) -> bool:
        """Whether the kernels are long enough for the order."""
        return all(self.multiple * stride > self.order * (stride - 1) for stride in strides)

    def layer(self, inputs: int, outputs: int, stride: int) -> UpsamplingLayer1d:
        """Build a layer that keeps the variance of white noise."""
        layer: UpsamplingLayer1d
        if self.init == "sinc":
            layer = ResizeConv1d(inputs, outputs, stride + 1, stride, mode="sinc", padding_mode="circular")
        else:
            layer = TransposedConv1d(inputs, outputs, self.multiple * stride, stride, padding_mode="circular")
        nn.init.normal_(layer.weight)
        if self.init == "icnr":
            icnr_(layer.weight, stride, transposed=True)
        if self.order:
            regular(layer, self.order, init="factor" if self.init == "factor" else "project")
        preserve_variance_(layer)
        return layer


KINDS = (
    Kind("free", 2, 0, "free"),
    Kind("free", 3, 0, "free"),
    Kind("ICNR", 2, 0, "icnr"),
    Kind("ICNR", 3, 0, "icnr"),
    *(Kind(f"order {p} {init}", m, p, init) for m in (2, 3) for p in (1, 2, 3) for init in ("projected", "factor")),
    Kind("resize-sinc", 13, 0, "sinc"),
)


def draw_input(kind: str, options: Options, generator: torch.Generator) -> Tensor:
    """Draw periodic Gaussian inputs of unit power, shape ``(signals, channels, frames)``."""
    shape = (options.signals, options.channels, options.frames)
    if kind == "constant":
        return torch.randn(*shape[:2], 1, generator=generator).expand(shape)
    x = torch.randn(shape, generator=generator)
    spectrum = torch.fft.rfft(x)
    highest = options.slow if kind == "slow" else 0.5
    spectrum[..., torch.arange(spectrum.shape[-1]) > highest * options.frames] = 0
    x = torch.fft.irfft(spectrum, n=options.frames)
    return x / x.square().mean().sqrt()


def line_over_signal(y: Tensor, period: int) -> tuple[float, float]:
    """Measure the locked lines of outputs of one network, power over all the rest.

    Args:
        y: Outputs for independent inputs, shape ``(signals, channels, samples)``, three or more signals of a whole
            number of periods each.
        period: Product of the strides.

    Returns:
        Power of the lines at ``k / period``, ``k != 0``, that all signals share, over the power of what else there is;
        without bias, so that it scatters around 0 where there is no line. And its standard error, by leaving out each
        signal in turn (jackknife).
    """
    locked = torch.fft.fft(y.unflatten(-1, (-1, period)).double().mean(-2))[..., 1:].flatten(1) / period
    power = y.double().square().mean(-1).sum(-1)

    def ratio(total: Tensor, squares: Tensor, powers: Tensor, signals: int) -> Tensor:
        # Products of different signals only: what is in one by chance is not in another.
        line = (total.abs().square().sum(-1) - squares) / (signals * (signals - 1))
        return line / (powers / signals - line)

    total, squares, signals = locked.sum(0), locked.abs().square().sum(-1), len(y)
    without = ratio(total - locked, squares.sum() - squares, power.sum() - power, signals - 1)
    error = ((signals - 1) / signals * (without - without.mean()).square().sum()).sqrt()
    return ratio(total, squares.sum(), power.sum(), signals).item(), error.item()


@torch.no_grad()
def measure_stacks(kind: Kind, options: Options) -> dict[str, dict[str, float | None]]:
    """Measure line over signal for each input: the mean over stacks, as a ratio and, where it is sure, in dB."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in INPUTS}
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        stack = nn.Sequential()
        for stride in options.strides:
            stack.append(kind.layer(options.channels, options.channels, stride))
            stack.append(nn.LeakyReLU(options.slope))
        for name in INPUTS:
            x = draw_input(name, options, torch.Generator().manual_seed(seed))
            found[name].append(line_over_signal(stack(x), math.prod(options.strides)))
    return {name: pool(ratios) for name, ratios in found.items()}


def pool(ratios: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    """Average ratios with standard errors; ``level_db`` is None where 0 is within three errors of the mean.

    The errors are those of each stack, not the scatter between stacks: one stack sings more than another, and that is
    no doubt whether they sing. ``below_db`` is two errors above the mean.
    """
    mean = statistics.mean(ratio for ratio, _ in ratios)
    error = math.hypot(*(error for _, error in ratios)) / len(ratios)
    sure = mean > 3 * error and mean > LEAST
    return {
        "ratio": mean,
        "standard_error": error,
        "level_db": 10 * math.log10(mean) if sure else None,
        "below_db": 10 * math.log10(max(max(mean, 0) + 2 * error, LEAST)),
    }


@torch.no_grad()
def measure_kernel(kind: Kind, options: Options) -> dict[str, float]:
    """Return image and droop of the first stage's kernel, medians over seeds."""
    responses: list[FilterResponse] = []
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        layer = kind.layer(options.channels, options.channels, options.strides[0])
        responses.append(filter_response(layer.kernel(), layer.stride))
    names = ("image_db", "droop_quarter_db", "droop_edge_db")
    return {name: statistics.median(getattr(response, name) for response in responses) for name in names}


def _plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(13, 6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    names = [f"{row['name']}, L = {row['multiple']} s" for row in rows]
    at = list(range(len(rows)))
    for name, marker in zip(INPUTS, "xo+", strict=True):
        lines = [row["lines"][name] for row in rows]
        left.plot([line["level_db"] for line in lines], at, marker, label=f"{name} input")
        bounds = [line["below_db"] if line["level_db"] is None else math.nan for line in lines]
        left.plot(bounds, at, "<", color=left.lines[-1].get_color(), alpha=0.4)
    left.set(xlabel="lines over signal after three stages, dB (<: none found above this)")
    left.set_yticks(at, names)
    left.invert_yaxis()
    left.legend()
    for name, marker, label in (
        ("image_db", "o", "strongest image over its sine"),
        ("droop_quarter_db", "+", "gain at 0.25 of the input rate"),
        ("droop_edge_db", "x", "gain at 0.45 of the input rate"),
    ):
        right.plot([row["kernel"][name] for row in rows], at, marker, label=label)
    right.set(xlabel="one kernel, dB")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def run(options: Options) -> None:
    """Measure, print the tables, write JSON and a picture."""
    for name, least in (("channels", 1), ("frames", 16)):  # the sinc wraps 7 frames
        if getattr(options, name) < least:
            raise ValueError(f"--{name} must be at least {least}, got {getattr(options, name)}")
    if options.signals < 3 or min(options.seeds, *options.strides) < 2 or options.repeats < 0:
        raise ValueError("--signals must be at least 3, --seeds and --strides 2, --repeats 0")
    if not 1 <= options.threads <= (os.cpu_count() or 1):
        raise ValueError(f"--threads must be from 1 to the {os.cpu_count()} processors, got {options.threads}")
    if not abs(options.slope) < math.inf:
        raise ValueError(f"--slope must be finite, got {options.slope}")
    if not 1 / options.frames <= options.slow <= 0.5:
        raise ValueError(f"--slow must be from 1 / frames to 0.5 cycles per frame, got {options.slow}")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for kind in tqdm([kind for kind in KINDS if kind.fits(options.strides)], desc="stacks", unit="kind"):
        line, kernel = measure_stacks(kind, options), measure_kernel(kind, options)
        rows.append({"name": kind.name, "multiple": kind.multiple, "lines": line, "kernel": kernel})
    times = measure_step_times(options.repeats, options.threads) if options.repeats else []
    relative = {
        f"L = {multiple} s, order {order}": relative_step_time(times, multiple, order)
        for multiple, order in ((2, 1), (3, 1), (3, 2))
        if times
    }
    result = {
        "options": {**dataclasses.asdict(options), "out": str(options.out)},
        "stacks": rows,
        "step_time": times,
        "relative_step_time": relative,
    }
    (options.out / "regularity.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _plot(rows, options.out / "regularity.png")
    print(f"strides {options.strides}, {options.channels} channels, {options.seeds} stacks of each kind, in dB")
    print("                          lines over signal, input         one kernel")
    print("kernel               L    constant     slow    white       image  gain at .25  at .45")
    for row in rows:
        shown = " ".join(
            f"< {line['below_db']:6.1f}" if line["level_db"] is None else f"{line['level_db']:8.1f}"
            for line in (row["lines"][name] for name in INPUTS)
        )
        kernel = row["kernel"]
        print(
            f"{row['name']:19} {row['multiple']:2} s  {shown}      {kernel['image_db']:6.1f}  "
            f"{kernel['droop_quarter_db']:8.1f}  {kernel['droop_edge_db']:8.1f}"
        )
    for name, ratio in relative.items():
        print(f"{name}: a training step takes {ratio:.2f} times that of the free layer")
    print(f"look: {options.out / 'regularity.png'}   numbers: {options.out / 'regularity.json'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"regularity: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
