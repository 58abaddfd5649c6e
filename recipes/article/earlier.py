"""What an earlier run left behind: read so that damage and other options are named, not met later."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from vocoder.checkpoint import checkpoints, load_checkpoint, misfit, steps_done


def read_result(
    path: Path, fields: Mapping[str, type | tuple[type, ...]], remove: Path | None = None
) -> dict[str, Any]:
    """Read a result.

    Args:
        path: Of the JSON file.
        fields: What it has to hold, and of which type.
        remove: What has to go for the result to be made again, if that is not the file.

    Raises:
        ValueError: If there is no such file, or it is damaged.
    """
    advice = "remove it" if remove is None else f"remove {remove} to train it again"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read; {advice}") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in fields.items()):
        raise ValueError(f"{path} cannot be read; {advice}")
    return found


def refuse_others(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ValueError` if a run's options, or the fingerprint of its photographs, are others now than then."""
    others = [
        "photographs: others than then" if key == "photographs" else f"{key}: {then.get(key)!r} then, {value!r} now"
        for key, value in now.items()
        if then.get(key) != value
    ]
    if others:
        raise ValueError(f"{folder} was trained with other options ({'; '.join(others)}); remove it")


def load_finished(network: nn.Module, name: str, steps: int, folder: Path, within: str = ".") -> None:
    """Give a network the weights that it had at the end of a finished run.

    Args:
        network: Gets them.
        name: Its name in the checkpoint.
        steps: After which the run ended.
        folder: Of the run.
        within: Folder of the checkpoints inside it.

    Raises:
        ValueError: If the last checkpoint is missing or damaged; nothing goes on with the one before then.
    """
    advice = f"remove {folder} to train it again"
    saved = checkpoints(folder / within)
    if not saved or steps_done(saved[-1]) != steps:
        raise ValueError(f"{folder} is finished but has no checkpoint of step {steps}; {advice}")
    try:
        loaded, _ = load_checkpoint(saved[-1], (name,))
    except ValueError as error:
        raise ValueError(f"{saved[-1]} cannot be read; {advice}") from error
    weights: dict[str, Tensor] = loaded[name]
    fault = misfit(weights, network)
    if fault:
        raise ValueError(f"{saved[-1]} does not fit ({fault}); {advice}")
    network.load_state_dict(weights)
