"""Strong colours have stronger artifacts: lines against the distance from the colour of the bias alone."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from gan.models import STRIDE, Generator
from gan.trainer import latents
from torch import Tensor, nn

from article import ganruns
from article.draw import draw_scatter
from article.outcome import Context, Outcome
from audioup import TransposedConv2d
from audioup.tones import phase_sums

BLOCK = 8  # samples along a side, within which a colour and its lines are compared
IMAGES = 256


def strong_colours(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Compare lines with the distance from the bias colour: of a linear layer, and of trained GANs' last layers."""
    steps = doublings()
    fits: dict[str, list[tuple[float, float]]] = {}
    rises: dict[str, list[float]] = {}
    points = {}
    for name, kind, measure in (
        ("deconvolution, flat blocks", "one", flat_blocks),
        ("deconvolution, generated blocks", "one", generated_blocks),
        ("resize-convolution, generated blocks", "none", generated_blocks),
    ):
        reports = ganruns.trained(context, kind)
        found = [measure(ganruns.generator(context, kind, seed)) for seed in range(len(reports))]
        fits[name] = [fit_power(*pair) for pair in found]
        rises[name] = [rise(*pair) for pair in found]
        points[name] = found[0]
    draw_scatter(
        points,
        context.folder / "strong-colours.png",
        title=f"Blocks of {BLOCK} x {BLOCK} samples of trained GANs, before the tanh",
        x="distance from the bias colour",
        y="amplitude at period 2",
    )
    related = {name: min(correlation for _, correlation in found) > limits["related"] for name, found in fits.items()}
    return Outcome(
        {"linear, dB per doubling": steps, "power and correlation": fits, "farthest quarter over nearest": rises},
        {"a linear layer: +6.02 dB per doubling": all(abs(s - 20 * math.log10(2)) < limits["error"] for s in steps)}
        | {f"{name}: grows, every seed": related[name] for name in fits if name.startswith("deconvolution")},
        f"linear layer {steps[0]:+.2f} dB per doubling; trained, amplitude ~ distance to the power (correlation): "
        + "; ".join(f"{name} {', '.join(f'{p:.2f} ({c:.2f})' for p, c in found)}" for name, found in fits.items())
        + "; mean amplitude of the farthest quarter of blocks over the nearest's: "
        + "; ".join(f"{name} {', '.join(f'{x:.1f}' for x in found)}" for name, found in rises.items()),
        {"strong-colours.png": "Amplitude at period 2 against the distance from the last layer's bias colour."},
    )


def doubling(layer: nn.Module, x: torch.Tensor) -> list[float]:
    """Return the change, in dB, of a layer's period-2 lines over its bias colour, for each doubling of its input."""
    with torch.no_grad():
        bias = layer(torch.zeros_like(x))
        amplitudes = []
        for n in range(4):
            y = layer(2.0**n * x) - bias
            lines = torch.fft.fft2(y)[..., :: y.shape[-2] // 2, :: y.shape[-1] // 2].abs()
            amplitudes.append((lines.square().sum() - lines[..., 0, 0].square().sum()).sqrt().item())
    return [20 * math.log10(b / a) for a, b in itertools.pairwise(amplitudes)]


def doublings() -> list[float]:
    """Return what each doubling of the distance from the bias colour does to a deconvolution's lines, in dB."""
    torch.manual_seed(0)
    colour = torch.randn(1, 16, 1, 1, dtype=torch.float64).expand(1, 16, 16, 16)
    deconvolution = TransposedConv2d(16, 3, 5, 2, padding_mode="circular", dtype=torch.float64)
    return doubling(deconvolution, colour)


def generated_blocks(network: Generator) -> tuple[Tensor, Tensor]:
    """Return, of blocks of what a generator makes before its tanh, the distance from the bias colour and the line.

    Textures have energy at period 2 as well.

    Returns:
        Two vectors: the norm of a block's mean less the last layer's bias, and the amplitude of its period-2 lines.
    """
    last = network.ups[-1]
    with torch.no_grad():
        y = last(network.features(latents(IMAGES, network.latent))).double()
        bias = last.bias
    if not isinstance(bias, Tensor):
        raise TypeError("the last layer has no bias")
    blocks = y.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    lines = torch.fft.fft2(blocks)[..., :: BLOCK // 2, :: BLOCK // 2].abs() / BLOCK**2
    power = lines.square().sum((1, 2, 3)) - lines[..., 0, 0].square().sum(1)
    distance = (blocks.mean((2, 3)) - bias.double()).norm(dim=1)
    return distance, power.clamp_min(0).sqrt()


def flat_blocks(network: Generator) -> tuple[Tensor, Tensor]:
    """Return the same as `generated_blocks` of what the last layer makes of each block's mean features: no texture."""
    last: Any = network.ups[-1]
    with torch.no_grad():
        features = F.avg_pool2d(network.features(latents(IMAGES, network.latent)), BLOCK // STRIDE).double()
        means = features.permute(0, 2, 3, 1).flatten(0, 2)
        gains = phase_sums(last.kernel().double(), (STRIDE, STRIDE))  # (in, out, 2, 2)
        lines = torch.fft.fft2(gains).real / STRIDE**2  # at period 2 they are real
        found = torch.einsum("ni,iohw->nohw", means, lines).square().sum(1)
    return found[:, 0, 0].sqrt(), (found.sum((1, 2)) - found[:, 0, 0]).clamp_min(0).sqrt()


def rise(distance: Tensor, line: Tensor) -> float:
    """Return the mean line of the farthest quarter of the blocks over that of the nearest."""
    ordered = line[distance.argsort()]
    quarter = len(line) // 4
    return (ordered[-quarter:].mean() / ordered[:quarter].mean()).item()


def fit_power(distance: Tensor, line: Tensor) -> tuple[float, float]:
    """Fit ``line ~ distance ** p``; return ``p`` and the correlation of the logarithms."""
    x, y = distance.clamp_min(1e-12).log(), line.clamp_min(1e-12).log()
    x, y = x - x.mean(), y - y.mean()
    return (x @ y / (x @ x)).item(), (x @ y / (x.norm() * y.norm())).item()
