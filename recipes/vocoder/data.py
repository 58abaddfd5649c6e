"""Recordings in, mono clips out: corpora from folders or downloads, split by a stable hash."""

from __future__ import annotations

import bisect
import hashlib
import http.client
import json
import os
import re
import tarfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torchaudio

from audioup.table import plain, readable
from vocoder.clips import NO_RATIO, not_resampled
from vocoder.clips import Clip as Clip  # what there is to know of a clip is imported from here
from vocoder.clips import UnreadableClip as UnreadableClip
from vocoder.clips import load_clip as load_clip
from vocoder.index import SUFFIXES, Header, find_recordings

SPLITS = ("train", "valid", "test")
HELD_OUT = 0.05  # share of the clips that goes to each of valid and test
LONGEST_NAME = 200  # bytes of a clip's name; most file systems take 255, endings included
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
CACHE = Path("~/.cache/audioup")

# torchaudio's class, the folder its archive unpacks to, and which files there to use: VCTK holds every sentence twice,
# once for each microphone, and the two must not end up in different splits
DOWNLOADS = {
    "ljspeech": ("LJSPEECH", "LJSpeech-1.1/wavs", "*"),
    "vctk": ("VCTK_092", "VCTK-Corpus-0.92/wav48_silence_trimmed", "*_mic2.flac"),
    "libritts": ("LIBRITTS", "LibriTTS/train-clean-100", "*"),
}


@dataclass(frozen=True)
class Corpus:
    """Recordings in three splits, and the files left out.

    Attributes:
        sample_rate: the rate to train at, in Hz; clips at other rates are resampled when they are loaded.
        train: clips to train on.
        valid: clips to watch during training.
        test: clips to report on.
        skipped: (path, reason) of every file or folder that could not be used.
        source: what was asked for: a folder, or the name of a known corpus.
    """

    sample_rate: int
    train: tuple[Clip, ...]
    valid: tuple[Clip, ...]
    test: tuple[Clip, ...]
    skipped: tuple[tuple[str, str], ...]
    source: str


def open_corpus(data: str, sample_rate: int | None = None, cache: Path = CACHE) -> Corpus:
    """Find recordings, read their headers, and split them into train, valid and test; nothing is decoded yet.

    A folder with `train/` (and `valid/`, `test/`) is taken as split; a split it lacks comes out of train. Any other
    folder is searched recursively and split about 90/5/5 by a hash of each file's path within it, so that adding a
    file leaves the others where they were. Hidden files are ignored. What is unreadable, no regular file, empty,
    shorter than 0.1 s, cut off, too long to decode (2 GB) or at a rate that cannot be resampled to `sample_rate` is
    left out and listed in `skipped`. The headers of large folders are kept in an index (`vocoder.index`).

    Args:
        data: `espeak` (synthesised here), `ljspeech`, `vctk` or `libritts` (downloaded), or else a folder.
        sample_rate: in Hz; by default the commonest among the files, the higher one if two are equally common.
        cache: folder that synthesised and downloaded recordings are kept in, and what is known of large folders.

    Raises:
        FileNotFoundError: the folder is missing, or the download failed.
        NotADirectoryError: `data` is an archive.
        OSError: nothing can be synthesised, or written to the cache.
        ValueError: nothing usable in the folder, fewer clips than splits, or a sample rate below 1.
    """
    if sample_rate is not None and sample_rate < 1:
        raise ValueError(f"sample_rate must be at least 1 Hz, got {sample_rate}")
    pattern = "*"
    if data == "espeak":
        from vocoder.espeak import speak_corpus  # the synthesiser is needed by this corpus only

        try:
            root = speak_corpus(cache.expanduser() / "espeak")
        except RuntimeError as error:
            raise OSError(f"no speech could be synthesised: {error}") from error
    elif data in DOWNLOADS:
        root, pattern = _download(data, cache.expanduser())
    else:
        root = Path(data).expanduser()
    _check_folder(root)

    # without train/ everything starts out there
    folders = {split: root / split for split in SPLITS} if (root / "train").is_dir() else {"train": root}
    splits: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    skipped: list[tuple[str, str]] = []
    names: Counter[str] = Counter()
    for split, folder in folders.items():
        if folder.is_dir():
            found, unusable = find_recordings(folder, pattern, cache.expanduser() / "index")
            splits[split] = _clips(folder, found, names)
            skipped += unusable
    rates = Counter(clip.file_sample_rate for split in SPLITS for clip in splits[split])
    if sample_rate is None and rates:
        sample_rate = max(rates, key=lambda rate: (rates[rate], rate))
    if sample_rate is not None:
        splits = {split: _resampled(clips, sample_rate, skipped) for split, clips in splits.items()}
    if sample_rate is None or not any(splits.values()):
        raise ValueError(
            f"data {str(root)!r} holds no usable recording ({', '.join(SUFFIXES)}); {len(skipped)} skipped"
            + "".join(f"; {readable(path)}: {plain(reason)}" for path, reason in skipped[:3])
        )
    _hold_out(splits, root)
    train, valid, test = (tuple(splits[split]) for split in SPLITS)
    return Corpus(sample_rate, train, valid, test, tuple(skipped), data)


