"""What the commands say when they cannot go on."""

import os
from pathlib import Path


class InputError(Exception):
    """One line for the person at the terminal; the status is 2."""


def printable(path: Path) -> str:
    """Return the name of a file, whatever bytes are in it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
