"""Watch the memory of a training while it runs."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vocoder.checkpoint import checkpoints, steps_done

from endurance.trainings import Training, environment


def watch(training: Training, folder: Path, every: int, report: Callable[[int], None]) -> list[dict[str, Any]]:
    """Train, and read the resident memory of the process whenever it has saved a checkpoint; Linux only.

    Args:
        training: What to train.
        folder: For the run.
        every: Steps between its checkpoints.
        report: Called with the steps done.

    Returns:
        ``step`` and ``megabytes`` at each checkpoint but the last, after which the report is written.
    """
    rows: list[dict[str, Any]] = []
    command = training.command(folder, "--save-every", str(every))
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            saved = checkpoints(folder / "checkpoints")
            if saved and (not rows or rows[-1]["step"] < steps_done(saved[-1])):
                rows.append({"step": steps_done(saved[-1]), "megabytes": round(_resident_mb(process.pid), 1)})
                report(rows[-1]["step"])
            time.sleep(0.05)
    if process.returncode:
        raise ValueError(f"{folder}: status {process.returncode}")
    return rows


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0) / 1024
