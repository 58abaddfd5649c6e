"""Model files as they come from anywhere: read for what upsamples in them, never run."""

import json
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from audioup.conversion import Skipped
from audioup.state_dict import METADATA, Known, read_state_dict
from audioup.torch_file import Refused, load_torch
from audioup.upsampler import Upsampler

LARGEST_CONFIG = 2**20  # bytes
ALONE = "save the state dict alone (torch.save(model.state_dict(), ...))"
LONGEST = 200  # characters of others' messages
DEEPEST = 4  # of mappings in a checkpoint
# Names that published configurations have for the strides of the decoder: HiFi-GAN and BigVGAN, EnCodec and DAC in
# transformers, DAC.
STRIDES = ("upsample_rates", "upsampling_ratios", "decoder_rates")
RATES = ("sampling_rate", "sample_rate")


@dataclass(frozen=True)
class ModelFile:
    """What a file holds; see `audioup.inspect.Inspection`."""

    layers: Sequence[Upsampler]
    skipped: Sequence[Skipped]
    sample_rate: int | None
    notes: Sequence[str]


def read_model(path: Path, strides: Sequence[int] | None = None) -> ModelFile:
    """Read the upsampling layers of a file; see `audioup.inspect.inspect_model`."""
    if not path.is_file():
        raise FileNotFoundError("no such file" if not path.exists() else "not a file")
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise ValueError("the file is empty")
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        if strides is not None:
            raise ValueError("an ONNX graph says its strides: give none")
        return _onnx(path, head)
    weights, metadata = _safetensors(path) if suffix == ".safetensors" else _torch(path, head)
    known, rate, notes = _known(path, metadata, strides)
    layers, more = read_state_dict(weights, known)
    return ModelFile(layers, (), rate, (*notes, *more))


def _onnx(path: Path, head: bytes) -> ModelFile:
    try:
        from audioup.onnx_model import read_onnx
    except ImportError as error:
        raise ImportError(f"reading ONNX needs pip install 'audioup[inspect]' ({error})") from None
    # Before all of it is read: every field of a protobuf begins with its number, which is not 0.
    if not head[0] >> 3 or head[0] & 7 not in (0, 2):
        raise ValueError("no ONNX model")
    return ModelFile(*read_onnx(path))


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(f"reading safetensors needs pip install 'audioup[inspect]' ({error})") from None
    try:
        with safe_open(path, framework="pt") as file:
            keys = sorted(file.keys(), key=_natural)
            return {key: file.get_tensor(key) for key in keys}, dict(file.metadata() or {})
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ValueError(f"no safetensors file: {_short(error)}") from None


def _torch(path: Path, head: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not head.startswith((b"PK\x03\x04", b"\x80")):
        raise ValueError("no file that torch.save made")
    try:
        content = load_torch(path, mmap=True)
    except Refused as error:
        raise ValueError(f"refused: {error}; {ALONE}") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|class|function) `?([\w.]+)", str(error))
        what = f"it holds {found[1]}, which is code" if found else "it holds more than weights"
        raise ValueError(f"refused: {what}; {ALONE}") from None
    except Exception as error:  # whatever torch may raise on a damaged archive
        raise ValueError(f"cannot be read: {_short(error)}") from None
    return dict(_tensors(content, set())), {}


def _tensors(content: Any, seen: set[int], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    # A state dict, or mappings of several, as training leaves them; what an optimizer has counts by number. Each
    # mapping once: a small file may name one over and over.
    if isinstance(content, Mapping) and depth < DEEPEST and id(content) not in seen:
        seen.add(id(content))
        for key, value in content.items():
            if isinstance(value, Tensor) and isinstance(key, str):
                yield prefix + key, value
            elif isinstance(key, str) and "optim" not in key:
                yield from _tensors(value, seen, f"{prefix}{key}.", depth + 1)


def _known(
    path: Path, metadata: Mapping[str, str], strides: Sequence[int] | None
) -> tuple[Known, int | None, list[str]]:
    """Return what is known of the layers beside their weights: from the file, the user, or ``config.json``."""
    config, notes = {}, []
    beside = path.with_name("config.json")
    if beside.is_file():
        try:
            if beside.stat().st_size > LARGEST_CONFIG:
                raise ValueError("too large")
            content = json.loads(beside.read_text(encoding="utf-8"))
            config = content if isinstance(content, dict) else {}
        except (OSError, ValueError, RecursionError) as error:
            notes.append(f"config.json beside it cannot be read: {_short(error)}")
    try:
        layers = json.loads(metadata.get(METADATA, "{}"))
    except (ValueError, RecursionError):
        raise ValueError(f"its metadata {METADATA!r} is no JSON") from None
    listed = next((config[key] for key in STRIDES if _is_strides(config.get(key))), None)
    if strides is None and listed is not None:
        notes.append(f"strides {', '.join(map(str, listed))} are those of config.json beside it")
    said = metadata.get("sample_rate", "")
    rates = [int(said) if said.isdecimal() and len(said) < 10 else None, *(config.get(key) for key in RATES)]
    rate = next((one for one in rates if type(one) is int and 0 < one < 2**31), None)
    known = Known(layers if isinstance(layers, dict) else {}, strides, listed)
    return known, rate, notes


def _is_strides(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 < n < 2**16 for n in value) and value != []


def _natural(key: str) -> list[tuple[int, int | str]]:
    # ups.2 before ups.10
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", key)]


def _short(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= LONGEST else words[:LONGEST] + " ..."
