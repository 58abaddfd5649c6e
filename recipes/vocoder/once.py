"""Train a vocoder once: begin it, go on with it, or find it done."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import train_vocoder


def train_once(folder: Path, given: Mapping[str, Any], free: Mapping[str, Any]) -> dict[str, Any]:
    """Train with `train_vocoder.py` in ``folder`` until there is a report of as many steps as are wanted.

    Args:
        folder: Of the run; what is in it is gone on with.
        given: Options that decide the weights, ``steps`` among them.
        free: Other options.

    Returns:
        The run's report.

    Raises:
        ValueError: If the training fails, or the run was trained with other options.
        KeyboardInterrupt: If it is interrupted.
    """
    differing = _differing(folder, given)
    if differing is None or (set(differing) == {"steps"} and _report(folder)["steps"] < given["steps"]):
        options = {"name": folder.name, "out": folder.parent, **free, **given}
        words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        status = train_vocoder.main([*words, *["--resume"] * (folder / "config.json").exists()])
        if status > 128:  # by a signal
            raise KeyboardInterrupt
        differing = None if status else _differing(folder, given)
        if differing is None:
            raise ValueError(f"{folder} was not trained")
    if differing:
        raise ValueError(f"{folder} was trained with other options ({'; '.join(differing.values())})")
    return _report(folder)


def _differing(folder: Path, given: Mapping[str, Any]) -> dict[str, str] | None:
    """Say which options a finished run was trained with instead of those given; None if there is no report yet."""
    if not (folder / "report.json").exists():
        return None
    report = _report(folder)
    return {
        key: f"{key}: {report.get(key)!r}, not {value!r}" for key, value in given.items() if report.get(key) != value
    }


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report
