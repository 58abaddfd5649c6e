"""What the commands have in common: how they say no, and how they read what several take."""

LARGEST_STRIDE = 2**31


class InputError(Exception):
    """One line for the person at the terminal; the status is 2."""


def parse_strides(text: str) -> tuple[int, ...]:
    """Read strides written as ``8,8,4``."""
    try:
        strides = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"audioup: --strides must be integers separated by commas, got {text!r}") from None
    if min(strides) < 1 or max(strides) < 2 or max(strides) > LARGEST_STRIDE:
        raise InputError(f"audioup: --strides must be from 1 to {LARGEST_STRIDE} and not all 1, got {text!r}")
    return strides
