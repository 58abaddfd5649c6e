"""Peak memory of a step, as the operating system counts it: what libraries set aside behind torch's back included."""

import multiprocessing
import os
import re
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.cases import TRAINING, Stage, stages

STATUS = Path("/proc/self/status")
REPEATS = 5
LAYERS: dict[str, Callable[[Stage], nn.Module]] = {
    "ResizeConv1d": Stage.resize,
    "nn.ConvTranspose1d": Stage.transposed,
    "nn.Upsample, nn.Conv1d": Stage.naive,
}


def measure_memory(threads: int) -> list[dict[str, Any]]:
    """Measure what forward and backward of every HiFi-GAN upsampler take at training size; none but on Linux."""
    if sys.platform != "linux":
        return []
    # In a process whose allocator returns what is freed: else the next step reuses it and seems to need nothing.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = os.environ["MALLOC_TRIM_THRESHOLD_"] = "65536"
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return [pool.submit(measure_stage, stage, threads).result() for stage in stages(*TRAINING)]
    finally:
        del os.environ["MALLOC_MMAP_THRESHOLD_"], os.environ["MALLOC_TRIM_THRESHOLD_"]


def measure_stage(stage: Stage, threads: int) -> dict[str, Any]:
    """Return the peak of a step above what layer and input hold, and the parameters, in MiB; medians."""
    torch.set_num_threads(threads)
    row: dict[str, Any] = {"shape": str(stage), "extra_mib": {}, "parameters_mib": {}}
    for name, build in LAYERS.items():
        layer = build(stage)
        x = stage.draw().requires_grad_()
        peaks = []
        for _ in range(REPEATS + 2):
            layer.zero_grad()
            x.grad = None
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            before = _kib("VmRSS")
            layer(x).sum().backward()
            peaks.append((_kib("VmHWM") - before) / 1024)
        row["extra_mib"][name] = statistics.median(peaks[2:])  # two to warm up
        row["parameters_mib"][name] = sum(p.numel() * p.element_size() for p in layer.parameters()) / 2**20
    return row


def _kib(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"{STATUS} does not tell {name}")
    return int(found[1])
