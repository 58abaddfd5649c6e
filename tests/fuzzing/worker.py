"""The process in which inputs are tried; it may crash, hang or be killed at any of them.

A line of JSON says what is tried next, and another how it went, so that whoever reads them knows what it died of.
"""

import ctypes
import json
import os
import re
import resource
import sys
import time
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from fuzzing.cases import CANARY, lay_out, opened, saved

SECONDS, MEMORY_MB = 5.0, 1000.0  # of computing, and resident, at most, for one input
HEADROOM = 2**31  # bytes that may be asked for beyond what the imports have; the system refuses more
MODULES = {"audio": "audio", "checkpoint": "checkpoint", "onnx": "onnx_files", "planted": "faults"}
IMPORTS = {
    "audio": ("scipy.signal", "scipy.ndimage", "vocoder.index"),
    "checkpoint": ("vocoder.runs", "vocoder.published"),
}
IMPORTS |= {"onnx": ("audioup.onnx_network", "fuzzing.checkpoint")}
DIGITS = re.compile(r"[0-9]+|'[^']*'|\"[^\"]*\"")


def main(job: dict[str, Any]) -> None:
    """Try inputs one after the other.

    Args:
        job: ``folder`` for this worker alone; and ``cases``, pairs of a target and a path, or ``target``, ``seed``,
            ``first`` and ``count`` of inputs to make.
    """
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what else is printed goes to the errors

    def say(**what: Any) -> None:
        print(json.dumps(what), file=out, flush=True)

    folder = Path(job["folder"])
    (folder / "work").mkdir(parents=True, exist_ok=True)
    os.chdir(folder / "work")
    warnings.simplefilter("ignore")
    given = job.get("cases")
    modules = {name: module_of(name) for name in ({one for one, _ in given} if given else {job["target"]})}
    inputs = None
    if not given:
        from fuzzing.inputs import Inputs

        inputs = Inputs(modules[job["target"]], job["target"], job["seed"], folder / "kept")
    cap_memory()
    say(ready=True, memory_mb=peak_mb())
    numbers = range(len(given)) if given else range(job["first"], job["first"] + job["count"])
    for number in numbers:
        target, case = (
            (given[number][0], opened(Path(given[number][1]))) if given else (job["target"], inputs.case(number))
        )
        path = lay_out(case, folder / "case")
        os.ftruncate(2, 0)  # what was said of others
        os.lseek(2, 0, os.SEEK_SET)
        forget_peak()
        say(number=number)
        result = tried(modules[target], path, None if given else Random(f"{job['seed']}/{number}/check"))
        end = result.pop("end")
        if result["failure"]:
            saved(case, folder / f"failed-{number}")  # before the next takes its place
        say(done=number, news=inputs is not None and inputs.keep(number, case, end), **result)


def module_of(target: str) -> ModuleType:
    """Import a target, and what it imports when it runs."""
    for name in IMPORTS.get(target, ()):
        import_module(name)
    return import_module(f"fuzzing.{MODULES[target]}")


def tried(module: ModuleType, path: Path, random: Random | None) -> dict[str, Any]:
    """Try one input and say how it went: ``outcome``, and what is wrong with it in ``failure`` and ``what``."""
    passed = module.recognised(path)
    start = time.process_time()  # the machine may be busy with other things
    outcome, failure, what, trail = "accepted", "", "", ()
    try:
        what = module.check(path, random)
    except module.DOCUMENTED as error:
        outcome, what, trail = "refused", str(error), traceback.extract_tb(error.__traceback__)
    except BaseException as error:
        outcome, trail = "failed", traceback.extract_tb(error.__traceback__)
        failure = "memory" if isinstance(error, MemoryError) else "exception"
        what = "".join(traceback.format_exception(error))
    seconds, memory_mb = time.process_time() - start, peak_mb()
    if Path(CANARY).exists():
        Path(CANARY).unlink()
        outcome, failure = "failed", "execution"
    elif not failure and (seconds > SECONDS or memory_mb > MEMORY_MB):
        outcome, failure = "failed", "hang" if seconds > SECONDS else "memory"
        what = f"{seconds:.1f} s, {memory_mb:.0f} MB: {what}"
    ours = [f"{Path(one.filename).name}:{one.lineno}" for one in trail][-8:]
    return {
        "passed": passed,
        "outcome": outcome,
        "failure": failure,
        "what": what[-3000:],
        "seconds": seconds,
        "peak_mb": memory_mb,
        "end": [outcome, ours, DIGITS.sub("#", what)[:100] if not failure else ""],
    }


def cap_memory() -> None:
    """Let the system refuse what goes far beyond the limit, so that no input makes the machine suffer."""
    used = int(_status("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + HEADROOM, used + HEADROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak_mb() -> float:
    """Return the most memory that was resident, in MB, since it was forgotten."""
    return int(_status("VmHWM")) * 1024 / 1e6


def forget_peak() -> None:
    """Let the peak begin anew, without what others have left to be used again."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1]
    raise OSError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
