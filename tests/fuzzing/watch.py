"""Whoever watches the workers: what they die of is put down to the input that they were trying."""

import contextlib
import json
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzzing.cases import opened, saved
from fuzzing.worker import SECONDS

PATIENCE = 90.0  # seconds to start in, imports and all, or to be stuck in without computing
AT_ONCE = 5000  # inputs for one process
IN_MEMORY = Path("/dev/shm")  # where inputs are laid out, if there is such a place
HERE = Path(__file__).parents[1]


@dataclass
class Found:
    """An input that something went wrong with.

    Attributes:
        name: Of its folder.
        kind: ``"crash"``, ``"exception"``, ``"hang"``, ``"memory"`` or ``"execution"``.
        what: The traceback, or how the process ended.
        again: Whether it happened once more in a process of its own; None before that is tried.
    """

    name: str
    kind: str
    what: str
    again: bool | None = None


@dataclass
class Tally:
    """What became of the inputs of one target.

    Attributes:
        target: Its name.
        inputs: Tried.
        passed: Whose container was recognised.
        accepted: Of which something came out.
        refused: With an error that is documented.
        accepted_numbers: Which they were, where cases were given.
        news: Inputs that came to an end that none before had come to.
        found: What went wrong.
        slowest_s: The longest that one took.
        baseline_mb: Memory of a process before its first input.
        peak_mb: The most memory resident.
        seconds: Of all.
    """

    target: str
    inputs: int = 0
    passed: int = 0
    accepted: int = 0
    refused: int = 0
    news: int = 0
    accepted_numbers: list[int] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    slowest_s: float = 0.0
    baseline_mb: float = 0.0
    peak_mb: float = 0.0
    seconds: float = 0.0


class Worker:
    """A worker process; `lines` yields what it says, and None where it says nothing for too long."""

    def __init__(self, job: dict[str, Any]) -> None:
        root = HERE.parent
        paths = [str(root), str(root / "recipes"), str(HERE), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.worker", json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                self._lines.put(line)
        self._lines.put("")

    def says(self, computing: float = math.inf) -> dict[str, Any] | None:
        """Return what it says next, empty at its end; None if it computes, or waits, too long before it does."""
        began, since = time.perf_counter(), self._computed()
        while time.perf_counter() - began < PATIENCE and self._computed() - since < computing:
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=0.5)
                return json.loads(line) if line.endswith("\n") else {}
        return None

    def _computed(self) -> float:
        """Return how many seconds it has computed, of a machine that may be busy with other things too."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ended(self, hung: bool) -> str:
        """Wait for its end, or make one if it hangs, and say how it ended."""
        if not hung:
            with contextlib.suppress(subprocess.TimeoutExpired):  # it has closed its output
                self.process.wait(PATIENCE)
        else:  # at this signal Python says where it is
            self.process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # and what it has started
        status = self.process.wait()
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 3000))
        said = self.errors.read().decode("utf-8", "replace")
        self.errors.close()
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        return f"ended with {name}\n{said}"


def made(target: str, inputs: int, seed: int, out: Path, progress: Callable[[], Any] = lambda: None) -> Tally:
    """Try inputs that are made, on one process at a time, and keep what goes wrong under ``out/found``."""
    tally, start, number = Tally(target), time.perf_counter(), 0
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    while number < inputs:
        job = {"target": target, "seed": seed, "first": number, "count": min(AT_ONCE, inputs - number)}
        for one in _run({**job, "folder": str(folder)}, tally):
            number += 1
            progress()
            if one is not None:
                name = f"{target}-{number - 1:09d}-{one.kind}"
                tally.found.append(Found(name, one.kind, one.what))
                kept = folder / f"failed-{number - 1}"  # those that end the worker lie where it left them
                saved(opened(kept if kept.is_dir() else folder / "case"), out / "found" / name)
    cases = [(target, out / "found" / found.name) for found in tally.found]
    again = {one.name for one in replayed(cases, folder).found}
    for found, (_, case) in zip(tally.found, cases, strict=True):
        found.again = str(case) in again
    shutil.rmtree(folder)
    tally.seconds = time.perf_counter() - start
    return tally


def replayed(cases: Sequence[tuple[str, Path]], folder: Path) -> Tally:
    """Try given cases; what goes wrong is named as the case is."""
    tally, number = Tally("given"), 0
    while number < len(cases):
        job = {"cases": [(target, str(path.absolute())) for target, path in cases[number:]], "folder": str(folder)}
        before = tally.accepted
        for one in _run(job, tally):
            if tally.accepted > before:
                before, _ = tally.accepted, tally.accepted_numbers.append(number)
            if one is not None:
                tally.found.append(Found(str(cases[number][1]), one.kind, one.what))
            number += 1
    return tally


def _run(job: dict[str, Any], tally: Tally) -> Iterator[Found | None]:
    """Start a worker; yield for every input that it comes to what is wrong with it, or None, until it ends."""
    worker, trying = Worker(job), False
    said = worker.says()
    if not said or "ready" not in said:
        raise RuntimeError(f"the worker does not start: {worker.ended(said is None)}")
    tally.baseline_mb = max(tally.baseline_mb, said["memory_mb"])
    while True:
        said = worker.says(SECONDS + 0.5 if trying else math.inf)
        if not said:
            hung = said is None
            how = worker.ended(hung)
            if trying:
                tally.inputs += 1
                tally.slowest_s = max(tally.slowest_s, SECONDS * hung)
                yield Found("", "hang" if hung else "crash", how)
            elif hung or worker.process.returncode:
                raise RuntimeError(f"the worker fails between inputs: {how}")
            return
        trying = "number" in said
        if "done" in said:
            yield _counted(said, tally)


def _counted(said: dict[str, Any], tally: Tally) -> Found | None:
    tally.inputs += 1
    tally.passed += said["passed"]
    tally.accepted += said["outcome"] == "accepted"
    tally.refused += said["outcome"] == "refused"
    tally.news += said["news"]
    tally.slowest_s = max(tally.slowest_s, said["seconds"])
    tally.peak_mb = max(tally.peak_mb, said["peak_mb"])
    return Found("", said["failure"], said["what"]) if said["failure"] else None
