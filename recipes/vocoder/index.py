"""What is in a folder of recordings: headers, read once and kept in an index until a file changes."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from tqdm import tqdm

from audioup.recording import UNKNOWN
from audioup.table import plain, readable
from vocoder.clips import DAMAGED, header_fault, opened

SUFFIXES = (".flac", ".mp3", ".ogg", ".wav")
MIN_SECONDS = 0.1
FORMAT = 1  # of the index; raise it when an older one would be misread
LEAST_FILES = 256  # that an index is kept for; the headers of fewer are read in a moment
SETTLED_NS = 2 * 10**9  # file systems count time in steps of up to 2 s: a file as young may change without a sign
SYSTEM_ERROR = 2  # of libsndfile
BAR_FILES = 1000
KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class Header(NamedTuple):
    """What is known of a file: its state when that was read, and what it says of itself or why it is of no use."""

    size: int
    mtime_ns: int
    frames: int = 0
    sample_rate: int = 0
    channels: int = 0
    fault: str = ""

    @property
    def unusable(self) -> str:
        """Why the file cannot be used: what is counted, and after a colon what is not; empty if it can."""
        if self.fault:
            return self.fault
        if not self.frames:
            return "empty"
        return f"shorter than {MIN_SECONDS} s" if self.frames < MIN_SECONDS * self.sample_rate else ""


def find_recordings(folder: Path, pattern: str, cache: Path) -> tuple[list[tuple[str, Header]], list[tuple[str, str]]]:
    """Find the recordings below a folder and read the headers of those that are new or changed since the last time.

    Hidden files are ignored, links to folders followed once. Only regular files are opened. The index is a file in
    `cache`; it saves time and changes nothing: where it is missing, damaged or of another version, all headers are
    read, and where it cannot be written, that is said in one line on stderr.

    Args:
        folder: where to look.
        pattern: which names to use, as `fnmatch` has it.
        cache: folder of all indexes.

    Returns:
        Path below the folder and header of each usable recording, sorted; and (path, reason) of all that is not
        usable, sorted.
    """
    files, skipped = _scan(folder, pattern)
    known = _load(cache, folder, pattern) if len(files) >= LEAST_FILES else {}
    headers = {name: known[name] for name, *state in files if name in known and known[name][:2] == tuple(state)}
    unread = [name for name, *_ in files if name not in headers]
    now = time.time_ns()
    # one at a time: soundfile opens under a lock, and threads were measured to gain nothing
    for name in tqdm(unread, "reading headers", unit="file", disable=len(unread) < BAR_FILES, leave=False):
        try:
            headers[name] = read_header(folder / name)
        except OSError as error:
            skipped.append((str(folder / name), f"unreadable: {plain(error.strerror or str(error))}"))
    usable = []
    for name in (name for name, *_ in files if name in headers):
        if reason := headers[name].unusable:
            skipped.append((str(folder / name), reason))
        else:
            usable.append((name, headers[name]))
    settled = {name: header for name, header in headers.items() if abs(now - header.mtime_ns) >= SETTLED_NS}
    if len(files) >= LEAST_FILES and settled != known:
        _save(cache, folder, pattern, settled)
    return usable, sorted(skipped)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of one file.

    Raises:
        OSError: the file cannot be opened or read.
    """
    with opened(path) as file:
        status = os.fstat(file)
        state = status.st_size, status.st_mtime_ns
        if not status.st_size:
            return Header(*state, fault="empty: no bytes")
        try:
            with soundfile.SoundFile(file, closefd=False) as sound:
                if fault := header_fault(sound, status.st_size):
                    reason = "unreadable" if fault[0] == DAMAGED else fault[0]
                    return Header(*state, fault=f"{reason}: {fault[1]}")
                return Header(*state, int(sound.frames), int(sound.samplerate), int(sound.channels))
        except soundfile.LibsndfileError as error:
            if error.code == SYSTEM_ERROR:
                raise OSError(None, error.error_string) from error
            return Header(*state, fault=f"unreadable: {plain(error.error_string)}")


