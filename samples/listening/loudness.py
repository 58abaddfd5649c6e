"""Gains that make sounds equally loud, and never clip them."""

import math
from collections.abc import Sequence

import numpy as np
import pyloudnorm
from numpy.typing import NDArray

Sound = NDArray[np.float64]

CEILING_DBFS = -1.0  # of a sample
SILENT = 1e-9  # of a peak
BLOCK_S = 0.4  # of ITU-R BS.1770-4
CLOSE_LU = 1e-3
ROUNDS = 20


def loudness(sound: Sound, sample_rate: int) -> float:
    """Return the integrated loudness in LUFS (ITU-R BS.1770-4); -inf where all of it is gated.

    Sound shorter than a block of 400 ms is one block.
    """
    seconds = len(sound) / sample_rate
    meter = pyloudnorm.Meter(sample_rate, block_size=min(BLOCK_S, seconds))
    # One sample more than its blocks say keeps rounding from refusing a sound that is exactly as long as a block.
    return float(meter.integrated_loudness(np.append(sound, 0.0) if seconds <= BLOCK_S else sound))


def peak_dbfs(sound: Sound) -> float:
    """Return the highest sample in dBFS; -inf where all are about zero."""
    peak = float(np.abs(sound).max(initial=0.0))
    return 20 * math.log10(peak) if peak > SILENT else -math.inf


def matching_gains(sounds: Sequence[Sound], sample_rate: int, lufs: float) -> tuple[float, list[float]]:
    """Find gains that make all sounds equally loud; what would clip lowers them all.

    Args:
        sounds: Of shape ``(T,)``.
        sample_rate: In Hz.
        lufs: Wanted loudness.

    Returns:
        The common loudness, at most ``lufs``, at which no sample exceeds -1 dBFS; and the gain of each sound in dB, 0
        for a silent one.
    """
    while True:
        gains = [_gain(sound, sample_rate, lufs) for sound in sounds]
        over = max(peak_dbfs(sound) + gain for sound, gain in zip(sounds, gains, strict=True)) - CEILING_DBFS
        if over <= 0:
            return lufs, gains
        lufs -= over + CLOSE_LU


def common_gain(sounds: Sequence[Sound], most_db: float) -> float:
    """Return one gain in dB for all sounds, in tenths, ``most_db`` or as much less as keeps them below -1 dBFS."""
    room = CEILING_DBFS - max(map(peak_dbfs, sounds))
    return most_db if room >= most_db else math.floor(10 * room) / 10


def amplified(sound: Sound, gain_db: float) -> Sound:
    """Return the sound times a gain in dB."""
    return 10 ** (gain_db / 20) * sound


def _gain(sound: Sound, sample_rate: int, lufs: float) -> float:
    # What the gate of -70 LUFS leaves out depends on the gain: find the two together.
    peak = peak_dbfs(sound)
    if peak == -math.inf:
        return 0.0
    gain = -peak
    for _ in range(ROUNDS):
        found = loudness(amplified(sound, gain), sample_rate)
        if not math.isfinite(found):
            return 0.0  # nothing that the ear's weighting leaves
        if abs(found - lufs) < CLOSE_LU:
            break
        gain += lufs - found
    return gain
