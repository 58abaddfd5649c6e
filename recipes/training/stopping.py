"""Stop a training when it is asked to, at the end of a step, with everything saved."""

import contextlib
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.utilities import rank_zero_only

from training.machine import largest

# Windows has no SIGHUP, which a terminal sends when it is closed.
# SIGINT comes first.
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

# What a machine may run into, and what is no fault of the program.
EXPLAINED = (torch.OutOfMemoryError, torch.distributed.DistError) if torch.distributed.is_available() else ()
EXPLAINED_WORDS = ("can't allocate memory", "gloo", "exited unexpectedly")


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

    A second Ctrl-C interrupts at once, as ever. What is ignored stays ignored. Python lets only the main thread take
    signals; elsewhere they act as they would without this.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric, self._number = fabric, 0
        self._handling = _taken(self._take, ASKING)

    def __enter__(self) -> "Asked":
        self._handling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.__exit__(None, None, None)

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


class Ended(KeyboardInterrupt):
    """A signal has ended a program while it was not training; ``status`` is 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.status = 128 + number


def status_of(program: str, folder: Path, work: Callable[[], object]) -> int:
    """Run a program that trains in ``folder``; say in one line what went wrong.

    SIGTERM and SIGHUP raise `Ended` where `Asked` does not take them, so that what was begun is put in order.

    Returns:
        The exit status: 0 done, 2 bad input or a failure that is explained, 128 + n stopped by signal n.
    """
    resume = f"--resume continues {folder}"
    with _taken(_end, ASKING[1:]):
        try:
            work()
        except KeyboardInterrupt as interruption:
            if getattr(rank_zero_only, "rank", 0):  # the first process speaks, and would be ended if others failed
                return 0
            print(f"{program}: {str(interruption) or 'interrupted'}; {resume}", file=sys.stderr)
            return getattr(interruption, "status", 128 + signal.SIGINT)
        except (ValueError, OSError, ImportError, FloatingPointError) as error:
            print(f"{program}: {_in_words(error)}", file=sys.stderr)
            return 2
        except RuntimeError as error:
            if not isinstance(error, EXPLAINED) and not any(words in str(error) for words in EXPLAINED_WORDS):
                raise
            print(f"{program}: {_in_words(error)}; {resume}", file=sys.stderr)
            return 2
    return 0


def _in_words(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # Of what a data-loading process raised the last line says what, after its traceback.
    return textwrap.shorten(lines[-1 if "DataLoader worker" in lines[0] else 0], 1000, placeholder=" ...")


def _end(number: int, _: FrameType | None) -> None:
    raise Ended(number)


@contextlib.contextmanager
def _taken(handler: Callable[[int, FrameType | None], None], numbers: Sequence[int]) -> Iterator[None]:
    """Handle signals while the context lasts, but for those that are ignored, as nohup has it."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
