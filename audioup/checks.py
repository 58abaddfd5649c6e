"""Checks of arguments: each raises `ValueError` that names the argument, its value and the rule."""

from collections.abc import Sequence


def check_positive(name: str, value: int) -> None:
    """Raise `ValueError` unless ``value`` is an integer of at least 1 (a bool is not an integer here)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1, got {value!r}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """Return ``value`` for both axes of an image; `ValueError` unless it is one number or two."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{name} must be one integer or a pair, got {value!r}")
    return values


def per_axis(stride: int | Sequence[int]) -> tuple[int, ...]:
    """Return one stride for every upsampled axis, checked; a single number stands for one axis."""
    strides = tuple(stride) if isinstance(stride, Sequence) else (stride,)
    if not strides:
        raise ValueError("stride must be an integer >= 1 or one for every axis, got none")
    for step in strides:
        check_positive("stride", step)
    return strides
