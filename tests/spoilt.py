"""Checkpoints that `vocoder.checkpoint` would not write."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from vocoder.checkpoint import DIGESTS


def overwrite(checkpoint: Path, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put other weights into a checkpoint, as if an earlier version had written it."""
    for name, tensors in weights.items():
        # Cloned: they may be views of the file that is written.
        save_file({key: value.clone() for key, value in tensors.items()}, checkpoint / f"{name}.new")
        (checkpoint / f"{name}.new").replace(checkpoint / f"{name}.safetensors")
    (checkpoint / DIGESTS).unlink()
