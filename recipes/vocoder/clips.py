"""One recording, not to be trusted: opened, decoded to mono, or refused with a reason."""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
import torchaudio

from audioup.recording import STREAM, UNKNOWN, check_header
from audioup.table import plain, readable

MAX_RESAMPLE_TAPS = 10_000_000  # torchaudio builds a kernel of about (new rate) * (old rate) / gcd^2 taps
LOWEST_RATE = 1000  # Hz: less is no speech, and little of it would be resampled to much
LONG_CLIP, MAX_GROWTH = 2**24, 8  # samples after resampling; times as many as before, if there are more than that
MAX_BYTES = 2 * 1024**3  # of decoded float32 samples, in all channels
SILENCE = 10 ** (-90 / 20)  # of full scale, just above one step of 16 bits, which opposite channels leave of each other
MAX_PEAK = 4.0  # of float samples, full scale 1; above it they are integers, stored as floats
CLIPPING_LEVEL = 0.99  # of full scale
CLIPPED_SHARE = 0.001  # of the samples

# why a clip that was listed cannot be used after all
REASONS = (
    "gone",
    "changed since it was listed",
    "cannot be decoded",
    "cut off",
    "empty",
    "too long",
    "NaN or infinite samples",
    "above full scale",
    "silent",
    "cannot be resampled",
    "out of memory",
)
GONE, CHANGED, DAMAGED, CUT_OFF, EMPTY, TOO_LONG, NOT_FINITE, TOO_LOUD, SILENT, NO_RATIO, NO_MEMORY = REASONS


class UnreadableClip(ValueError):
    """A recording that cannot be used.

    Attributes:
        reason: one of `REASONS`.
    """

    def __init__(self, message: str, reason: str = DAMAGED) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording on disk, as its header describes it.

    Attributes:
        path: the file.
        frames: length in samples at the file's own rate.
        file_sample_rate: the file's own rate, in Hz.
        name: the file's stem, made unique within the corpus and safe as a file name.
        size: of the file, in bytes, when its header was read; None if it may change.
        mtime_ns: when the file was last written, likewise.
    """

    path: Path
    frames: int
    file_sample_rate: int
    name: str
    size: int | None = None
    mtime_ns: int | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.file_sample_rate


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[int]:
    """Open a regular file, whatever bytes are in its name, and give its descriptor.

    Raises:
        OSError: it cannot be opened, or is no regular file; a FIFO is not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "not a regular file", os.fspath(path))
        yield descriptor
    finally:
        os.close(descriptor)


def header_fault(sound: soundfile.SoundFile, size: int) -> tuple[str, str] | None:
    """Say why a recording of ``size`` bytes is not worth decoding: one of `REASONS`, and details; None if it is."""
    promised = re.search(r"data : (\d+) \(should be (\d+)\)", sound.extra_info)
    # a stream's header, written before the end was known, promises nothing
    if promised and int(promised[2]) < int(promised[1]) < STREAM:
        return CUT_OFF, f"it ends after {promised[2]} of the {promised[1]} bytes it promises"
    if sound.frames > UNKNOWN:
        return DAMAGED, "written as a stream, it does not say how long it is"
    if sound.samplerate < LOWEST_RATE:
        return DAMAGED, f"a sample rate of {sound.samplerate} Hz"
    if large := too_large(sound.frames, sound.channels):
        return TOO_LONG, large
    try:
        check_header(sound.samplerate, sound.channels, sound.frames, size)
    except ValueError as error:
        return DAMAGED, str(error)
    return None


def too_large(frames: int, channels: int) -> str | None:
    """Say how much memory a recording would need, if that is more than `MAX_BYTES`; else None."""
    size = frames * channels * 4
    return f"it decodes to {size / 1e9:,.1f} GB; split it" if size > MAX_BYTES else None