def listing_digest(clips: Sequence[Clip]) -> str:
    """Return a SHA-256 that tells lists of recordings apart, by names and lengths."""
    return hashlib.sha256(json.dumps([(clip.name, clip.frames) for clip in clips]).encode()).hexdigest()


def _download(data: str, cache: Path) -> tuple[Path, str]:
    """Fetch a known corpus unless the cache has it; returns its folder and the pattern of the files to use."""
    dataset, folder, pattern = DOWNLOADS[data]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # constructed for the download alone: its items are decoded by torchcodec, ours by soundfile
        getattr(torchaudio.datasets, dataset)(str(cache), download=True)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError, zipfile.BadZipFile) as error:
        raise FileNotFoundError(
            f"data {data!r} is not in {cache} and could not be downloaded ({error}); "
            f"unpack it yourself so that {cache / folder} exists, or give a folder of recordings"
        ) from error
    return cache / folder, pattern


def _clips(root: Path, found: Iterable[tuple[str, Header]], names: Counter[str]) -> list[Clip]:
    """Clips for the recordings found below a folder; the names taken are added to the last argument."""
    clips = []
    for below, header in found:
        stem = safe_name(os.path.splitext(os.path.basename(below))[0])
        name, key = stem, _folded(stem)
        while (taken := _folded(name)) in names:
            names[key] += 1
            name = f"{stem}-{names[key]}"
        names[taken] = 1
        clips.append(Clip(root / below, header.frames, header.sample_rate, name, header.size, header.mtime_ns))
    return clips


def safe_name(stem: str) -> str:
    """Return the stem of a file's name as one that any file system and page takes; ordinary ones stay as they are."""
    name = re.sub(r'[<>:"/\\|?*]', "_", stem)
    if not name.isprintable():
        name = "".join(c if c.isprintable() else "_" for c in name)
    name = re.sub(r"^[-. ]+", lambda match: "_" * len(match[0]), name)  # hidden, an option, or stripped
    if re.match(r"(?i:con|prn|aux|nul|(com|lpt)[0-9¹²³])\s*(\.|$)", name):
        name = f"_{name}"  # a device of Windows, whatever the ending
    if len(name.encode()) > LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]
        name = f"{name.encode()[: LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"
    return name


def _folded(name: str) -> str:
    """What two names share that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _check_folder(root: Path) -> None:
    """Raise an error that says what `data` names if that is no folder."""
    if root.is_dir():
        return
    if root.exists() and root.suffix.lower() in ARCHIVES:
        raise NotADirectoryError(f"data {str(root)!r}: archives are not unpacked; give the folder that it unpacks to")
    raise FileNotFoundError(
        f"data must be a folder or one of espeak, {', '.join(DOWNLOADS)}; got {str(root)!r}"
        + (", which is a file" if root.exists() else "")
    )


def _resampled(clips: Iterable[Clip], sample_rate: int, skipped: list[tuple[str, str]]) -> list[Clip]:
    """The clips that can be brought to the sample rate; the others are added to the last argument."""
    usable = []
    for clip in clips:
        if problem := not_resampled(clip.frames, clip.file_sample_rate, sample_rate):
            skipped.append((str(clip.path), f"{NO_RATIO}: {problem}"))
        else:
            usable.append(clip)
    return usable


def _hold_out(splits: dict[str, list[Clip]], root: Path) -> None:
    """Move clips from train to each empty split, by a hash of the path, so that every split has at least one."""
    empty = [split for split in SPLITS if split != "train" and not splits[split]]
    if len(splits["train"]) <= len(empty):
        raise ValueError(
            f"data {str(root)!r} must hold at least {len(empty) + 1} usable recordings to split into "
            f"{', '.join(['train', *empty])}; got {len(splits['train'])}"
        )

    depth = len(root.parts)

    def position(clip: Clip) -> float:
        digest = hashlib.sha256(os.fsencode("/".join(clip.path.parts[depth:]))).digest()  # of the path below root
        return int.from_bytes(digest[:8], "big") / 2**64

    clips = splits["train"]  # in order of their paths, and so are the parts of it
    positions = [position(clip) for clip in clips]
    ranked = sorted(range(len(clips)), key=positions.__getitem__)
    start = 0
    for number, split in enumerate(empty, 1):
        stop = bisect.bisect_left(ranked, number * HELD_OUT, key=positions.__getitem__)
        # at least one here, and at least one left for train and for each split to come
        stop = min(max(stop, start + 1), len(ranked) - 1 - (len(empty) - number))
        splits[split] = [clips[place] for place in sorted(ranked[start:stop])]
        start = stop
    splits["train"] = [clips[place] for place in sorted(ranked[start:])]
