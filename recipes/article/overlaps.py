"""Overlap of transposed convolutions: one axis, two, several layers, and what a last layer of stride 1 takes off."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from article.draw import draw_counts, draw_overlaps, draw_stacks
from article.outcome import Context, Outcome
from audioup.overlap import count, count2d, stack

TWICE = [(3, 2), (3, 2)]  # (kernel_size, stride)
LONG = 64


def inside(layers: Sequence[tuple[int, int]], length: int = LONG) -> Tensor:
    """Return one period of a stack's count away from the edges, from a multiple of the period on."""
    period = math.prod(stride for _, stride in layers)
    counts = stack(length, layers)
    start = counts.numel() // 2 // period * period
    return counts[start : start + period]


def lines(pattern: Tensor) -> Tensor:
    """Return the amplitudes of a pattern's harmonics ``k = 1 .. period // 2`` over its mean, two-sided."""
    transform = torch.fft.fft(pattern.double()).abs()
    return transform[1 : len(pattern) // 2 + 1] / transform[0]


def one_axis(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Count the article's example, and all sizes and strides from 1 to 6."""
    example = count(8, 3, 2).tolist()
    even = {
        (size, stride): inside([(size, stride)]).unique().numel() == 1 for size in range(1, 7) for stride in range(1, 7)
    }
    wrong = [(size, stride) for (size, stride), flat in even.items() if flat != (size % stride == 0)]
    draw_overlaps(context.folder / "overlap-1d.png")
    return Outcome(
        {"counts": example, "length": len(example), "sizes and strides": len(even), "even": sum(even.values())},
        {
            "1 1 2 1 2 ... 2 1 1 of length 17": example == [1, 1] + [2, 1] * 7 + [1],
            "even inside iff the stride divides the size": not wrong,
        },
        f"{' '.join(map(str, example))}; {sum(even.values())} of {len(even)} sizes and strides are even inside, those "
        "whose stride divides the size",
        {"overlap-1d.png": "Placements of sizes and strides 1 to 6, and how often they cover each sample."},
    )


def two_axes(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Count 6 x 4 placements of size 3 and stride 2."""
    counts = count2d((6, 4), 3, 2)
    within = counts[2:-2, 2:-2]
    values = sorted(set(within.flatten().tolist()))
    row = inside([(3, 2)])
    uneven = (row.max() / row.min()).item(), (within.max() / within.min()).item()
    draw_counts(counts, context.folder / "overlap-2d.png")
    return Outcome(
        {"shape": list(counts.shape), "inside": values, "uneven_1d": uneven[0], "uneven_2d": uneven[1]},
        {
            "13 x 9": counts.shape == (13, 9),
            "inside 1, 2, 4": values == [1, 2, 4],
            "the outer product of the axes": torch.equal(counts, torch.outer(count(6, 3, 2), count(4, 3, 2))),
            "2 along an axis is 4 in the image": uneven == (2, 4),
        },
        f"{counts.shape[0]} x {counts.shape[1]}, inside {', '.join(map(str, values))}; uneven {uneven[0]:g} to 1 along "
        f"an axis, {uneven[1]:g} to 1 in the image",
        {"overlap-2d.png": "How often 6 x 4 placements of 3 x 3 taps at stride 2 cover each sample."},
    )


def stacked(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Count two and three layers of size 3 and stride 2."""
    two, three = inside(TWICE), inside([*TWICE, (3, 2)])
    quarter, half = lines(two).tolist()
    ratios = [(pattern.max() / pattern.min()).item() for pattern in (two, three)]
    words = ("one layer", "two layers", "three layers")
    draw_stacks({word: stack(6, [(3, 2)] * n) for n, word in enumerate(words, start=1)}, context.folder / "stacked.png")
    error = limits["error"]
    return Outcome(
        {"two": two.tolist(), "three": three.tolist(), "ratios": ratios, "quarter": quarter, "half": half},
        {
            "two: 3 2 3 1": _is_rotation(two, [3, 2, 3, 1]),
            "three: 4 3 5 2 5 3 4 1": _is_rotation(three, [4, 3, 5, 2, 5, 3, 4, 1]),
            "ratios 3 and 5": ratios == [3, 5],
            "lines 1/9 at sr/4 and 1/3 at sr/2": abs(quarter - 1 / 9) < error and abs(half - 1 / 3) < error,
        },
        f"inside {_words(two)} ({ratios[0]:g} to 1; lines {quarter:.3f} at sr/4, {half:.3f} at sr/2), {_words(three)} "
        f"({ratios[1]:g} to 1)",
        {"stacked.png": "Overlap after one, two and three layers of size 3 and stride 2."},
    )


def damped(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Put a box of n taps at stride 1 after two layers; then ten thousand random kernels instead."""
    expected = {2: (0.079, 0.0), 3: (0.037, 0.111), 4: (0.0, 0.0), 5: (0.022, 0.067), 6: (0.026, 0.0), 8: (0.0, 0.0)}
    found = {n: lines(inside([*TWICE, (n, 1)])[:4]).tolist() for n in expected}
    pattern = inside(TWICE).double().repeat(8)
    random = torch.randn(10000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    transform = torch.fft.fft(random, dim=1).abs()
    # Four taps meet the period of 4 as their DFT: what is left of either line, over the constant.
    left = lines(pattern[:4]) * transform[:, 1:3] / transform[:, :1]
    leaks = (left.max(1).values > 0.01).double().mean().item()
    return Outcome(
        {"box": {str(n): value for n, value in found.items()}, "random kernels with a line over 1 %": leaks},
        {
            f"box of {n}: {a:g}, {b:g}": max(abs(found[n][0] - a), abs(found[n][1] - b)) < limits["error"]
            for n, (a, b) in expected.items()
        }
        | {"random kernels leak": leaks > limits["leaks"]},
        "; ".join(f"{n} ({a:.3f}, {b:.3f})" for n, (a, b) in found.items())
        + f"; of random kernels of 4 taps {100 * leaks:.1f} % leave a line over 1 % of the constant",
    )


def _is_rotation(pattern: Tensor, expected: Sequence[int]) -> bool:
    doubled = [*expected, *expected]
    return any(doubled[n : n + len(expected)] == pattern.tolist() for n in range(len(expected)))


def _words(pattern: Tensor) -> str:
    return " ".join(map(str, pattern.tolist()))
