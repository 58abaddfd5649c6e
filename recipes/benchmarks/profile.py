"""Where the time of a training step goes: what folding adds to the transposed convolution that it ends in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.cases import TRAINING, Stage, stages

STEPS = 20
LAYERS: dict[str, Callable[[Stage], nn.Module]] = {
    "ResizeConv1d": Stage.resize,
    "nn.ConvTranspose1d": Stage.transposed,
}
PARTS = {"convolution": ("conv",), "product": ("mm", "matmul"), "copy": ("copy_", "clone", "contiguous")}


def profile_stages() -> list[dict[str, Any]]:
    """Profile a step of every HiFi-GAN upsampler at training size: milliseconds by kind of work."""
    rows = []
    for stage in stages(*TRAINING):
        for name, build in LAYERS.items():
            rows.append({"shape": str(stage), "layer": name, "milliseconds": profile_step(build(stage), stage.draw())})
    return rows


def profile_step(layer: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """Return the milliseconds that a step spends in convolutions, matrix products, copies and all else."""
    x.requires_grad_()
    layer(x).sum().backward()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            layer.zero_grad()
            x.grad = None
            layer(x).sum().backward()
    spent = dict.fromkeys((*PARTS, "other"), 0.0)
    for event in profiled.key_averages():
        # A backward node is named after its forward: ConvolutionBackward0, MmBackward0.
        name = event.key.removeprefix("autograd::engine::evaluate_function: ").lower()
        part = next((part for part, words in PARTS.items() if any(word in name for word in words)), "other")
        spent[part] += event.self_cpu_time_total / 1e3 / STEPS
    return spent
