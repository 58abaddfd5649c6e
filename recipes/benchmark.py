"""Time the library against its peers and itself: interleaved runs, medians, ratios.

    pip install -e '.[recipes,benchmark]' && python recipes/benchmark.py

Every contender of a case runs once in each round, in turns, so that a busy machine slows all of them alike. A ratio
above 1 says how many times as fast the first contender is. Nothing else should run meanwhile.
"""

import dataclasses
import json
import platform
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

from audioup import Oversampled, ResizeConv1d, Snake

SOUNDS = ((8, 256, 256), (8, 64, 2048), (8, 16, 8192), (1, 64, 6400))  # batch, channels, frames
SINC_STAGES = ((16, 512, 256, 8, 32), (16, 128, 64, 8, 32), (16, 64, 32, 2, 4096), (1, 128, 64, 8, 800))


@dataclasses.dataclass(frozen=True)
class Options:
    """Time the library's parts against their peers, forward and backward; measure what activations alias."""

    out: Path = Path("runs/benchmark")
    """Folder for benchmark.json."""
    rounds: int = 15
    """In which every contender of a case runs once."""
    threads: int = 2
    """Of torch."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison: the first contender is ours."""

    group: str
    shape: str
    x: Tensor
    contenders: dict[str, Callable[[Tensor], Tensor]]


def oversampled_activations() -> Iterator[Case]:
    """Activations at twice the rate between filters of 12 taps, against the package that BigVGAN's code came from."""
    import alias_free_torch

    for batch, channels, frames in SOUNDS:
        x = torch.randn(batch, channels, frames)
        activations: dict[str, nn.Module] = {"LeakyReLU": nn.LeakyReLU(0.1), "Snake": Snake(channels)}
        for name, activation in activations.items():
            contenders: dict[str, Callable[[Tensor], Tensor]] = {
                "audioup": Oversampled(activation, 2, zeros=3),
                "alias_free_torch": alias_free_torch.Activation1d(activation, 2, 2, 12, 12),
            }
            yield Case("oversampled activation", f"{name}, {batch} x {channels} x {frames}", x, contenders)


@torch.no_grad()
def measure_aliases() -> list[dict[str, Any]]:
    """Send sines from 0.02 to 0.46 of the sample rate through activations; return the aliases over the sine, in dB.

    The sines have an odd number of cycles in 4096 samples, so that no alias falls on a harmonic below the Nyquist
    frequency; what is elsewhere is alias. Medians over the sines.
    """
    import alias_free_torch

    samples, sines = 4096, torch.arange(101, 1901, 15)[::2]
    time_ = torch.arange(3 * samples, dtype=torch.float64)
    rows = []
    activations: dict[str, nn.Module] = {"LeakyReLU": nn.LeakyReLU(0.1), "Snake": Snake(1).double()}
    for name, activation in activations.items():
        ways: dict[str, nn.Module] = {
            "plain": activation,
            "Oversampled(activation, 2)": Oversampled(activation, 2),
            "alias_free_torch": alias_free_torch.Activation1d(activation, 2, 2, 12, 12).double(),
            "Oversampled(activation, 2, zeros=16, rolloff=0.9)": Oversampled(activation, 2, zeros=16, rolloff=0.9),
            "Oversampled(activation, 4, zeros=16, rolloff=0.9)": Oversampled(activation, 4, zeros=16, rolloff=0.9),
        }
        for way, layer in ways.items():
            levels = []
            for sine in sines.tolist():
                y = layer(torch.sin(2 * torch.pi * sine / samples * time_)[None, None])[0, 0, samples : 2 * samples]
                power = torch.fft.rfft(y).abs().square()
                aliases = power.clone()
                aliases[::sine] = 0
                levels.append(float(10 * torch.log10(aliases.sum() / power[sine])))
            rows.append({"activation": name, "way": way, "aliases_db": statistics.median(levels)})
    return rows


def separable_sinc() -> Iterator[Case]:
    """Sinc resize-convolution channel by channel, which counting chooses, against the folded kernel."""
    for batch, inputs, outputs, stride, frames in SINC_STAGES:
        x = torch.randn(batch, inputs, frames)
        layers = [
            ResizeConv1d(inputs, outputs, stride + 1, stride, mode="sinc", separable=way) for way in (True, False)
        ]
        layers[1].load_state_dict(layers[0].state_dict())
        contenders: dict[str, Callable[[Tensor], Tensor]] = dict(zip(("separable", "folded"), layers, strict=True))
        yield Case("separable sinc", f"{inputs} -> {outputs}, stride {stride}, {batch} x {frames}", x, contenders)


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Return the medians of forward and backward together, in seconds, and the ratio of the second to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in case.contenders}
    for _ in range(rounds + 2):
        for name, contender in case.contenders.items():
            x = case.x.clone().requires_grad_()
            start = time.perf_counter()
            contender(x).sum().backward()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[2:]) for name, values in seconds.items()}  # two to warm up
    ours, peer = medians.values()
    return {"group": case.group, "shape": case.shape, "seconds": medians, "ratio": peer / ours}


def run(options: Options) -> None:
    """Time all cases, print a table, write JSON."""
    if options.rounds < 1 or options.threads < 1:
        raise ValueError("--rounds and --threads must be at least 1")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    cases = [*oversampled_activations(), *separable_sinc()]
    rows = [measure(case, options.rounds) for case in tqdm(cases, desc="benchmark", unit="case")]
    ratios: dict[str, list[float]] = {}
    for row in rows:
        ratios.setdefault(row["group"], []).append(row["ratio"])
    means = {group: statistics.geometric_mean(values) for group, values in ratios.items()}
    aliases = measure_aliases()
    machine = {"processor": platform.processor() or platform.machine(), "threads": options.threads}
    result = {
        "machine": machine,
        "torch": torch.__version__,
        "cases": rows,
        "geometric_mean_ratio": means,
        "aliases": aliases,
    }
    (options.out / "benchmark.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for group, mean in means.items():
        members = [row for row in rows if row["group"] == group]
        first, second = members[0]["seconds"]
        print(f"{group}: {first} against {second}, forward and backward")
        for row in members:
            ours, peer = (1e3 * value for value in row["seconds"].values())
            print(f"  {row['shape']:36} {ours:8.2f} ms  {peer:8.2f} ms  {row['ratio']:5.2f} times as fast")
        print(f"  {'geometric mean':36} {'':25}{mean:5.2f}")
    print("aliases of a sine over the sine, median, dB")
    for row in aliases:
        print(f"  {row['activation']:9}  {row['way']:49} {row['aliases_db']:6.1f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input or a peer missing."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except ImportError as error:
        print(f"benchmark: {error}; pip install -e '.[benchmark]' brings the peers", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