def not_resampled(frames: int, file_rate: int, sample_rate: int) -> str | None:
    """Say why a recording cannot be brought to `sample_rate`; None if it can."""
    if file_rate * sample_rate // math.gcd(file_rate, sample_rate) ** 2 > MAX_RESAMPLE_TAPS:
        return f"{file_rate} Hz to {sample_rate} Hz is no simple ratio; resample it first"
    longer = -(-frames * sample_rate // file_rate)
    if longer > max(LONG_CLIP, MAX_GROWTH * frames):
        return f"{frames} samples at {file_rate} Hz would become {longer}"
    return too_large(longer, 1)


def load_clip(clip: Clip, sample_rate: int) -> torch.Tensor:
    """Decode one recording to mono at `sample_rate`: channels are averaged, other rates resampled (windowed sinc).

    Args:
        clip: the recording.
        sample_rate: rate of the result, in Hz.

    Returns:
        Float32 samples of shape (T,), full scale 1, with T = ceil(file samples * sample_rate / file rate).

    Raises:
        UnreadableClip: the file is gone, has changed since it was listed, does not decode, decodes to more than 2 GB,
            is empty, cut off or silent (in mono, peak below -90 dBFS), or holds samples that are NaN, infinite or
            beyond 4 times full scale.
    """
    return decode_clip(clip, sample_rate)[0]


def decode_clip(clip: Clip, sample_rate: int) -> tuple[torch.Tensor, bool]:
    """Decode as `load_clip` does, and say whether the recording is clipped.

    It is where runs of three or more equal samples, at the recording's own highest or lowest value, make up more than
    0.1 % of its samples and that value is at least 0.99 of full scale.
    """
    try:
        samples, file_rate = _read(clip)
        return _mono(clip, samples, file_rate, sample_rate), _is_clipped(samples)
    except MemoryError as error:
        raise UnreadableClip(f"{readable(clip.path)} does not fit into memory", NO_MEMORY) from error


def _read(clip: Clip) -> tuple[npt.NDArray[np.float32], int]:
    """All samples of a file, shape (T, channels), and its rate."""
    shown = readable(clip.path)
    try:
        with opened(clip.path) as file:
            _check_unchanged(clip, file)
            with soundfile.SoundFile(file, closefd=False) as sound:
                if fault := header_fault(sound, os.fstat(file).st_size):  # before the memory for it is asked for
                    raise UnreadableClip(f"{shown} {DAMAGED}: {fault[1]}", fault[0])
                samples = sound.read(dtype="float32", always_2d=True)
                # the length of an mp3 is an estimate
                if 0 < len(samples) < sound.frames and sound.format != "MP3":
                    raise UnreadableClip(
                        f"{shown} {DAMAGED}: it ends after {len(samples)} of the {sound.frames} samples it promises",
                        CUT_OFF,
                    )
                file_rate = sound.samplerate
            _check_unchanged(clip, file)  # nor while it was read
    except FileNotFoundError as error:
        raise UnreadableClip(f"{shown} {DAMAGED}: it is gone", GONE) from error
    except soundfile.LibsndfileError as error:
        raise UnreadableClip(f"{shown} {DAMAGED}: {plain(error.error_string)}") from error
    except (RuntimeError, OSError) as error:
        raise UnreadableClip(f"{shown} {DAMAGED}: {plain(_said(error))}") from error
    return samples, file_rate


def _said(error: Exception) -> str:
    """What went wrong, without the name of the file."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _check_unchanged(clip: Clip, file: int) -> None:
    now = os.fstat(file)
    if clip.size not in (None, now.st_size) or clip.mtime_ns not in (None, now.st_mtime_ns):
        raise UnreadableClip(
            f"{readable(clip.path)} has changed since it was listed ({clip.size} bytes then, {now.st_size} now)",
            CHANGED,
        )


def _mono(clip: Clip, samples: npt.NDArray[np.float32], file_rate: int, sample_rate: int) -> torch.Tensor:
    shown = readable(clip.path)
    if len(samples) == 0:
        raise UnreadableClip(f"{shown} decodes to no samples", EMPTY)
    peak = max(float(samples.max()), -float(samples.min()))  # NaN if one is
    if not math.isfinite(peak):
        raise UnreadableClip(f"{shown} holds NaN or infinite samples", NOT_FINITE)
    if peak > MAX_PEAK:
        raise UnreadableClip(f"{shown}: peak {peak:g}, full scale is 1", TOO_LOUD)
    mono = samples.mean(axis=1)
    if max(float(mono.max()), -float(mono.min())) < SILENCE:
        raise UnreadableClip(f"{shown} is silent", SILENT)
    waveform = torch.from_numpy(mono)
    if file_rate != sample_rate:
        if problem := not_resampled(len(samples), file_rate, sample_rate):
            raise UnreadableClip(f"{shown}: {problem}", NO_RATIO)
        try:
            waveform = torchaudio.functional.resample(waveform, file_rate, sample_rate)
        except RuntimeError as error:  # how torch reports that memory is out
            raise UnreadableClip(f"{shown} cannot be resampled: {plain(str(error))}", NO_MEMORY) from error
    return waveform


def _is_clipped(samples: npt.NDArray[np.float32]) -> bool:
    found = 0
    for extreme in (samples.max(), samples.min()):
        if abs(extreme) < CLIPPING_LEVEL:
            continue
        there = samples == extreme
        if np.count_nonzero(there) <= 2:
            continue
        thrice = there[2:] & there[1:-1] & there[:-2]
        in_run = np.zeros_like(there)
        for shift in range(3):
            in_run[shift : len(there) - 2 + shift] |= thrice
        found += int(np.count_nonzero(in_run))
    return found > CLIPPED_SHARE * samples.size