def _scan(folder: Path, pattern: str) -> tuple[list[tuple[str, int, int]], list[tuple[str, str]]]:
    """Path below the folder, size and mtime_ns of every regular file that is named like a recording, in order."""
    files: list[tuple[str, int, int]] = []
    skipped: list[tuple[str, str]] = []
    misnamed: list[str] = []  # folders with the name of a recording
    visited: set[str] = set()
    wanted = re.compile(fnmatch.translate(os.path.normcase(pattern)))
    waiting = [""]
    while waiting:
        below = waiting.pop()
        parent = os.path.join(folder, below) if below else str(folder)
        real = os.path.realpath(parent)
        if real in visited:  # reached again through a link: a loop, or one recording in two splits
            continue
        visited.add(real)
        folders: list[str] = []
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    named_so = entry.name.lower().endswith(SUFFIXES)
                    path = below + entry.name
                    if _is_folder(entry):
                        folders.append(path + os.sep)
                        misnamed += [path] * named_so
                    elif named_so and wanted.match(os.path.normcase(entry.name)):
                        found = _regular(entry)
                        if isinstance(found, str):
                            skipped.append((entry.path, f"unreadable: {found}"))
                        else:
                            files.append((path, *found))
        except OSError as error:
            skipped.append((parent, f"folder cannot be listed: {error.strerror}"))
        waiting += sorted(folders, reverse=True)
    for path in misnamed:
        if not any(name.startswith(path + os.sep) for name, *_ in files):
            skipped.append((os.path.join(folder, path), "unreadable: a folder"))
    return sorted(files, key=lambda file: os.path.normcase(file[0]).split(os.sep)), skipped


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _regular(entry: os.DirEntry[str]) -> tuple[int, int] | str:
    """Size and mtime_ns of a regular file, or what the entry is instead."""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return "a dangling link" if entry.is_symlink() else "gone"
    except OSError as error:
        return error.strerror or str(error)
    if not stat.S_ISREG(status.st_mode):
        return KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
    return status.st_size, status.st_mtime_ns


def _place(cache: Path, folder: Path, pattern: str) -> tuple[Path, dict[str, Any]]:
    """File of a folder's index, and how that begins."""
    # libsndfile's version: another may read what this one cannot
    head = {"format": FORMAT, "read_by": soundfile.__libsndfile_version__}
    head |= {"folder": os.path.realpath(folder), "pattern": pattern}
    digest = hashlib.sha256(os.fsencode(f"{head['folder']}\0{pattern}")).hexdigest()
    return cache / f"{digest}.json", head


def _load(cache: Path, folder: Path, pattern: str) -> dict[str, Header]:
    place, head = _place(cache, folder, pattern)
    try:
        with opened(place) as file, open(file, encoding="ascii", closefd=False) as stream:
            content = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or {key: content.get(key) for key in head} != head:
        return {}
    entries = content.get("files")
    if not isinstance(entries, dict):
        return {}
    return {name: header for name, entry in entries.items() if (header := _header(entry)) is not None}


def _header(entry: Any) -> Header | None:
    """The header that an index has for a file; None if no index of ours would say so."""
    kinds = [type(value) for value in entry] if isinstance(entry, list) else []
    if kinds == [int, int, str]:
        size, mtime_ns, fault = entry
        return Header(size, mtime_ns, fault=fault) if fault else None
    if kinds != [int] * 5:
        return None
    header = Header(*entry)
    plausible = 0 <= header.frames <= UNKNOWN and 0 < header.sample_rate < 2**31 and 0 < header.channels < 2**16
    return header if plausible else None


def _save(cache: Path, folder: Path, pattern: str, headers: Mapping[str, Header]) -> None:
    place, head = _place(cache, folder, pattern)
    files = {name: [*header[:2], header.fault] if header.fault else header[:5] for name, header in headers.items()}
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # a name of its own, since several processes may write at once; renamed, so that nobody reads half
        descriptor, draft = tempfile.mkstemp(prefix=".writing-", dir=cache)
        try:
            with open(descriptor, "w", encoding="ascii") as stream:
                stream.write(json.dumps({**head, "files": files}, separators=(",", ":")))
            os.replace(draft, place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        print(f"the index of {readable(folder)} is not kept: {plain(str(error))}", file=sys.stderr)
