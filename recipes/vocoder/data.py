"""Recordings in, mono clips out: corpora from folders or downloads, split by a stable hash."""

from __future__ import annotations

import bisect
import fnmatch
import hashlib
import http.client
import json
import math
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray

from audioup.recording import MOST_IN_A_BYTE, check_header

SPLITS = ("train", "valid", "test")
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})
MIN_SECONDS = 0.1
HELD_OUT = 0.05  # share of the clips that goes to each of valid and test
LOWEST_RATE = 1000  # Hz: less is no speech, and would grow without bounds as it is resampled
# What a small file decodes to fits into memory whatever is in it; a longer one has a byte or more for so many samples.
LONG_CLIP = 2**24  # samples, after resampling
AT_ONCE = 2**20  # values that are decoded together
MAX_RESAMPLE_TAPS = 10_000_000  # torchaudio builds a kernel of about (new rate) * (old rate) / gcd^2 taps
CACHE = Path("~/.cache/audioup")

# torchaudio's class, the folder its archive unpacks to, and which files there to use: VCTK holds every sentence twice,
# once for each microphone, and the two must not end up in different splits
DOWNLOADS = {
    "ljspeech": ("LJSPEECH", "LJSpeech-1.1/wavs", "*"),
    "vctk": ("VCTK_092", "VCTK-Corpus-0.92/wav48_silence_trimmed", "*_mic2.flac"),
    "libritts": ("LIBRITTS", "LibriTTS/train-clean-100", "*"),
}


class UnreadableClip(ValueError):
    """A recording that cannot be decoded, or that decodes to nothing or to NaN."""


@dataclass(frozen=True)
class Clip:
    """One recording on disk, as its header describes it.

    Attributes:
        path: the file.
        frames: length in samples at the file's own rate.
        file_sample_rate: the file's own rate, in Hz.
        name: the file's stem, made unique within the corpus.
    """

    path: Path
    frames: int
    file_sample_rate: int
    name: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.file_sample_rate


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
    file leaves the others where they were. Hidden files are ignored. Files that are unreadable, empty or shorter than
    0.1 s are left out and listed in `skipped`.

    Args:
        data: `espeak` (synthesised here), `ljspeech`, `vctk` or `libritts` (downloaded), or else a folder.
        sample_rate: in Hz; by default the commonest among the files, the higher one if two are equally common.
        cache: folder that synthesised and downloaded recordings are kept in.

    Raises:
        FileNotFoundError: the folder is missing, or the download failed.
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
    if not root.is_dir():
        raise FileNotFoundError(f"data must be a folder or one of espeak, {', '.join(DOWNLOADS)}; got {str(root)!r}")

    # without train/ everything starts out there
    folders = {split: root / split for split in SPLITS} if (root / "train").is_dir() else {"train": root}
    splits: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    skipped: list[tuple[str, str]] = []
    names: Counter[str] = Counter()
    for split, folder in folders.items():
        if folder.is_dir():
            splits[split] = _read_headers(_find_audio(folder, pattern, skipped), names, skipped)
    clips = [clip for split in SPLITS for clip in splits[split]]
    if not clips:
        raise ValueError(
            f"data {str(root)!r} holds no usable recording ({', '.join(sorted(SUFFIXES))}); {len(skipped)} skipped"
            + "".join(f"; {path}: {reason}" for path, reason in skipped[:3])
        )
    _hold_out(splits, root)
    if sample_rate is None:
        counts = Counter(clip.file_sample_rate for clip in clips)
        sample_rate = max(counts, key=lambda rate: (counts[rate], rate))
    train, valid, test = (tuple(splits[split]) for split in SPLITS)
    return Corpus(sample_rate, train, valid, test, tuple(skipped), data)


def listing_digest(clips: Sequence[Clip]) -> str:
    """Return a SHA-256 that tells lists of recordings apart, by names and lengths."""
    return hashlib.sha256(json.dumps([(clip.name, clip.frames) for clip in clips]).encode()).hexdigest()


