"""Estimate how long a training takes on GPUs that are not at hand, from counted operations and bytes.

Nothing is computed: one training step of a preset runs on tensors without content (torch's fake tensors, under bfloat16
autocast), and every operation on them is counted. A kernel takes as long as its arithmetic or its memory traffic, at a
share of what the GPU is sold for; a step takes as long as its kernels, or as Python takes to launch them.

    python recipes/estimate_training.py --preset v1
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from vocoder.discriminators import Discriminators
from vocoder.losses import ReconstructionLoss, adversarial_loss, discriminator_loss, feature_loss
from vocoder.mel import input_mel
from vocoder.model import UPSAMPLERS, Generator
from vocoder.presets import PRESETS

from audioup.table import table

N_MELS = 80  # of the input
OPTIMIZER_BYTES = 36  # a parameter: AdamW reads four float32 and writes three, clipping reads one more and writes one


@dataclass(frozen=True)
class Options:
    """Estimate how long a training takes on GPUs, from counted operations and bytes. Marked as what it is."""

    preset: Literal["v1", "v2", "v3", "tiny"] = "v1"
    """Sizes, as in train_vocoder.py."""
    upsampler: str = "transposed"
    """As in train_vocoder.py."""
    batch_size: int | None = None
    """Segments a step, over all GPUs; by default the preset's."""
    segment_size: int = 8192
    """Samples a segment."""
    sample_rate: int = 22050
    """In Hz."""
    devices: tuple[int, ...] = (1, 8)
    """Numbers of GPUs."""
    teraflops: float = 989.0
    """Of the GPU, in bfloat16 without sparsity; an H100 SXM's by its data sheet."""
    memory_tb_s: float = 3.35
    """Terabytes a second of its memory, by the data sheet."""
    link_gb_s: float = 450.0
    """Gigabytes a second from one GPU to the others, one way, by the data sheet."""
    efficiency: float = 0.4
    """Share of the arithmetic that convolutions reach: an assumption."""
    memory_efficiency: float = 0.7
    """Share of the memory's and of the link's speed that is reached: an assumption."""
    launch_us: float = 6.0
    """Microseconds that Python takes to launch an operation: an assumption."""
    json: Path | None = None
    """Write the numbers to this file as well."""


@dataclass
class Counted:
    """What was counted of one process's step, and what its kernels take one after the other.

    Attributes:
        kernels: Operations that compute something.
        flops: Floating-point operations of convolutions and matrix products, 2 for a multiplication and addition.
        moved_bytes: Read and written by all kernels.
        kernels_s: Seconds of all kernels.
    """

    kernels: int = 0
    flops: int = 0
    moved_bytes: int = 0
    kernels_s: float = 0.0


class Counter(TorchDispatchMode):
    """Count operations, and what each reads and writes."""

    def __init__(self, flops_per_s: float, bytes_per_s: float) -> None:
        super().__init__()
        self.flops_per_s, self.bytes_per_s = flops_per_s, bytes_per_s
        self.counted = Counted()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it, unless it only looks at memory in another way."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if func.is_view or not made:
            return out
        flops = 0
        if func.overloadpacket in flop_registry:
            flops = int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out))
        moved = sum(tensor.numel() * tensor.element_size() for tensor in (*given, *made))
        self.counted.kernels += 1
        self.counted.flops += flops
        self.counted.moved_bytes += moved
        self.counted.kernels_s += max(flops / self.flops_per_s, moved / self.bytes_per_s)
        return out


