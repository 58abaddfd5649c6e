"""Kill trainings at random moments, resume them, and compare what they end with."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vocoder.checkpoint import checkpoints

from endurance.trainings import Training, clear, differences, environment, run

POLL_S = 0.0005
PATIENCE_S = 300.0


def kill_at_random(
    training: Training, folder: Path, trials: int, seed: int, report: Callable[[], object]
) -> dict[str, Any]:
    """Compare trainings that are killed (SIGKILL) over and over with one that is not.

    One trial in three is killed at any moment since its start, one up to a second after a step was saved, and one while
    a checkpoint is being written.

    Args:
        training: What to train, saving after every step.
        folder: For the runs.
        trials: Kills, at least.
        seed: Decides the moments.
        report: Called after every kill.

    Returns:
        ``kills``, how many of them ``while_saving``, ``runs`` that were killed and resumed to their end, and
        ``differences`` of their last checkpoints, bit for bit, to that of the run that was not killed.
    """
    draw = random.Random(seed)
    whole = folder / "whole"
    clear(folder)
    start = time.monotonic()
    _finish(training, whole)
    lasts_s = time.monotonic() - start
    kills, while_saving, runs = 0, 0, 0
    differing: list[str] = []
    while kills < trials:
        killed = folder / f"killed-{runs}"
        while kills < trials:
            how = ("any", "saved", "writing")[kills % 3]
            wait_s = draw.uniform(0, lasts_s) if how == "any" else draw.uniform(0, 1.0 if how == "saved" else 0.004)
            if not _killed(training.command(killed), killed / "checkpoints", how, wait_s):
                break  # it had finished before
            kills += 1
            while_saving += any((killed / "checkpoints").glob(".writing-*"))
            report()
        runs += 1
        _finish(training, killed)
        differing += [f"{killed.name}: {place}" for place in differences(whole, killed)]
    return {"kills": kills, "while_saving": while_saving, "runs": runs, "differences": differing}


def _finish(training: Training, folder: Path) -> None:
    done = run(training.command(folder))
    if done.returncode:
        raise ValueError(f"{folder}: {done.stderr.splitlines()[-1:]}")


def _killed(command: list[str], saving: Path, how: str, wait_s: float) -> bool:
    """Start a training and kill it; return whether it had not finished."""
    before = _newest(saving)
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            if how == "any" or (how == "saved" and _newest(saving) > before):
                break
            if how == "writing" and any(saving.glob(".writing-*")):
                break
            time.sleep(POLL_S)
        end = time.monotonic() + wait_s
        while process.poll() is None and time.monotonic() < end:
            time.sleep(POLL_S)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def _newest(saving: Path) -> str:
    saved = checkpoints(saving)
    return saved[-1].name if saved else ""
