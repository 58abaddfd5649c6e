"""Time the library against its peers and itself, and measure what speed must not cost: memory, aliases, tones.

    pip install -e '.[benchmark]' && python recipes/benchmark.py

Every contender of a case runs once in each round, in random order, so that a busy machine slows all of them alike. A
ratio above 1 says how many times as fast the first contender is. Nothing else should run meanwhile.
"""

import dataclasses
import json
import math
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

try:
    from benchmarks import cases
    from benchmarks.memory import measure_memory
    from benchmarks.profile import profile_stages
    from benchmarks.purity import measure_aliases, measure_stride_tones
except ModuleNotFoundError as error:
    sys.exit(f"benchmark: {error}; pip install -e '.[benchmark]' brings the peers")

GROUPS: dict[str, Callable[[], Iterator[cases.Case]]] = {
    "nearest": cases.nearest,
    "engine": cases.engines,
    "images": cases.images,
    "sinc": cases.sincs,
    "activation": cases.oversampled_activations,
    "separable": cases.separable,
    "generator": cases.generators,
}
LEAST_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Options:
    """Time the library's layers against their peers; measure memory, aliases and stride tones."""

    out: Path = Path("runs/benchmark")
    """Folder for benchmark.json and benchmark.txt."""
    only: tuple[str, ...] = tuple(GROUPS)
    """Which cases to time: nearest, engine, images, sinc, activation, separable, generator."""
    rounds: int = 31
    """In which every contender of a case runs once."""
    seconds: float = 20.0
    """After which a case ends early, though not before 5 rounds."""
    threads: int = 2
    """Of torch."""


def measure(case: cases.Case, rounds: int, seconds: float) -> dict[str, Any]:
    """Return the median time of every contender, in seconds, and how many times as fast the first is as each other."""
    times: dict[str, list[float]] = {name: [] for name in case.contenders}
    end = time.perf_counter() + seconds
    order, shuffle = list(case.contenders), random.Random(0).shuffle
    for done in range(-1, rounds):  # one more, to warm up
        if done >= LEAST_ROUNDS and time.perf_counter() > end:
            break
        shuffle(order)  # each finds the caches and the allocator as another left them
        for name in order:
            times[name].append(_time(case.contenders[name], case))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    ours, *_ = medians.values()
    ratios = {name: value / ours for name, value in list(medians.items())[1:]}
    return {
        "group": case.group,
        "shape": case.shape,
        "rounds": len(next(iter(times.values()))) - 1,
        "seconds": medians,
        "ratios": ratios,
    }


def _time(contender: Callable[[Tensor], Tensor], case: cases.Case) -> float:
    x = case.x.clone().requires_grad_(case.backward)
    if isinstance(contender, nn.Module):
        contender.zero_grad()
    start = time.perf_counter()
    with torch.set_grad_enabled(case.backward):
        y = contender(x)
    if case.backward:
        y.sum().backward()
    return time.perf_counter() - start


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Geometric mean and least of the ratios to each peer, for every group; ``best`` is the fastest peer of a case."""
    groups: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        peers = groups.setdefault(row["group"], {})
        for name, ratio in {**row["ratios"], "best": min(row["ratios"].values())}.items():
            peers.setdefault(name, []).append(ratio)
    return {
        group: {name: {"mean": statistics.geometric_mean(r), "least": min(r)} for name, r in peers.items()}
        for group, peers in groups.items()
    }


def format_result(result: dict[str, Any]) -> str:
    """Lay everything out as tables for people."""
    machine = result["machine"]
    lines = [f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}; ms, and times as fast"]
    for group, peers in result["summary"].items():
        members = [row for row in result["cases"] if row["group"] == group]
        names = list(members[0]["seconds"])
        lines += ["", f"{group:40}" + "".join(f"{name:>26}" for name in names)]
        for row in members:
            first, *others = (1e3 * value for value in row["seconds"].values())
            cells = [f"{value:17.2f}  {value / first:6.2f}x" for value in others]
            lines.append(f"{row['shape']:40}{first:26.2f}" + "".join(cells))
        for statistic in ("mean", "least"):
            cells = [f"{peers[name][statistic]:25.2f}x" for name in names[1:]]
            title = "geometric mean" if statistic == "mean" else "least"
            lines.append(f"{title:66}" + "".join(cells) + f"   best of them {peers['best'][statistic]:.2f}x")
    if result["profile"]:
        parts = list(result["profile"][0]["milliseconds"])
        lines += ["", f"{'where a training step goes, ms':62}" + "".join(f"{part:>13}" for part in parts)]
        for row in result["profile"]:
            cells = [f"{row['milliseconds'][part]:13.2f}" for part in parts]
            lines.append(f"{row['shape']:44}{row['layer']:18}" + "".join(cells))
    if result["memory"]:
        names = list(result["memory"][0]["extra_mib"])
        lines += ["", f"{'peak memory of a step, MiB (parameters)':40}" + "".join(f"{name:>26}" for name in names)]
        for row in result["memory"]:
            cells = [f"{row['extra_mib'][name]:16.1f} ({row['parameters_mib'][name]:7.1f})" for name in names]
            lines.append(f"{row['shape']:40}" + "".join(cells))
    lines += ["", "tonal fraction of sinc interpolation, dB"]
    lines += [f"  by {row['stride']}: {row['way']:20} {row['tonal_fraction_db']:7.1f}" for row in result["tones"]]
    lines += ["", "aliases of a sine over the sine, median, dB"]
    lines += [f"  {row['activation']:9}  {row['way']:49} {row['aliases_db']:6.1f}" for row in result["aliases"]]
    return "\n".join(lines)


def run(options: Options) -> None:
    """Time all cases, print tables, write JSON."""
    if options.rounds < 1 or not 0 <= options.seconds < math.inf:
        raise ValueError("--rounds must be at least 1, --seconds finite and not negative")
    if not 1 <= options.threads <= (os.cpu_count() or 1):
        raise ValueError(f"--threads must be from 1 to the {os.cpu_count()} processors, got {options.threads}")
    if not options.only or not set(options.only) <= set(GROUPS):
        raise ValueError(f"--only must be among {', '.join(GROUPS)}, got {' '.join(options.only)!r}")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    for name in options.only:
        # One case at a time: a generator holds gigabytes.
        for case in tqdm(GROUPS[name](), desc=name, unit="case"):
            rows.append(measure(case, options.rounds, options.seconds))
    result = {
        "machine": {
            "processor": _processor(),
            "threads": options.threads,
            "torch": torch.__version__,
        },
        "cases": rows,
        "summary": summarise(rows),
        "profile": profile_stages() if "nearest" in options.only else [],
        "memory": measure_memory(options.threads) if "nearest" in options.only else [],
        "tones": measure_stride_tones(),
        "aliases": measure_aliases(),
    }
    (options.out / "benchmark.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = format_result(result)
    (options.out / "benchmark.txt").write_text(text + "\n", encoding="utf-8")
    print(text)


def _processor() -> str:
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
