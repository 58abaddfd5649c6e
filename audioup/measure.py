"""Stride tones from sound: a test for lines that are locked to the sample index.

What a strided generator adds repeats with the period ``S`` of its strides, counted from sample 0; speech and music do
not keep such a phase. So blocks that start on multiples of ``S`` see a stride tone with one phase throughout, and
Thomson's multitaper F test finds a constant in their sequence ("slow time").
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audioup.checks import check_positive
from audioup.slowtime import FAINTEST_DBFS, HALF_BANDWIDTH_HZ, fit_lines, untestable

Audio = torch.Tensor | NDArray[np.floating[Any]]

FALSE_DISCOVERIES = 0.01  # Benjamini-Hochberg level of `detected`
LOUDEST = 1000.0  # samples above are integers that were not scaled
SMALLEST_DBFS = -200.0  # levels below are reported as this


@dataclass(frozen=True)
class ToneLine:
    """One stride harmonic of a recording.

    Attributes:
        frequency_hz: Frequency of the line.
        stages: Indices into ``strides`` of the stages whose harmonics fall here, the latest (likeliest) first.
        level_dbfs: Amplitude of the locked sine in dB of full scale (a full-scale sine is 0 dBFS).
        level_db: Its RMS relative to the RMS of the recording.
        interval_dbfs: 95 % interval of ``level_dbfs``; the lower end is -200 where zero lies within.
        floor_dbfs: RMS amplitude of the spectrum beside the line in one block, the line left out.
        p_value: Probability of so steady a line where none is.
        detected: Whether it survives Benjamini-Hochberg at 0.01 over all lines of the report, and reaches -110 dBFS:
            real recordings hold locked remainders far below their last bit that are no tone to anyone. A steady tone
            one bin (about 16 Hz) beside the harmonic is told apart and not detected.
    """

    frequency_hz: float
    stages: tuple[int, ...]
    level_dbfs: float
    level_db: float
    interval_dbfs: tuple[float, float]
    floor_dbfs: float
    p_value: float
    detected: bool


@dataclass(frozen=True)
class ToneReport:
    """What `measure_tones` found.

    Attributes:
        sample_rate: In Hz.
        duration_s: Of all clips together.
        clips: How many clips were tested together; too short and silent ones are left out.
        strides: As given, input to output.
        lines: One per distinct harmonic up to and including Nyquist, by frequency; empty when not testable.
        decoy_rate: Share of harmonics of unrelated periods with p < 0.01 (near 0.01 unless the sound itself holds
            steady tones), or None where nothing could be tested.
        verdict: ``"tones"``, ``"clean below X dBFS"`` (X bounds every line from above) or ``"not testable: why"``.
        notes: What a reader should know besides, such as clipping.
    """

    sample_rate: int
    duration_s: float
    clips: int
    strides: tuple[int, ...]
    lines: tuple[ToneLine, ...]
    decoy_rate: float | None
    verdict: str
    notes: tuple[str, ...]

    @property
    def strongest(self) -> ToneLine | None:
        """The loudest detected line, or None."""
        return max((line for line in self.lines if line.detected), key=lambda line: line.level_dbfs, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that ``json`` can write."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"{self.duration_s:.2f} s at {self.sample_rate} Hz, strides {','.join(map(str, self.strides))}"
        rows = [f"{head}: {self.verdict}"]
        loudest = sorted(self.lines, key=lambda line: (not line.detected, -line.level_dbfs))[:8]
        if loudest:
            rows.append(f"{'Hz':>9} {'stage':>7} {'dBFS':>7} {'95 % interval':>17} {'dB/RMS':>7} {'floor':>7} {'p':>8}")
        for line in loudest:
            low, high = line.interval_dbfs
            stages = ",".join(map(str, line.stages))
            rows.append(
                f"{line.frequency_hz:9.1f} {stages:>7} {line.level_dbfs:7.1f} {low:8.1f} {high:8.1f} "
                f"{line.level_db:7.1f} {line.floor_dbfs:7.1f} {line.p_value:8.1e}{' detected' * line.detected}"
            )
        if len(self.lines) > len(loudest):
            rows.append(f"and {len(self.lines) - len(loudest)} more lines")
        if self.decoy_rate is not None:
            rows.append(f"decoy periods flagged at p < 0.01: {self.decoy_rate:.1%} of their harmonics")
        return "\n".join([*rows, *self.notes])


def measure_tones(audio: Audio | Sequence[Audio], sample_rate: int, strides: Sequence[int]) -> ToneReport:
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
    check_positive("sample_rate", sample_rate)
    strides = tuple(int(stride) if isinstance(stride, np.integer) else stride for stride in strides)
    for stride in strides:
        check_positive("every stride", stride)
    period = math.prod(strides)
    if period == 1:
        raise ValueError(f"the product of strides must be at least 2, got strides {strides}")
    given = [audio] if isinstance(audio, (torch.Tensor, np.ndarray)) else audio
    clips = [_as_array(clip) for clip in given]
    longest = max((len(clip) for clip in clips), default=0)
    if period > longest:
        raise ValueError(f"the product of strides, {period}, exceeds the audio's {longest} samples")

    samples = sum(len(clip) for clip in clips)
    clipped = sum(int(np.count_nonzero(np.abs(clip) >= 1 - 2**-15)) for clip in clips) / samples
    notes = [f"{clipped:.2%} of the samples are at full scale: clipping makes and masks lines"] * (clipped > 1e-4)
    reasons = [untestable(clip, sample_rate, period) for clip in clips]
    clips = [clip for clip, reason in zip(clips, reasons, strict=True) if reason is None]
    left_out = [reason for reason in reasons if reason is not None]
    lines: tuple[ToneLine, ...] = ()
    decoy_rate = None
    if clips:
        lines = _lines(clips, sample_rate, strides)
        decoy_rate = _decoy_rate(clips, sample_rate, period)
        highest = max(line.interval_dbfs[1] for line in lines)
        found = any(line.detected for line in lines)
        verdict = "tones" if found else f"clean below {math.ceil(highest * 10) / 10:.1f} dBFS"
        if left_out:
            notes.append(f"{len(left_out)} clips left out: {left_out[0]}")
        if decoy_rate is not None and decoy_rate > 0.05:
            notes.append("decoys are flagged often: the sound holds steady tones of its own, lines may be among them")
    else:
        verdict = f"not testable: {left_out[0]}"
    return ToneReport(sample_rate, samples / sample_rate, len(clips), strides, lines, decoy_rate, verdict, tuple(notes))


def _as_array(clip: Audio) -> NDArray[np.float64]:
    array = (
        clip.detach().cpu().double().numpy() if isinstance(clip, torch.Tensor) and clip.is_floating_point() else clip
    )
    array = np.asarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"audio must be floating point with full scale 1, got {array.dtype}")
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1:
        raise ValueError(f"audio must have shape (T,) or (1, T), got {array.shape}: measure channels one at a time")
    if array.size == 0:
        raise ValueError("audio is empty")
    if not np.isfinite(array).all():
        raise ValueError(f"audio holds NaN or infinity, first at sample {np.flatnonzero(~np.isfinite(array))[0]}")
    if np.abs(array).max() > LOUDEST:
        raise ValueError(f"audio reaches {np.abs(array).max():.3g}, but full scale is 1: divide integers by theirs")
    return array.astype(np.float64)


def _lines(clips: Sequence[NDArray[np.float64]], sample_rate: int, strides: tuple[int, ...]) -> tuple[ToneLine, ...]:
    period = math.prod(strides)
    fit = fit_lines(clips, sample_rate, period)
    rms = math.sqrt(sum(float(clip @ clip) for clip in clips) / sum(len(clip) for clip in clips))
    detected = _benjamini_hochberg(fit.p_value)
    lines = []
    for i, p_value in enumerate(fit.p_value):
        k = i + 1
        stages = [
            n for n in reversed(range(len(strides))) if strides[n] > 1 and k * math.prod(strides[n:]) % period == 0
        ]
        line_rms = fit.level[i] / (1 if 2 * k == period else math.sqrt(2))
        lines.append(
            ToneLine(
                frequency_hz=k * sample_rate / period,
                stages=tuple(stages),
                level_dbfs=_db(fit.level[i]),
                level_db=_db(line_rms / rms),
                interval_dbfs=(_db(fit.level[i] - fit.radius[i]), _db(fit.level[i] + fit.radius[i])),
                floor_dbfs=_db(fit.floor[i]),
                p_value=float(p_value),
                detected=bool(detected[i] and fit.peak[i]) and _db(fit.level[i]) >= FAINTEST_DBFS,
            )
        )
    return tuple(lines)


def _decoy_rate(clips: Sequence[NDArray[np.float64]], sample_rate: int, period: int) -> float | None:
    # The four nearest periods without a common factor share no harmonic with the true one, except by near coincidence.
    nearest = sorted(range(3, period + 12), key=lambda q: (abs(q - period), q))
    decoys = [q for q in nearest if math.gcd(q, period) == 1][:4]
    flagged: list[bool] = []
    for decoy in decoys:
        testable = [clip for clip in clips if untestable(clip, sample_rate, decoy) is None]
        if not testable:
            continue
        frequency = np.arange(1, decoy // 2 + 1) / decoy
        distance_hz = np.abs(frequency - np.round(frequency * period) / period) * sample_rate
        distinct = distance_hz > 2 * HALF_BANDWIDTH_HZ
        flagged.extend((fit_lines(testable, sample_rate, decoy).p_value < 0.01)[distinct])
    return float(np.mean(flagged)) if flagged else None


def _benjamini_hochberg(p_value: NDArray[np.float64]) -> NDArray[np.bool_]:
    ordered = np.sort(p_value)
    passing = ordered <= FALSE_DISCOVERIES * np.arange(1, len(ordered) + 1) / len(ordered)
    return p_value <= (ordered[passing].max() if passing.any() else -1.0)


def _db(amplitude: float) -> float:
    return max(SMALLEST_DBFS, 20 * math.log10(amplitude)) if amplitude > 0 else SMALLEST_DBFS
