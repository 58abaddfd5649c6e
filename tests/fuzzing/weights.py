"""Files of weights: what torch and safetensors write, taken apart, damaged and put together again."""

import io
import json
import pickletools
import warnings
import zipfile
from functools import lru_cache
from random import Random
from typing import Any

import torch

from audioup.state_dict import METADATA
from fuzzing import pickles, values
from fuzzing.mutate import scrambled


def of_pickle(pickled: bytes, zipped: bool = True) -> bytes:
    """Make a checkpoint whose pickle is another."""
    data = torch_saved({"ups.0.weight": torch.zeros(2, 1, 4)}, zipped=zipped)
    if not zipped:
        parts = legacy_pickles(data)
        return b"".join([*parts[:3], pickled, *parts[4:]])
    return pickles.archive(
        [(name, pickled if name.endswith("data.pkl") else one) for name, one in pickles.members(data)]
    )


def torch_saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def legacy_pickles(data: bytes) -> list[bytes]:
    """Split the old form: three small pickles, that of the content, the list of storages, and their values."""
    parts, file = [], io.BytesIO(data)
    for _ in range(5):
        start = file.tell()
        for _ in pickletools.genops(file):
            pass
        parts.append(data[start : file.tell()])
    return [*parts, data[file.tell() :]]


def torch_damaged(data: bytes, random: Random) -> bytes:
    kind = random.random()
    if kind < 0.2:
        return scrambled(data, random, kept=random.choice((0, 4)), near=600)
    if kind < 0.25:
        return of_pickle(random.choice(list(bombs().values())), random.random() < 0.7)
    if not data.startswith(b"PK"):
        try:
            parts = legacy_pickles(data)
        except (ValueError, IndexError, KeyError, MemoryError, OverflowError):
            return scrambled(data, random, kept=40)
        n = random.choice((3, 3, 3, 4, 5, 2))
        parts[n] = scrambled(parts[n], random) if n == 5 else pickles.damaged(parts[n], random)
        return b"".join(parts)
    try:
        files = pickles.members(data)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, RuntimeError):
        return scrambled(data, random, kept=4)
    if kind < 0.35:  # the directory at the end
        at = max(0, data.rfind(b"PK\x01\x02", 0, max(1, len(data) - 300)))
        return data[:at] + scrambled(data[at:], random, kept=4)
    n = random.choices(range(len(files)), [8 if name.endswith("data.pkl") else 1 for name, _ in files])[0]
    name, content = files[n]
    if name.endswith("data.pkl"):
        files[n] = name, pickles.damaged(content, random)
    elif random.random() < 0.5:
        files[n] = name, scrambled(content, random) if content else b"x" * random.choice((1, 1000))
    else:
        names = (f"../{name}", f"/{name}", name.rsplit("/")[-1], f"{name}\0", "archive/.format_version", files[0][0])
        files[n] = random.choice(names), content
    if random.random() < 0.1:
        files.append(random.choice(files))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        return pickles.archive(files, zipfile.ZIP_DEFLATED if random.random() < 0.03 else zipfile.ZIP_STORED)


def safetensors_damaged(data: bytes, random: Random) -> bytes:
    header, rest = safetensors_header(data)
    if not isinstance(header, dict) or random.random() < 0.15:
        return scrambled(data, random, kept=random.choice((0, 8)), near=300)
    said = header.get("__metadata__")
    if isinstance(said, dict) and METADATA in said and random.random() < 0.6:
        inner = values.damaged(parsed(said[METADATA].encode()) or {}, random)
        said[METADATA] = values.text(inner, random).decode("utf-8", "replace")
    elif random.random() < 0.9:
        header = values.damaged(header, random)
    else:
        rest = scrambled(rest, random)
    if isinstance(header, dict) and random.random() < 0.4:
        header = _fitted(header, len(rest))
    written = json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + rest


def _fitted(header: dict[str, Any], left: int) -> dict[str, Any]:
    """Let the shapes fit the places, so that more than the header is read."""
    for one in header.values():
        place = one.get("data_offsets") if isinstance(one, dict) else None
        if isinstance(place, list) and len(place) == 2 and all(type(n) is int for n in place):
            one["shape"] = [max(0, min(left, place[1] - place[0])) // 4, 1, 1]
    return header


def safetensors_header(data: bytes) -> tuple[Any, bytes]:
    length = int.from_bytes(data[:8], "little")
    return (None, data) if length > len(data) - 8 else (parsed(data[8 : 8 + length]), data[8 + length :])


def parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {}


@lru_cache(maxsize=1)
def bombs() -> dict[str, bytes]:
    """Make `pickles.bombs` once."""
    return pickles.bombs()
