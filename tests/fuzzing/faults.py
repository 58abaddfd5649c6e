"""Faults planted on purpose, so that the harness is seen to notice them."""

import ctypes
import os
from pathlib import Path
from random import Random

from fuzzing.cases import CANARY, Case

DOCUMENTED = (OSError, ValueError)
FAULTS = ("hang", "exception", "crash", "memory", "exit", "execution", "gradual memory")
MB = 2**20
KINDS = {"exit": "crash", "gradual memory": "memory"}  # how those are called that are not called as they are


def seeds() -> list[Case]:
    """Make a case for every fault, and one without."""
    return [Case({"main.txt": fault.encode()}) for fault in ("none", *FAULTS)]


def mutated(case: Case, random: Random, other: Case) -> Case:
    """Leave a case as it is."""
    return case


def recognised(path: Path) -> bool:
    """Say that all are."""
    return path.is_file()


def check(path: Path, random: Random | None) -> str:
    """Do what the case says."""
    fault = path.read_text()
    if fault == "hang":
        spins = True
        while spins:
            pass
    elif fault == "exception":
        raise KeyError(fault)
    elif fault == "crash":
        ctypes.string_at(0)
    elif fault == "memory":
        bytearray(2**33)
    elif fault == "gradual memory":
        held = [bytearray(MB) for _ in range(1100)]
        return f"{len(held)} MB"
    elif fault == "exit":
        os._exit(0)
    elif fault == "execution":
        os.system(f"touch {CANARY}")
    else:
        raise ValueError("as documented")
    return "nothing noticed"
