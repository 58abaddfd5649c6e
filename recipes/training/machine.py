"""Where a training runs: one process or many, on one machine or several, by Lightning Fabric."""

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator
from typing import Any, Literal, TypeVar, get_args

import torch
from lightning_fabric import Fabric
from torch.distributed import ReduceOp

Precision = Literal["auto", "32-true", "bf16-mixed", "64-true"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclasses.dataclass(frozen=True)
class Machine:
    """Options of where to run; none but the device and the precision changes what is learned, beyond rounding."""

    accelerator: str = "auto"
    """cpu, cuda, ...: see Lightning Fabric."""
    devices: int = 1
    """Processes on this machine, or GPUs. Left alone under torchrun, srun and fabric run, which start them."""
    nodes: int = 1
    """Machines, each with as many devices. Left alone under torchrun and fabric run."""
    accumulate: int = 1
    """Parts that each process computes its share of a batch in, one after the other, to need less memory."""
    precision: Precision = "auto"
    """auto is bf16-mixed on CUDA and 32-true elsewhere; 64-true is slow, to compare trainings without rounding."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do with an update whose gradient is not finite: stop before it is taken, or leave it out and count it."""


AnyMachine = TypeVar("AnyMachine", bound=Machine)
GRACE_S = 20.0
FREE_TO_CHANGE = {"devices", "nodes", "accumulate", "on_nan"}  # between the parts of one run


def as_launched(options: AnyMachine) -> AnyMachine:
    """Put what torchrun or ``fabric run`` decided in the place of options; `ValueError` if it cannot be had here."""
    changes: dict[str, Any] = {}
    if "LOCAL_WORLD_SIZE" in os.environ and "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun, and so fabric run
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        changes = {"devices": local, "nodes": int(os.environ["WORLD_SIZE"]) // local}
    if accelerator := os.environ.get("LT_ACCELERATOR"):
        changes["accelerator"] = accelerator
    if precision := os.environ.get("LT_PRECISION"):
        if precision not in PRECISIONS:
            raise ValueError(f"--precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        changes["precision"] = precision
    return dataclasses.replace(options, **changes)


def make_fabric(options: Machine) -> Fabric:
    """Choose devices, precision and number of processes, as `as_launched` gave them.

    Raises:
        ValueError: If a number is out of range, or this machine does not have them.
    """
    for key in ("devices", "nodes", "accumulate"):
        if getattr(options, key) < 1:
            raise ValueError(f"--{key} must be at least 1, got {getattr(options, key)}")
    devices, nodes = options.devices, options.nodes
    on_cuda = options.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    precision: Any = options.precision if options.precision != "auto" else ("bf16-mixed" if on_cuda else "32-true")
    told = {
        "accelerator": options.accelerator,
        "devices": devices,
        "num_nodes": nodes,
        "precision": precision,
        "strategy": "ddp" if devices * nodes > 1 else "auto",
    }
    # What `fabric run` was told comes by the environment, and may be said once only.
    given: dict[str, Any] = {key: value for key, value in told.items() if f"LT_{key.upper()}" not in os.environ}
    torch.backends.cudnn.deterministic = True  # the same seed gives the same convolutions, for some speed
    try:
        return Fabric(**given)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"--accelerator {options.accelerator} --devices {devices} --nodes {nodes}: {error}") from error


def check_shares(options: Machine, batch_size: int) -> None:
    """Raise `ValueError` unless every process gets as many examples of a batch, and every part of its share."""
    processes = options.devices * options.nodes
    parts = processes * options.accumulate
    if batch_size % parts:
        raise ValueError(
            f"--batch-size must be a multiple of {parts}, {processes} processes with {options.accumulate} parts "
            f"each, got {batch_size}"
        )


def is_first(fabric: Fabric) -> bool:
    """Say, also before `launch`, whether this process is the one that checks and writes."""
    environment = getattr(fabric.strategy, "cluster_environment", None)
    return environment is None or (environment.node_rank() == 0 and environment.local_rank() == 0)


@contextlib.contextmanager
def launched(fabric: Fabric) -> Iterator[None]:
    """Start the other processes; end those that this one started if it fails, for they would wait for it."""
    if "LT_CLI_USED" not in os.environ:  # `fabric run` has launched them
        fabric.launch()
    try:
        yield
    except BaseException as error:
        for process in getattr(fabric.strategy.launcher, "procs", ()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S if isinstance(error, KeyboardInterrupt) else 0)  # a signal ends them all
            process.kill()
        raise


def largest(fabric: Fabric, values: torch.Tensor) -> torch.Tensor:
    """Return the largest of each value among all processes."""
    if fabric.world_size == 1:
        return values
    operation: Any = ReduceOp.MAX
    reduced: Any = fabric.all_reduce(values.to(fabric.device), reduce_op=operation)
    return torch.as_tensor(reduced).to(values.device)


def wide(options: Machine) -> torch.dtype:
    """Return the type of losses and of what they compare, which stays wide where networks compute in bfloat16."""
    return torch.float64 if options.precision == "64-true" else torch.float32


def average(fabric: Fabric, values: torch.Tensor) -> list[float]:
    """Return the means of values over all processes."""
    reduced: Any = fabric.all_reduce(values) if fabric.world_size > 1 else values
    means: list[float] = reduced.tolist()
    return means
