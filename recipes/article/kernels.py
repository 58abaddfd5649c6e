"""What kernels can learn: flat ones, uneven ones, the matrices of the article, and sub-pixel convolution."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from article.draw import draw_matrices
from article.outcome import Context, Outcome
from article.random_training import tones_after_training
from audioup import ResizeConv1d, SubPixelConv1d, TransposedConv1d, tonal_fraction, tone_response
from audioup.functional import pixel_shuffle_1d
from audioup.overlap import operator_matrix

ABC = (1.0, 2.0, 4.0)  # the article's a, b, c, here with sums that tell them apart
SHAPES = ((3, 2, 3, 4), (3, 4, 2, 3), (5, 3, 4, 2), (1, 8, 2, 2))  # odd sizes, strides, inputs, outputs
FLAT_DB = -40.0  # a line below is called none


def learned_uneven(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Size 3, stride 2: which kernels are flat, and how often training finds one."""
    return _learned(3, [1.0, 2.0, 1.0], [1.0, 1.0, 1.0], context, limits)


def learned_even(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Size 4, stride 2: an even overlap, and kernels that alternate all the same."""
    return _learned(4, [1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 2.0, 1.0], context, limits)


def line(kernel: Tensor) -> float:
    """Return the line at sr/2 of a kernel at stride 2, over the constant, as an amplitude."""
    return 10 ** (tone_response(kernel, 2).item() / 20)


def misprediction(size: int, kernels: int = 1000) -> float:
    """Return how far the line of random kernels is from ``|w0 - w1 + w2 - ...| / |w0 + w1 + ...|``, at most."""
    w = torch.randn(kernels, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signs = torch.tensor([(-1.0) ** n for n in range(size)], dtype=torch.float64)
    predicted = (w * signs).sum(1).abs() / w.sum(1).abs()
    found = 10 ** (torch.stack([tone_response(one, 2)[0] for one in w]) / 20)
    return ((found - predicted).abs() / predicted).max().item()


def _learned(
    size: int, flat: list[float], uneven: list[float], context: Context, limits: Mapping[str, float]
) -> Outcome:
    layer = nn.ConvTranspose1d(1, 1, size, stride=2, bias=False, dtype=torch.float64)
    heights = {}
    for name, taps in (("flat", flat), ("uneven", uneven)):
        nn.init.zeros_(layer.weight)
        layer.weight.data[0, 0] = torch.tensor(taps)
        y = layer(torch.ones(1, 1, 16, dtype=torch.float64))[0, 0, 4:-4]
        heights[name] = (y.max() / y.min()).item()
    steps = 300 if context.quick else 3000
    before, after = tones_after_training(size, steps, context.data)
    share = [(tones < FLAT_DB).double().mean().item() for tones in (before, after)]
    error = misprediction(size)
    shown = [":".join(f"{tap:g}" for tap in taps) for taps in (flat, uneven)]
    return Outcome(
        {
            "ratio": {shown[0]: heights["flat"], shown[1]: heights["uneven"]},
            "largest relative error of the formula": error,
            "networks": len(after),
            "steps": steps,
            "median line before, dB": before.median().item(),
            "median line after, dB": after.median().item(),
            "share flat before": share[0],
            "share flat after": share[1],
        },
        {
            f"{shown[0]} is flat": abs(heights["flat"] - 1) < limits["error"],
            f"{shown[1]} is not": heights["uneven"] > 1.5,
            "flat iff the sums of both phases are equal": error < limits["formula"],
            "training seldom finds it": share[1] < limits["found"],
        },
        f"{shown[0]} gives {heights['flat']:g} to 1, {shown[1]} {heights['uneven']:g} to 1; of {len(after)} networks "
        f"trained on rows of photographs {100 * share[1]:.0f} % are flat to {FLAT_DB:g} dB (before: "
        f"{100 * share[0]:.0f} %), median line {after.median():.1f} dB (before {before.median():.1f})",
    )


def article_matrices(taps: tuple[float, float, float], length: int) -> dict[str, Tensor]:
    """Build the article's three matrices and the sub-pixel one for ``length`` inputs, by this library's layers."""
    layers: dict[str, nn.Module] = {
        "deconvolution": TransposedConv1d(1, 1, 3, 2, bias=False, dtype=torch.float64),
        "nearest resize": ResizeConv1d(1, 1, 3, 2, bias=False, dtype=torch.float64),
        "bilinear resize": ResizeConv1d(1, 1, 3, 2, mode="bspline-2", bias=False, dtype=torch.float64),
        "sub-pixel": SubPixelConv1d(1, 1, 2, 2, init="default", bias=False, dtype=torch.float64),
    }
    for name, layer in layers.items():
        weight = layer.weight
        if not isinstance(weight, Tensor):
            raise TypeError(f"{name} has no weight")
        weight.data = torch.tensor([*taps, *taps[:1]] if name == "sub-pixel" else taps).to(weight).reshape(weight.shape)
    return {name: operator_matrix(layer, length) for name, layer in layers.items()}


def matrices(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Write deconvolution and resize-convolution of three taps at stride 2 as matrices, and sum their rows."""
    a, b, c = ABC
    found = article_matrices(ABC, 6)
    expected = {
        "deconvolution": ([a, c], [b]),
        "nearest resize": ([a + b, c], [a, b + c]),
        "bilinear resize": ([a + b / 2, b / 2 + c], [a / 2, a / 2 + b + c / 2, c / 2]),
    }
    entries, sums = {}, {}
    for name, matrix in found.items():
        rows = [sorted(row[row != 0].tolist()) for row in matrix[4:6]]
        entries[name], sums[name] = rows, matrix[4:8].sum(1).tolist()
    draw_matrices(found, context.folder / "matrices.png")

    def same(name: str) -> bool:
        wanted = sorted(sorted(row) for row in expected[name])
        rows = zip(sorted(entries[name]), wanted, strict=True)
        return all(abs(x - y) < limits["error"] for pair in rows for x, y in zip(*pair, strict=True))

    even = {name: max(total) - min(total) < limits["error"] for name, total in sums.items()}
    return Outcome(
        {"a, b, c": list(ABC), "entries": entries, "row sums": sums},
        {f"entries of {name}": same(name) for name in expected}
        | {
            "row sums of resize-convolution are equal": even["nearest resize"] and even["bilinear resize"],
            "those of deconvolution and sub-pixel are not": not even["deconvolution"] and not even["sub-pixel"],
        },
        f"a, b, c = {', '.join(f'{tap:g}' for tap in ABC)}; row sums by turns: "
        + ", ".join(f"{name} {total[0]:g} and {total[1]:g}" for name, total in sums.items()),
        {"matrices.png": "The matrices of the article, and the sub-pixel one: rows of resize-convolution sum alike."},
    )


def subpixel(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Map weights of convolution and shuffle to those of torch's transposed convolution and back, for many shapes."""
    generator = torch.Generator().manual_seed(0)
    errors = []
    for size, stride, inputs, outputs in SHAPES:
        layer = SubPixelConv1d(inputs, outputs, size, stride, init="default", bias=False, dtype=torch.float64)
        x = torch.randn(2, inputs, 20, dtype=torch.float64, generator=generator)
        phases = torch.randn(layer.weight.shape, dtype=torch.float64, generator=generator)
        taps = torch.randn(inputs, outputs, size * stride, dtype=torch.float64, generator=generator)
        with torch.no_grad():
            layer.weight.copy_(phases)
            errors.append(_shuffled_against_transposed(x, phases, layer.kernel(), stride))
            errors.append(_shuffled_against_transposed(x, layer.weight_for(taps), taps, stride))
    fraction = tonal_fraction(SubPixelConv1d(64, 64, 3, 2, init="default").kernel(), 2).item()
    return Outcome(
        {
            "largest difference": max(errors),
            "shapes": len(SHAPES),
            "tone of random weights, dB": fraction,
        },
        {"equal both ways": max(errors) < limits["error"], "even overlap is no guarantee": fraction > -20},
        f"largest difference {max(errors):.1e}, both ways and in {len(SHAPES)} shapes; of random sub-pixel weights "
        f"{100 * 10 ** (fraction / 10):.0f} % of the response to a constant is tone",
    )


def _shuffled_against_transposed(x: Tensor, phases: Tensor, taps: Tensor, stride: int) -> float:
    size = phases.shape[-1]
    shuffled = pixel_shuffle_1d(F.conv1d(x, phases, padding=size // 2), stride)
    transposed = F.conv_transpose1d(x, taps, stride=stride, padding=stride * (size - 1) // 2)
    return (shuffled - transposed).abs().max().item()
