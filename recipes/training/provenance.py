"""Where a result comes from: versions, device, threads, commit."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

PACKAGES = ("audioup", "torch", "torchaudio", "lightning-fabric", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of Python and of what decides the numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def provenance(fabric: Fabric) -> dict[str, Any]:
    """Return what a report says of the machine and the code it was made with; the seed is among the options."""
    on_cuda = fabric.device.type == "cuda"
    return {
        "versions": versions(),
        "device": str(fabric.device),
        "device_name": torch.cuda.get_device_name(fabric.device) if on_cuda else platform.machine(),
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit that is checked out, with ``+`` where files differ from it; unknown outside of a repository."""
    try:
        return _git("rev-parse", "--short=12", "HEAD") + "+" * bool(_git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