def count_step(options: Options, segments: int) -> tuple[Counted, dict[str, int]]:
    """Count one adversarial step of ``segments`` on one GPU; return it and the parameters of both networks."""
    preset = PRESETS[options.preset]
    counter = Counter(
        options.teraflops * 1e12 * options.efficiency, options.memory_tb_s * 1e12 * options.memory_efficiency
    )
    with FakeTensorMode() as fake:
        # The mel's filters are checked by value when they are made, so both spectra are made for real before.
        with unset_fake_temporarily():
            spectra = [
                input_mel(options.sample_rate, preset.generator.hop_length),
                ReconstructionLoss(options.sample_rate, preset.generator.hop_length),
            ]
        mel, reconstruction = (_without_content(module, fake) for module in spectra)
        generator = Generator(N_MELS, preset.generator, options.upsampler)
        discriminators = Discriminators(preset.discriminators)
        audio = torch.randn(segments, options.segment_size)
        with counter, torch.autocast("cpu", torch.bfloat16):
            real = audio.unsqueeze(1)
            generated = generator(mel(audio)).float()
            discriminator_loss(*discriminators(real, generated.detach())).backward()
            total = sum(reconstruction(generated, real))
            discriminators.requires_grad_(False)
            of_real, of_generated = discriminators(real, generated)
            total = total + adversarial_loss(of_generated) + feature_loss(of_real, of_generated)
            total.backward()
    parameters = {"generator": _parameters(generator), "discriminators": _parameters(discriminators)}
    moved = OPTIMIZER_BYTES * sum(parameters.values())
    counted = counter.counted
    counted.moved_bytes += moved
    counted.kernels_s += moved / counter.bytes_per_s
    return counted, parameters


def estimate(options: Options) -> list[dict[str, Any]]:
    """Estimate for each number of GPUs."""
    preset = PRESETS[options.preset]
    batch = options.batch_size or preset.batch_size
    rows = []
    for devices in options.devices:
        if devices < 1 or batch % devices:
            raise ValueError(f"--batch-size must be a multiple of every number of --devices, got {batch} and {devices}")
        counted, parameters = count_step(options, batch // devices)
        # A ring sends and receives all gradients, in float32, almost twice; overlap with computing is not counted on.
        exchanged = 2 * (devices - 1) / devices * 4 * sum(parameters.values())
        exchange_s = exchanged / (options.link_gb_s * 1e9 * options.memory_efficiency)
        launches_s = counted.kernels * options.launch_us * 1e-6
        step_s = max(counted.kernels_s, launches_s) + exchange_s
        rows.append(
            {
                "devices": devices,
                "segments_each": batch // devices,
                **asdict(counted),
                "parameters": parameters,
                "exchanged_bytes": exchanged,
                "exchange_s": exchange_s,
                "launches_s": launches_s,
                "step_s": step_s,
                "steps": preset.steps,
                "hours": step_s * preset.steps / 3600,
                "bound_by": "kernels" if counted.kernels_s >= launches_s else "launches",
            }
        )
    return rows


def in_words(rows: Sequence[dict[str, Any]]) -> str:
    """Lay the estimates out as a table."""
    head = ("GPUs", "segments", "TFLOP", "GB moved", "kernels", "kernels, ms", "launches, ms", "exchange, ms")
    lines = [(*head, "step, ms", "hours", "bound by")]
    for row in rows:
        times = [f"{1000 * row[key]:.1f}" for key in ("kernels_s", "launches_s", "exchange_s", "step_s")]
        counts = (f"{row['flops'] / 1e12:.2f}", f"{row['moved_bytes'] / 1e9:.1f}", f"{row['kernels']}")
        hours = f"{row['hours']:.1f}"
        lines.append((str(row["devices"]), f"{row['segments_each']} each", *counts, *times, hours, row["bound_by"]))
    return table(lines)


def _without_content(module: nn.Module, fake: FakeTensorMode) -> nn.Module:
    """Replace what a module holds by tensors without content, in place."""
    for one in module.modules():
        for name, value in [*vars(one).items(), *one._buffers.items()]:
            if isinstance(value, Tensor):
                setattr(one, name, fake.from_tensor(value))
    return module


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    try:
        if options.upsampler not in UPSAMPLERS:
            raise ValueError(f"--upsampler must be one of {', '.join(UPSAMPLERS)}, got {options.upsampler!r}")
        rows = estimate(options)
        print(
            f"An estimate, not a measurement: {options.preset}, {rows[0]['steps']:,} steps; what one GPU does in each."
        )
        print(in_words(rows))
        if options.json is not None:
            options.json.write_text(json.dumps({"options": asdict(options) | {"json": None}, "rows": rows}, indent=1))
    except (ValueError, OSError) as error:
        print(f"estimate_training: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
