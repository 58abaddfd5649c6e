"""Checkpoints that a kill, a crash or a full disk cannot damage.

A checkpoint is a folder ``step-000500`` of weights (safetensors), optimizer state, and the SHA-256 of both. It is
written under a temporary name, synced and renamed, so a folder with its final name is complete.
"""

import contextlib
import hashlib
import itertools
import json
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
DIGESTS = "sha256.json"  # of a checkpoint's other files
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
        FloatingPointError: If a weight is NaN or infinite; nothing is written.
    """
    for name, tensors in weights.items():
        if bad := [key for key, value in tensors.items() if not value.isfinite().all()]:
            raise FloatingPointError(
                f"weights of the {name} are not finite at step {step} ({bad[0]}); nothing is saved"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (*folder.glob(".writing-*"), *folder.glob(".removing-*")):  # left by a kill
        shutil.rmtree(stale)
    temporary = folder / f".writing-{step:06d}"
    temporary.mkdir()
    try:
        for name, tensors in weights.items():
            contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(contiguous, temporary / f"{name}.safetensors", (metadata or {}).get(name))
        torch.save({"step": step, **state}, temporary / "state.pt")
        digests = {path.name: _digest(path) for path in sorted(temporary.iterdir())}
        (temporary / DIGESTS).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
        for path in (*temporary.iterdir(), temporary):
            _sync(path)
        final = place_of(folder, step)
        if final.exists():
            _remove(final)
        temporary.rename(final)
        _sync(folder)
    except (RuntimeError, SafetensorError) as error:  # how torch and safetensors report a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(f"cannot write checkpoint {temporary}: {in_one_line(error)}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in checkpoints(folder)[:-KEPT]:
        _remove(old)
    return final


def place_of(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step is."""
    return folder / f"step-{step:06d}"


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
        ValueError: If the checkpoint is damaged, is not what was written, or a file is missing. The newest one before
            it that can be read is named.
    """
    try:
        return _read(path, names)
    except ValueError as error:
        before = [one for one in checkpoints(path.parent) if steps_done(one) < steps_done(path)]
        whole = next((steps_done(one) for one in reversed(before) if _is_whole(one, names)), None)
        if whole is None:
            raise
        raise ValueError(
            f"{error}; the one of step {whole} is whole: --resume-from {whole} goes on from there"
        ) from error


def _is_whole(path: Path, names: tuple[str, ...]) -> bool:
    try:
        _read(path, names)
    except ValueError:
        return False
    return True


def _read(path: Path, names: tuple[str, ...]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    files = {name: path / f"{name}.safetensors" for name in names}
    try:
        if (path / DIGESTS).exists():  # earlier versions wrote none
            digests = json.loads((path / DIGESTS).read_text(encoding="utf-8"))
            for file in (*files.values(), path / "state.pt"):
                if digests[file.name] != _digest(file):
                    raise ValueError(f"{file.name} is not what was written")
        weights = {name: load_file(file) for name, file in files.items()}
        state = load_torch(path / "state.pt")
        return weights, {**state, "step": int(state["step"])}
    except Exception as error:  # whatever damage may raise
        raise ValueError(f"checkpoint {path} cannot be read ({in_one_line(error)})") from error


def restore(
    path: Path,
    weights: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Any],
) -> None:
    """Load what `load_checkpoint` read of ``path`` into networks and their optimizers, by name.

    Raises:
        ValueError: If it is of other networks, or holds anything but what their optimizers keep.
    """
    if missing := [key for key in ("seconds", "optimizers") if key not in state]:
        raise ValueError(f"checkpoint {path} has no {missing[0]}")
    for name, network in networks.items():
        if faults := misfit(weights[name], network):
            raise ValueError(f"checkpoint {path} is of another {name}: {faults}")
        network.load_state_dict(weights[name])
        if name not in optimizers:
            continue
        try:
            optimizers[name].load_state_dict(state["optimizers"][name])
            for parameter, kept in optimizers[name].state.items():
                if any(kept[key].shape != parameter.shape for key in ("exp_avg", "exp_avg_sq")):
                    raise ValueError("means of other shapes than the parameters")
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"checkpoint {path} has no state for the optimizer of {name} ({error!r})") from error


def set_aside(folder: Path, step: int) -> list[Path]:
    """Rename all checkpoints of a run that are later than ``step``, so that they are none; return what they are now."""
    moved = []
    for path in checkpoints(folder):
        if steps_done(path) > step:
            names = (folder / f"aside-{n}-{path.name}" for n in itertools.count(1))
            aside = next(name for name in names if not name.exists())
            path.rename(aside)
            moved.append(aside)
    return moved


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


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    # Renamed first: what is half removed is no checkpoint.
    condemned = path.with_name(f".removing-{path.name}")
    path.rename(condemned)
    shutil.rmtree(condemned)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
