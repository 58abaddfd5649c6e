"""What holding a kernel at an order costs: a training step of one layer against the plain one."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from audioup import TransposedConv1d, regular

# HiFi-GAN V1's upsamplers at training size: inputs, outputs, stride, frames of a batch of 16.
STEP_SHAPES = ((512, 256, 8, 32), (256, 128, 8, 256), (128, 64, 2, 2048), (64, 32, 2, 4096))


def measure_step_times(repeats: int, threads: int) -> list[dict[str, Any]]:
    """Time forward, backward and AdamW of one layer, plain and held at orders 1 and 2, in turns; medians."""
    torch.set_num_threads(threads)
    rows = []
    for inputs, outputs, stride, frames in tqdm(STEP_SHAPES, desc="step time", unit="shape"):
        x = torch.randn(16, inputs, frames)
        steps: dict[str, Callable[[], None]] = {}
        for multiple, orders in ((2, (0, 1)), (3, (0, 1, 2))):
            for order in orders:
                layer = TransposedConv1d(inputs, outputs, multiple * stride, stride)
                if order:
                    regular(layer, order)
                steps[f"L = {multiple} s, order {order}"] = _step_of(layer, x)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(repeats + 2):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - start)
        seconds = {name: statistics.median(values[2:]) for name, values in times.items()}  # two to warm up
        shape = {"in_channels": inputs, "out_channels": outputs, "stride": stride, "frames": frames}
        rows.append({**shape, "batch": 16, "seconds": seconds})
    return rows


def relative_step_time(rows: Sequence[dict[str, Any]], multiple: int, order: int) -> float:
    """Geometric mean over shapes of the time of a step, against the free layer of the same length."""
    ratios = [
        row["seconds"][f"L = {multiple} s, order {order}"] / row["seconds"][f"L = {multiple} s, order 0"]
        for row in rows
    ]
    return statistics.geometric_mean(ratios)


def _step_of(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(layer.parameters())

    def step() -> None:
        optimizer.zero_grad()
        F.leaky_relu(layer(x)).mean().backward()
        optimizer.step()

    return step