def load_clip(clip: Clip, sample_rate: int) -> torch.Tensor:
    """Decode one recording to mono at `sample_rate`: channels are averaged, other rates resampled (windowed sinc).

    Args:
        clip: the recording.
        sample_rate: rate of the result, in Hz.

    Returns:
        Float32 samples of shape (T,), full scale 1, with T = ceil(file samples * sample_rate / file rate).

    Raises:
        UnreadableClip: the file does not decode, is empty, holds NaN or infinite samples, or promises more of them
            than so small a file holds.
    """
    try:
        samples, file_rate = _decoded(clip.path, sample_rate)
    except (RuntimeError, OSError, UnicodeError, ValueError) as error:
        raise UnreadableClip(f"{clip.path} cannot be decoded: {error}") from error
    if len(samples) == 0:
        raise UnreadableClip(f"{clip.path} decodes to no samples")
    if not np.isfinite(samples).all():
        raise UnreadableClip(f"{clip.path} holds NaN or infinite samples")
    waveform = torch.from_numpy(samples)
    if file_rate != sample_rate:
        if file_rate * sample_rate // math.gcd(file_rate, sample_rate) ** 2 > MAX_RESAMPLE_TAPS:
            raise UnreadableClip(
                f"{clip.path}: {file_rate} Hz to {sample_rate} Hz is no simple ratio; resample it first"
            )
        waveform = torchaudio.functional.resample(waveform, file_rate, sample_rate)
    return waveform


def _decoded(path: Path, sample_rate: int) -> tuple[NDArray[np.float32], int]:
    """Mean of the channels, shape (T,), and the file's own rate; no memory is taken on the header's word."""
    with soundfile.SoundFile(path) as sound:
        _check_header(path, sound.samplerate, sound.channels, sound.frames)
        length = math.ceil(sound.frames * max(1, sample_rate / sound.samplerate))
        if length > max(LONG_CLIP, MOST_IN_A_BYTE * path.stat().st_size):
            raise ValueError(f"so small a file holds no {length} samples of sound")
        pieces, left = [], sound.frames  # counted here: in a damaged Opus file libsndfile never comes to the end
        while left > 0:
            piece = sound.read(min(left, max(1, AT_ONCE // sound.channels)), dtype="float32", always_2d=True)
            if not len(piece):
                break
            pieces.append(piece.mean(axis=1))
            left -= len(piece)
        return np.concatenate([np.zeros(0, np.float32), *pieces]), int(sound.samplerate)


def _check_header(path: Path, sample_rate: int, channels: int, frames: int) -> None:
    if sample_rate < LOWEST_RATE:
        raise ValueError(f"its sample rate is {sample_rate} Hz, and speech has at least {LOWEST_RATE}")
    check_header(sample_rate, channels, frames, path.stat().st_size)


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


def _find_audio(folder: Path, pattern: str, skipped: list[tuple[str, str]]) -> list[Path]:
    """All recordings below `folder`, sorted; hidden ones ignored, links to folders followed once."""

    def unlisted(error: OSError) -> None:
        skipped.append((str(error.filename), f"folder cannot be listed: {error.strerror}"))

    found: list[Path] = []
    visited: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=unlisted, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # reached again through a link: a loop, or one recording in two splits
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in fnmatch.filter(files, pattern) if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def _read_headers(paths: list[Path], names: Counter[str], skipped: list[tuple[str, str]]) -> list[Clip]:
    """Clips for the files that can be used; the names taken and the files left out are added to the last two."""
    clips = []
    for path in paths:
        try:
            info = soundfile.info(path)
            _check_header(path, info.samplerate, info.channels, info.frames)
        except (RuntimeError, OSError, UnicodeError, ValueError) as error:
            skipped.append((str(path), f"unreadable: {error}"))
            continue
        if info.frames < MIN_SECONDS * info.samplerate:
            skipped.append((str(path), f"shorter than {MIN_SECONDS} s" if info.frames else "empty"))
            continue
        name = path.stem
        while name in names:
            names[path.stem] += 1
            name = f"{path.stem}-{names[path.stem]}"
        names[name] = 1
        clips.append(Clip(path, info.frames, info.samplerate, name))
    return clips


def _hold_out(splits: dict[str, list[Clip]], root: Path) -> None:
    """Move clips from train to each empty split, by a hash of the path, so that every split has at least one."""
    empty = [split for split in SPLITS if split != "train" and not splits[split]]
    if len(splits["train"]) <= len(empty):
        raise ValueError(
            f"data {str(root)!r} must hold at least {len(empty) + 1} usable recordings to split into "
            f"{', '.join(['train', *empty])}; got {len(splits['train'])}"
        )

    def position(clip: Clip) -> float:
        digest = hashlib.sha256(os.fsencode(clip.path.relative_to(root).as_posix())).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    ranked = sorted(splits["train"], key=position)
    positions = [position(clip) for clip in ranked]
    start = 0
    for number, split in enumerate(empty, 1):
        stop = bisect.bisect_left(positions, number * HELD_OUT)
        # at least one here, and at least one left for train and for each split to come
        stop = min(max(stop, start + 1), len(ranked) - 1 - (len(empty) - number))
        splits[split] = sorted(ranked[start:stop], key=lambda clip: clip.path)
        start = stop
    splits["train"] = sorted(ranked[start:], key=lambda clip: clip.path)
