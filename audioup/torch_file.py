"""Files that ``torch.save`` made, checked before torch opens them: nothing in them runs, and little makes little."""

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from audioup.pickled import LARGEST_PICKLE, Refused, scan

END = struct.Struct("<4s4H2LH")  # of an archive
END_64, LOCATOR_64 = struct.Struct("<4sQ2H2L4Q"), 20
LEGACY = 5  # pickles: torch's number, its version, the machine's kinds, the content, the list of storages
MOST_MEMBERS = 2**16
OFTEN, LITTLE = 4, 2**24  # times that all bytes of a file are named; bytes that may be named as often as one likes


def load_torch(path: Path, mmap: bool = False) -> Any:
    """Load weights and plain values from what ``torch.save`` made, in either of its forms.

    Args:
        path: The file.
        mmap: Whether to leave the values of an archive in the file until they are looked at.

    Raises:
        Refused: If it holds code, or what no checkpoint holds.
        Exception: Whatever torch raises, if it is damaged.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if zipped:
            _check_archive(file)
        else:
            _check_legacy(file)
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=(mmap and zipped) or None)
    named, size = _named(content), path.stat().st_size
    if named > OFTEN * size + LITTLE:
        raise Refused(f"its tensors share their values: {named} bytes in a file of {size}")
    return content


def _named(content: Any) -> int:
    """Count the bytes of tensors in mappings and lists, as often as they are named, but each mapping and list once."""
    count, seen, waiting = 0, set(), [content]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            count += one.numel() * one.element_size()
        elif isinstance(one, (dict, list, tuple)) and id(one) not in seen:
            seen.add(id(one))
            waiting += one.values() if isinstance(one, dict) else one
    return count


def _check_archive(file: IO[bytes]) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = {one.filename.lower(): one.file_size for one in entries}  # torch's reader does not tell cases apart
        if any(one.compress_type != zipfile.ZIP_STORED or one.compress_size != one.file_size for one in entries):
            raise ValueError("compressed, which torch.save never does")  # mapped, it would be noise
        if len(names) < len(entries) or len(names) > MOST_MEMBERS:
            raise ValueError("an archive with names that are there twice, or too many")
        # Two readers must find the same: the directory is where the last bytes say, and nothing follows.
        if archive.start_dir != _directory(file):
            raise ValueError("an archive with something before or behind it")
        pickles = [one for one in entries if one.filename.lower().rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("an archive that torch.save did not make")
        if pickles[0].file_size > LARGEST_PICKLE:
            raise ValueError(f"its pickle has more than {LARGEST_PICKLE >> 20} MB")
        storages = scan(io.BytesIO(archive.read(pickles[0])))
    folder = pickles[0].filename.lower().removesuffix("data.pkl")
    for key, size in storages.items():
        # What is missing torch says itself; what is shorter it would read beyond the end of.
        if size > names.get(f"{folder}data/{key}".lower(), size):
            raise ValueError(f"storage {key!r} is cut off")


def _directory(file: IO[bytes]) -> int:
    """Return where the end of an archive says that its directory is."""
    size = file.seek(0, os.SEEK_END)
    file.seek(size - END.size)
    mark, *_, at, comment = END.unpack(file.read(END.size))
    if mark != b"PK\x05\x06" or comment:
        return -1
    if at == 2**32 - 1:
        file.seek(size - END.size - LOCATOR_64 - END_64.size)
        mark, *_, at = END_64.unpack(file.read(END_64.size))
        return int(at) if mark == b"PK\x06\x06" else -1
    return int(at)


def _check_legacy(file: IO[bytes]) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = io.BytesIO(file.read(LARGEST_PICKLE))
    stored = 0
    for _ in range(LEGACY):
        stored += sum(scan(start).values())
    if stored > size:
        raise ValueError("its values are cut off")


__all__ = ["Refused", "load_torch"]
