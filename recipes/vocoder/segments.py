"""Clips in, training batches out: segments that depend on the seed and the step alone."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch

from audioup.table import readable
from vocoder.clips import REASONS, Clip, UnreadableClip, decode_clip

CLIPPED = len(REASONS) + 1  # mark of a clip; 0 is none, and the reasons count from 1
WARNED = 10  # clips that are warned about as they are met, by each process


class ClipWarning(UserWarning):
    """A clip cannot be used, and the next one is."""


class Segments(torch.utils.data.Dataset[torch.Tensor]):
    """Cut training batches out of clips: item `step` is a float32 tensor (batch_size / world_size, segment_size).

    A batch depends on (seed, step) and the clips alone, so a resumed run sees the same data, with any number of
    workers: `DataLoader(segments, batch_size=None, sampler=range(start, steps))`; and with any number of processes,
    which get its parts in order of rank. Clips come in one random order an epoch. Clips shorter than a segment are
    zero-padded at the end. A clip that cannot be decoded is marked for good, in memory that a DataLoader's workers
    share, the first ten are warned about, and the clip after it in `clips` is used in its place. Each rank has marks of
    its own, until `agree`.

    Args:
        clips: recordings to cut from.
        sample_rate: rate of the batches, in Hz.
        segment_size: samples in a segment.
        batch_size: segments in a batch, of all ranks together.
        steps: number of batches, the dataset's length.
        seed: not negative; the same on all ranks.
        rank: this process, from 0 to world_size - 1.
        world_size: number of processes.
        cache_bytes: decoded audio kept in memory, by each worker.

    Attributes:
        unreadable: places in `clips` of those that could not be decoded so far, by this process or its workers.
        clipped: places of those that are clipped (see `vocoder.clips.decode_clip`); they are used.

    Raises:
        ValueError: an argument is out of range, or (from an item) none of the clips can be decoded.
        IndexError: the step is not within 0 to steps - 1.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        sample_rate: int,
        segment_size: int,
        batch_size: int,
        steps: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        cache_bytes: int = 2 * 1024**3,
    ) -> None:
        sizes = {"sample_rate": sample_rate, "segment_size": segment_size, "batch_size": batch_size, "steps": steps}
        for name, value in {"len(clips)": len(clips), **sizes, "world_size": world_size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if batch_size % world_size:
            raise ValueError(f"batch_size must be a multiple of world_size = {world_size}, got {batch_size}")
        for name, value in {"seed": seed, "cache_bytes": cache_bytes}.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be from 0 to world_size - 1 = {world_size - 1}, got {rank}")
        self.clips = tuple(clips)
        self.sample_rate, self.segment_size, self.batch_size, self.steps = sample_rate, segment_size, batch_size, steps
        self.seed, self.rank, self.world_size, self.cache_bytes = seed, rank, world_size, cache_bytes
        self._decoded: dict[int, torch.Tensor] = {}
        self._decoded_bytes = 0
        self._warned = 0
        self._marks = torch.zeros(len(self.clips), dtype=torch.uint8).share_memory_()

    @property
    def unreadable(self) -> set[int]:
        return set(torch.where((self._marks > 0) & (self._marks < CLIPPED))[0].tolist())

    @property
    def clipped(self) -> set[int]:
        return set(torch.where(self._marks == CLIPPED)[0].tolist())

    def skipped(self) -> list[tuple[str, str]]:
        """Path and reason of each unreadable clip."""
        return [(str(self.clips[i].path), REASONS[int(self._marks[i]) - 1]) for i in sorted(self.unreadable)]

    def agree(self, combine: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Let `combine`, which takes the largest marks of all ranks, tell each rank what the others found."""
        self._marks.copy_(combine(self._marks.clone()))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> torch.Tensor:
        if not 0 <= step < self.steps:
            raise IndexError(f"step must be from 0 to steps - 1 = {self.steps - 1}, got {step}")
        # 0 is the place of a rank, from when every rank drew for itself
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 0, step]))
        # all offsets are drawn, before any clip is read: none depends on another clip's length or on who reads it
        share = self.batch_size // self.world_size
        offsets = rng.random(self.batch_size)[self.rank * share : (self.rank + 1) * share]
        # the epochs' permutations end to end are one endless list; each step takes a batch from it
        first = step * self.batch_size + self.rank * share
        batch = torch.zeros(share, self.segment_size)
        for row, (position, offset) in enumerate(zip(range(first, first + share), offsets, strict=True)):
            epoch, place = divmod(position, len(self.clips))
            waveform = self._waveform(int(_permutation(self.seed, epoch, len(self.clips))[place]))
            start = int(offset * max(1, len(waveform) - self.segment_size + 1))
            segment = waveform[start : start + self.segment_size]
            batch[row, : len(segment)] = segment
        return batch

    def _waveform(self, index: int) -> torch.Tensor:
        """Decode clip `index`, or the first one after it that can be decoded."""
        for i in (k % len(self.clips) for k in range(index, index + len(self.clips))):
            if i in self._decoded:
                return self._decoded[i]
            if 0 < self._marks[i] < CLIPPED:
                continue
            try:
                waveform, clipped = decode_clip(self.clips[i], self.sample_rate)
            except UnreadableClip as error:
                self._marks[i] = 1 + REASONS.index(error.reason)
                self._warned += 1
                if self._warned <= WARNED:
                    last = "; further ones are named at the end" if self._warned == WARNED else ""
                    warnings.warn(f"{error}; the next clip is used in its place{last}", ClipWarning, stacklevel=3)
                continue
            if clipped:
                self._marks[i] = CLIPPED
            # what is cached stays: clips come back once an epoch, so evicting the oldest would lose each before its use
            if self._decoded_bytes + waveform.nbytes <= self.cache_bytes:
                self._decoded[i] = waveform
                self._decoded_bytes += waveform.nbytes
            return waveform
        raise ValueError(
            f"none of the {len(self.clips)} clips can be decoded; the first is {readable(self.clips[0].path)}"
        )


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Order of the clips in one epoch; it does not depend on the rank."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(size)
