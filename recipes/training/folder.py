"""A run's folder: whose it is at the moment, which checkpoint to go on from, where its curves go."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from torch.utils.tensorboard import SummaryWriter
from vocoder.checkpoint import checkpoints, place_of


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
        lock.release()
        if not existed and [path.name for path in folder.iterdir()] in ([], [".lock"]):  # nothing came of it
            shutil.rmtree(folder)


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
