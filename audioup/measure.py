"""Stride tones from sound: a test for lines that are locked to the sample index.

What a strided generator adds repeats with the period ``S`` of its strides, counted from sample 0; speech and music do
not keep such a phase. So blocks that start on multiples of ``S`` see a stride tone with one phase throughout, and
Thomson's multitaper F test finds a constant in their sequence ("slow time").
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audioup.measured import Measured
from audioup.meter import Meter
from audioup.slowtime import Real
from audioup.tone_report import ToneReport

Audio = torch.Tensor | NDArray[np.floating[Any]]


def measure_tones(
    audio: Audio | Sequence[Audio],
    sample_rate: int,
    strides: Sequence[int],
    reference: Audio | Sequence[Audio] | None = None,
) -> ToneReport:
    """Measure the tones that upsampling by ``strides`` leaves in a recording: levels, intervals, significance.

    A stage that upsamples by ``strides[i]`` makes lines at multiples of ``sample_rate / prod(strides[i:])``. Each is
    tested for being locked to sample 0 of the recording, so the recording must start where the generator did.

    A held note exactly on a harmonic cannot be told from a tone; look at ``decoy_rate``.

    Args:
        audio: One channel of shape ``(T,)`` or ``(1, T)``, floating point, full scale 1; or several such clips, tested
            together for lines common to all, each from its own sample 0.
        sample_rate: In Hz.
        strides: Upsampling factors from input to output; only the product matters to where the lines are.

    Returns:
        A `ToneReport`. Recordings of fewer than 12 blocks of about 64 ms and silent or constant ones are "not
        testable", never "clean".

    Raises:
        ValueError: If the audio is empty, holds NaN or infinity, is not floating point, goes beyond 1000 times full
            scale or has several channels (measure them apart), if a stride is not a positive integer, or if their
            product is 1 or exceeds every clip.

    Source: Thomson, "Spectrum estimation and harmonic analysis" (Proc. IEEE, 1982), section XIII, on slow time;
    Benjamini & Hochberg (1995); the tones are those of Pons et al. (ICASSP 2021).

    Example:
        >>> noise = 0.1 * np.random.default_rng(0).standard_normal(48000)
        >>> measure_tones(noise, 16000, (8, 8, 4)).verdict
        'clean below -45.5 dBFS'
        >>> report = measure_tones(noise + 0.01 * np.sin(np.pi / 4 * np.arange(48000)), 16000, (8, 8, 4))
        >>> report.verdict, report.strongest.frequency_hz, report.strongest.stages
        ('tones', 2000.0, (1, 0))
    """
    meter = Meter(sample_rate, strides)
    beside = None if reference is None else meter.report(_measured(meter, reference))
    return meter.report(_measured(meter, audio), beside)


def _measured(meter: Meter, audio: Audio | Sequence[Audio]) -> Measured:
    given = [audio] if isinstance(audio, (torch.Tensor, np.ndarray)) else audio
    clips = [one_channel(clip) for clip in given]
    meter.check_length(max((len(clip) for clip in clips), default=0))
    return reduce(add, [meter.measure(reader(clip), len(clip))[0] for clip in clips])


def one_channel(clip: Audio) -> Audio:
    """Return the clip as ``(T,)``."""
    if not isinstance(clip, torch.Tensor):
        clip = np.asarray(clip)
    if not (clip.is_floating_point() if isinstance(clip, torch.Tensor) else np.issubdtype(clip.dtype, np.floating)):
        raise ValueError(f"audio must be floating point with full scale 1, got {clip.dtype}")
    if clip.ndim == 2 and clip.shape[0] == 1:
        clip = clip[0]
    if clip.ndim != 1:
        raise ValueError(
            f"audio must have shape (T,) or (1, T), got {tuple(clip.shape)}: measure channels one at a time"
        )
    if len(clip) == 0:
        raise ValueError("audio is empty")
    return clip


def reader(clip: Audio) -> Callable[[int, int], Real]:
    """Return what reads samples ``start`` to ``stop`` of a clip, float64, shape ``(stop - start, 1)``."""

    def read(start: int, stop: int) -> Real:
        piece = clip[start:stop]
        array = piece.detach().cpu().double().numpy() if isinstance(piece, torch.Tensor) else piece
        return array.astype(np.float64)[:, None]

    return read
