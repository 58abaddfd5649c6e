"""Feature visualisation: an image that excites a network, found at one fixed offset or at a new one each step."""

import statistics
from collections.abc import Mapping

import torch
from gan.pictures import grid, write_png
from torch import Tensor

from article.outcome import Context, Outcome
from article.pretrained import Features
from audioup import checkerboard_energy

BLOCK = 7  # a sixteenth of the sides
SIDE = 128
SEEDS = 3
STEPS, QUICK_STEPS = 128, 64
RATE = 0.02
JITTER = 32  # samples: all strides together
CHANNELS = 8  # that are excited, others for every seed


def dream(steps: int, jitter: bool) -> Tensor:
    """Climb from faint noise to images that excite channels of the network, one image a seed.

    Each step adds the gradient of the mean activation, over its mean size, at the image rolled by an offset: none, or a
    random one each step.

    Source: Mordvintsev, Olah & Tyka, "Inceptionism: going deeper into neural networks" (Google Research, 2015).
    """
    features = Features([BLOCK])
    generator = torch.Generator().manual_seed(0)
    x = 0.05 * torch.randn(SEEDS, 3, SIDE, SIDE, generator=generator)
    for _ in range(steps):
        offset = torch.randint(JITTER, (2,), generator=generator).tolist() if jitter else [0, 0]
        rolled = x.roll(offset, (2, 3)).requires_grad_()
        (found,) = features(rolled)
        value = sum(found[seed, seed * CHANNELS : (seed + 1) * CHANNELS].mean() for seed in range(SEEDS))
        (gradient,) = torch.autograd.grad(value, rolled)
        gradient = gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
        x = (rolled.detach() + RATE * gradient).clamp(-1, 1).roll([-n for n in offset], (2, 3))
    return x


def offsets(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Find images at a fixed offset and at changing ones, and measure both at period 2."""
    steps = QUICK_STEPS if context.quick else STEPS
    images = {"fixed": dream(steps, jitter=False), "jittered": dream(steps, jitter=True)}
    found = {
        name: {f"E{period}": checkerboard_energy(x, period).tolist() for period in (2, 4)} for name, x in images.items()
    }
    write_png(grid(torch.cat(list(images.values())), SEEDS, zoom=2), context.folder / "dream.png")
    ratios = [a / b for a, b in zip(found["fixed"]["E2"], found["jittered"]["E2"], strict=True)]
    return Outcome(
        {"steps": steps, **found, "ratio of E2": ratios},
        {"more at period 2 at a fixed offset, every seed": min(ratios) > limits["ratio"]},
        "; ".join(
            f"{name} E2 {100 * statistics.fmean(row['E2']):.3f} %, E4 {100 * statistics.fmean(row['E4']):.3f} %"
            for name, row in found.items()
        )
        + f"; E2 over E2 {', '.join(f'{ratio:.1f}' for ratio in ratios)}",
        {"dream.png": "Images that excite the network: above at a fixed offset, below at a new one each step."},
    )
