"""A run's folder: whose it is at the moment, which checkpoint to go on from, where its curves go."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from torch.utils.tensorboard import SummaryWriter
from vocoder.checkpoint import checkpoints, place_of, set_aside, steps_done


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other programs from training in a folder for as long as the context lasts; a kill ends it as well.

    Raises:
        ValueError: If another program trains there.
        OSError: If the folder cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"another program is training in {folder}") from None
    try:
        yield
    finally:
        if not existed and [path.name for path in folder.iterdir()] in ([], [".lock"]):  # nothing came of it
            with contextlib.suppress(OSError):
                (folder / ".lock").unlink(missing_ok=True)
                folder.rmdir()
        lock.release()


def begun(folder: Path, resume: bool, step: int | None, steps: int) -> Path | None:
    """Check that a run can begin in a folder, or go on there; return the checkpoint to go on from, if there is one.

    Args:
        folder: Of the run.
        resume: Whether it is to go on.
        step: Of the checkpoint to go on from; None is the newest.
        steps: How many there are to be in the end.

    Raises:
        ValueError: If there is a run that is not to be continued, none that is, no such checkpoint, or more steps.
    """
    config, saved = folder / "config.json", checkpoints(folder / "checkpoints")
    if not resume:
        if saved and not config.exists():
            raise ValueError(f"{folder} holds checkpoints without the config.json that says of which run; remove it")
        if saved:  # before the first one there is nothing to lose
            raise ValueError(f"{folder} holds a run already: --resume continues it, --name NAME begins another")
        return None
    if not config.exists():
        raise ValueError(f"--resume: {folder} holds no run")
    found = chosen(folder / "checkpoints", step)
    if found and steps_done(found) > steps:
        raise ValueError(f"--steps {steps}: {found} has been trained for longer already")
    return found


def resume_together(fabric: Fabric, trainer: Any, saved: Path | None) -> None:
    """Let all processes go on from the checkpoint that the first one chose, and rename later ones."""
    saved = fabric.broadcast(saved)
    if saved is None:
        return
    trainer.resume(saved)
    fabric.barrier()  # all have read it
    if fabric.is_global_zero:
        for path in set_aside(saved.parent, trainer.step):
            print(f"renamed to {path}: a later checkpoint, which no longer counts")


def chosen(folder: Path, step: int | None) -> Path | None:
    """Return the newest checkpoint in a folder, None if there is none yet, or that of a step.

    Raises:
        ValueError: If there is no checkpoint of that step.
    """
    saved = checkpoints(folder)
    if step is None:
        return saved[-1] if saved else None
    if place_of(folder, step) not in saved:
        raise ValueError(f"--resume-from {step}: {folder} holds {', '.join(path.name for path in saved) or 'none'}")
    return place_of(folder, step)


@contextlib.contextmanager
def curves(folder: Path, step: int) -> Iterator[SummaryWriter]:
    """Write TensorBoard curves that go on after ``step``, whatever was written beyond it."""
    with SummaryWriter(str(folder), purge_step=step + 1) as writer:
        yield writer
