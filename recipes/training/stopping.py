"""Stop a training when it is asked to, at the end of a step, with everything saved."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities import rank_zero_only

from training.machine import largest

# Windows has no SIGHUP, which a terminal sends when it is closed.
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """Training has stopped because of a signal; what it had is in ``checkpoint``.

    A `KeyboardInterrupt`, so that programs which train several times stop as well.

    Attributes:
        status: For the shell, 128 and the signal's number.
    """

    def __init__(self, number: int, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}, which is saved in {checkpoint}")
        self.status = 128 + number


class Asked:
    """Take SIGINT (Ctrl-C), SIGTERM and SIGHUP as a wish to stop, while the context lasts.

    A second Ctrl-C interrupts at once, as ever. Python lets only the main thread take signals; elsewhere they act as
    they would without this.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric, self._number = fabric, 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Asked":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in ASKING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def anywhere(self) -> int:
        """Return the number of the signal that this or any other process got, 0 if none; all have to ask together."""
        return int(largest(self.fabric, torch.tensor(self._number)))

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = number


def ignore_signals(_: int) -> None:
    """Leave it to the main process to end a data-loading one: a terminal's Ctrl-C reaches both."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)


def status_of(program: str, folder: Path, work: Callable[[], object]) -> int:
    """Run a program that trains in ``folder``; say in one line what went wrong.

    Returns:
        The exit status: 0 done, 2 bad input or a failure that is explained, 128 + n stopped by signal n.
    """
    try:
        work()
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        if getattr(rank_zero_only, "rank", 0):  # the first process speaks, and would be ended if another one had failed
            return 0
        print(f"{program}: {str(interruption) or 'interrupted'}; --resume continues {folder}", file=sys.stderr)
        return interruption.status if isinstance(interruption, Stopped) else 128 + signal.SIGINT
    return 0
