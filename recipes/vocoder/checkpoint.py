"""Checkpoints that a kill, a crash or a full disk cannot damage.

A checkpoint is a folder ``step-000500`` of weights (safetensors) and optimizer state. It is written under a temporary
name, synced and renamed, so a folder with its final name is complete.
"""

import contextlib
import os
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from audioup.torch_file import load_torch

KEPT = 2  # the newest ones; the one before the last is for the day the last cannot be read
NAMED = 3  # keys of every kind of fault
LONGEST = 300  # characters of others' messages


def save_checkpoint(
    folder: Path,
    step: int,
    weights: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    metadata: Mapping[str, dict[str, str]] | None = None,
) -> Path:
    """Write a checkpoint atomically and remove all but the newest two.

    Args:
        folder: Folder of all checkpoints of a run.
        step: Steps done.
        weights: State dict of each network by name; one ``NAME.safetensors`` each.
        state: What else there is to restore, such as optimizer state: tensors and plain values.
        metadata: For the files of networks, by name.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: If the disk is full or not writable; earlier checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".writing-*"):
        shutil.rmtree(stale)
    temporary = folder / f".writing-{step:06d}"
    temporary.mkdir()
    try:
        for name, tensors in weights.items():
            contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(contiguous, temporary / f"{name}.safetensors", (metadata or {}).get(name))
        torch.save({"step": step, **state}, temporary / "state.pt")
        for path in (*temporary.iterdir(), temporary):
            _sync(path)
        final = folder / f"step-{step:06d}"
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        _sync(folder)
    except (RuntimeError, SafetensorError) as error:  # how torch and safetensors report a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(f"cannot write checkpoint {temporary}: {error}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """List the complete checkpoints of a run, oldest first; folders of other names are none."""
    return sorted((path for path in folder.glob("step-*") if re.fullmatch("step-[0-9]+", path.name)), key=steps_done)


def steps_done(checkpoint: Path) -> int:
    """Read from a checkpoint's name how many steps it had been trained for."""
    return int(checkpoint.name.removeprefix("step-"))


def load_checkpoint(path: Path, names: tuple[str, ...]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read a checkpoint.

    Args:
        path: The checkpoint's folder.
        names: Networks whose weights to read.

    Returns:
        State dict of each network by name, and the state with its ``step``.

    Raises:
        ValueError: If the checkpoint is damaged or a file is missing.
    """
    try:
        weights = {name: load_file(path / f"{name}.safetensors") for name in names}
        state = load_torch(path / "state.pt")
        return weights, {**state, "step": int(state["step"])}
    except Exception as error:
        raise ValueError(
            f"checkpoint {path} cannot be read ({in_one_line(error)}); remove it to resume from the one before"
        ) from error


def misfit(weights: Mapping[str, Tensor], network: nn.Module) -> str:
    """Say in one line which weights a network misses, has no place for, or has in another shape; empty if none."""
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    faults = {
        "missing": [key for key in expected if key not in shapes],
        "left over": [key for key in shapes if key not in expected],
        "of another shape": [
            f"{key} {shape} for {expected[key]}" for key, shape in shapes.items() if expected.get(key, shape) != shape
        ],
    }
    return "; ".join(
        f"{len(keys)} {fault}: {', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''}"
        for fault, keys in faults.items()
        if keys
    )


def in_one_line(error: Exception) -> str:
    """Return an error's message on one line, cut where it is long."""
    return textwrap.shorten(str(error), LONGEST, placeholder=" ...")


@contextlib.contextmanager
def drafts(*paths: Path) -> Iterator[list[Path]]:
    """Give empty files beside ``paths`` to write to; at the end they take their names, or go if anything fails."""
    beside = [path.with_name(f".writing-{path.name}") for path in paths]
    try:
        for draft in beside:
            draft.touch()  # before the work, where it can fail
        yield beside
        for draft, path in zip(beside, paths, strict=True):
            draft.replace(path)
    finally:
        for draft in beside:
            draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
