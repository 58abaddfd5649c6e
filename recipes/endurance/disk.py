"""Fill the disk at every stage of a training, and see what is left."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vocoder.checkpoint import checkpoints, load_checkpoint

from endurance.trainings import Training, differences, run


def fill_at_every_stage(
    training: Training, folder: Path, sizes: int, networks: tuple[str, ...], report: Callable[[], object]
) -> dict[str, Any]:
    """Train on file systems of several sizes, the largest almost large enough, and then resume with room enough.

    Args:
        training: What to train.
        folder: For the runs.
        sizes: How many file systems.
        networks: Whose weights a checkpoint of it holds.
        report: Called after every trial.

    Returns:
        ``trials``, how many ended ``full`` with one line that says so, ``loaded`` checkpoints of those that had any,
        and ``faults`` in words, among them differences of the resumed trainings to one that had room.

    Raises:
        OSError: If no file system can be made here: it takes Linux and root.
    """
    whole = folder / "whole"
    done = run(training.command(whole))
    if done.returncode:
        raise ValueError(f"{whole}: {done.stderr}")
    needed = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    counts = {"trials": 0, "full": 0, "loaded": 0}
    faults: list[str] = []
    for n in range(sizes):
        kilobytes = max(64, needed * (2 * n + 1) // (2 * sizes) // 1024)
        with _file_system(folder / f"disk-{n}", kilobytes) as enlarge:
            started = folder / f"disk-{n}" / "run"
            ended = run(training.command(started))
            counts["trials"] += 1
            said = [line for line in ended.stderr.splitlines() if line.startswith(f"{training.program}: ")]
            if ended.returncode == 2 and len(said) == 1 and "Traceback" not in ended.stderr:
                counts["full"] += 1
            else:
                last = ended.stderr.splitlines()[-1:]
                faults.append(f"{kilobytes} kB: status {ended.returncode}, said {said or last}")
            for path in checkpoints(started / "checkpoints"):
                try:
                    load_checkpoint(path, networks)
                    counts["loaded"] += 1
                except ValueError as error:
                    faults.append(f"{kilobytes} kB: {error}")
            enlarge()
            again = run(training.command(started))
            if again.returncode:
                faults.append(f"{kilobytes} kB, resumed: {again.stderr.splitlines()[-1:]}")
            else:
                faults += [f"{kilobytes} kB, resumed: {place}" for place in differences(whole, started)]
        report()
    return {**counts, "faults": faults}


def check_mounting(folder: Path) -> None:
    """Raise `OSError` if no file system can be made in a folder."""
    with _file_system(folder, 64):
        pass


@contextlib.contextmanager
def _file_system(place: Path, kilobytes: int) -> Iterator[Callable[[], None]]:
    place.mkdir(parents=True)
    _do("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
    try:
        yield lambda: _do("mount", "-o", "remount,size=1g", str(place))
    finally:
        _do("umount", "--lazy", str(place))


def _do(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise OSError(f"there is no {words[0]} here: small file systems take Linux") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.partition("\n")[0]
        raise OSError(f"{' '.join(words)}: {said} (it takes root)") from error
