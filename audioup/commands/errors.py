"""What the commands have in common: how they say no, and how they read what several take."""

import os
from pathlib import Path


class InputError(Exception):
    """One line for the person at the terminal; the status is 2."""


def printable(path: Path) -> str:
    """Return the name of a file, whatever bytes are in it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def parse_strides(text: str) -> tuple[int, ...]:
    """Read strides written as ``8,8,4``."""
    try:
        strides = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"audioup: --strides must be integers separated by commas, got {text!r}") from None
    if min(strides) < 1 or max(strides) < 2:
        raise InputError(f"audioup: --strides must be positive and not all 1, got {text!r}")
    return strides
