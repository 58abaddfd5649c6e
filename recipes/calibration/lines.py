"""Power and levels: lines of known amplitude at every harmonic, planted in speech, and what is found of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from audioup.blocks import FAINTEST_DBFS
from audioup.meter import SMALLEST_DBFS
from audioup.tone_report import ToneLine, ToneReport
from calibration.shares import Share, share_of
from calibration.size import measure_clip, quiet_meter
from calibration.sounds import Sound

KINDS = ("steady", "level-proportional", "sign-changing")
ENVELOPE_S = 0.03  # of the level that proportional lines follow
RUN_S = (0.05, 0.1)  # of one sign
BANDS_HZ = ((0.0, 1000.0), (1000.0, 4000.0), (4000.0, 1e9))
CLOSE_DB = 0.5


@dataclass(frozen=True)
class Level:
    """What is found of lines of one kind, level and duration.

    The level is the amplitude; of level-proportional lines its mean over time, of sign-changing ones its root mean
    square. Harmonics where the speech of any trial leaves its band empty, below -110 dBFS, are left out: there all is
    found.

    Attributes:
        kind: One of `KINDS`.
        seconds: Of speech in a trial.
        trials: How many.
        level_dbfs: Of every line, or None for none.
        ratio_db: Amplitude over the speech's short-time RMS: constant in level-proportional lines, else of the means.
        found: Share with p < 0.001.
        found_by_band: The same by `BANDS_HZ`, None where a band has no harmonic.
        detected: Share called detected or changing sign; every harmonic holds a line, which makes discoveries easier.
        error_db: 2.5, 50 and 97.5 % points of the estimated less the true level, or None without a line.
        close: Share estimated within 0.5 dB.
        sharp: Share whose 95 % interval ends at most 0.5 dB above the estimate; sign-changing lines have no interval.
        close_where_sharp: Share of those estimated within 0.5 dB, or None where there are none.
        covered: Share whose interval holds the true level, which without a line is zero.
        bounded: Share whose interval ends at or above the level of the line.
        bounded_by_band: The same by `BANDS_HZ`.
    """

    kind: str
    seconds: float
    trials: int
    level_dbfs: float | None
    ratio_db: float | None
    found: Share
    found_by_band: tuple[float | None, ...]
    detected: Share
    error_db: tuple[float, ...] | None = None
    close: Share | None = None
    sharp: Share | None = None
    close_where_sharp: Share | None = None
    covered: Share | None = None
    bounded: Share | None = None
    bounded_by_band: tuple[float | None, ...] | None = None


def measure_levels(
    kind: str,
    seconds: float,
    speech: Sequence[Sequence[Sound]],
    sample_rate: int,
    period: int,
    levels_dbfs: Sequence[float],
    rng: np.random.Generator,
) -> Iterator[Level | None]:
    """Plant lines in speech at falling levels, and none, and measure: None after each, at last one row for each level.

    Args:
        kind: One of `KINDS`.
        seconds: How long a trial is.
        speech: Clips of each trial, tested together.
        sample_rate: In Hz.
        period: Whose harmonics all get a line; phases are drawn once for each trial.
        levels_dbfs: Of each line.
        rng: Draws phases and signs.

    Raises:
        ValueError: If the speech leaves the bands of all harmonics empty.
    """
    meter = quiet_meter(sample_rate, (period,))
    tried = (None, *levels_dbfs)
    reports: list[list[ToneReport]] = [[] for _ in tried]
    for clips in speech:
        lines = planted(kind, clips, sample_rate, period, rng)
        for of_level, level in zip(reports, tried, strict=True):
            amplitude = 0.0 if level is None else 10 ** (level / 20)
            mixed = [clip + amplitude * line for clip, line in zip(clips, lines, strict=True)]
            of_level.append(meter.report(reduce(add, [measure_clip(meter, clip) for clip in mixed])))
            yield None
    floor_dbfs = np.min([[line.floor_dbfs for line in report.lines] for report in reports[0]], axis=0)
    hz = np.array([line.frequency_hz for line in reports[0][0].lines])
    # At Nyquist all squares are positive: no test there.
    kept = (floor_dbfs > FAINTEST_DBFS) & ((hz < sample_rate / 2) | (kind != "sign-changing"))
    if not kept.any():
        raise ValueError(f"the recordings must hold sound at a harmonic of period {period}; all are below -110 dBFS")
    mean_dbfs = float(20 * np.log10(np.mean([_mean_level(clips, sample_rate) for clips in speech])))
    for of_level, level in zip(reports, tried, strict=True):
        lines_of = [[line for line, keep in zip(report.lines, kept, strict=True) if keep] for report in of_level]
        row = Level(kind, seconds, len(speech), level, None, *_found(kind, lines_of, hz[kept]))
        if level is not None:
            row = replace(row, ratio_db=level - mean_dbfs, **_level(kind, level, lines_of, hz[kept]))
        elif kind != "sign-changing":
            row = replace(row, covered=share_of(_values(lines_of, lambda line: line.interval_dbfs[0]) <= SMALLEST_DBFS))
        yield row


def draw_speech(clips: Sequence[Sound], samples: int, trials: int, rng: np.random.Generator) -> list[list[Sound]]:
    """Draw so much speech for each trial: one clip where enough are that long, else several, the last one cut."""
    long = [clip[:samples] for clip in clips if len(clip) >= samples]
    if len(long) >= trials:
        return [[long[i]] for i in rng.permutation(len(long))[:trials]]
    drawn: list[list[Sound]] = []
    for _ in range(trials):
        missing, trial = samples, []
        for index in rng.permutation(len(clips)):
            if missing > 0:
                trial.append(clips[index][:missing])
                missing -= len(trial[-1])
        drawn.append(trial)
    return drawn


def planted(kind: str, clips: Sequence[Sound], sample_rate: int, period: int, rng: np.random.Generator) -> list[Sound]:
    """Return lines of amplitude 1 at all harmonics for each clip, locked to its first sample, with random phases."""
    harmonics = period // 2
    phase = rng.uniform(0, 2 * np.pi, harmonics)
    if period % 2 == 0:
        phase[-1] = 0  # at Nyquist only the cosine exists
    # irfft makes a cosine of amplitude 2 / period of each bin, and 1 / period at Nyquist.
    spectrum = np.exp(1j * phase) * np.where(2 * np.arange(1, harmonics + 1) == period, period, period / 2)
    if kind == "sign-changing":
        return [_sign_changing(spectrum, len(clip), sample_rate, period, rng) for clip in clips]
    lines = [np.resize(_one_period(spectrum, period), len(clip)) for clip in clips]
    if kind == "level-proportional":
        mean = _mean_level(clips, sample_rate)
        lines = [line * short_time_level(clip, sample_rate) / mean for line, clip in zip(lines, clips, strict=True)]
    return lines


def short_time_level(clip: Sound, sample_rate: int) -> Sound:
    """Return the RMS in 30 ms about each sample."""
    return np.sqrt(np.maximum(uniform_filter1d(clip**2, round(ENVELOPE_S * sample_rate)), 0))


def faintest(levels_dbfs: Sequence[float], shares: Sequence[float | None]) -> float | None:
    """Interpolate the level found with probability 0.9; None where even the loudest is not, or all are."""
    for i in range(1, len(levels_dbfs)):
        above, below = shares[i - 1], shares[i]
        if above is not None and below is not None and above >= 0.9 > below:
            return float(levels_dbfs[i] + (0.9 - below) / (above - below) * (levels_dbfs[i - 1] - levels_dbfs[i]))
    return None


def _one_period(spectrum: NDArray[np.complex128], period: int) -> Sound:
    constant = np.zeros((*spectrum.shape[:-1], 1))
    return np.asarray(np.fft.irfft(np.concatenate([constant, spectrum], -1), period))


def _sign_changing(
    spectrum: NDArray[np.complex128], samples: int, sample_rate: int, period: int, rng: np.random.Generator
) -> Sound:
    """Draw every line's sign anew for each run of samples."""
    most = int(samples / (RUN_S[0] * sample_rate)) + 1
    ends = np.cumsum(np.round(rng.uniform(*RUN_S, most) * sample_rate).astype(int))
    signs = rng.choice([-1.0, 1.0], (most, len(spectrum)))
    n = np.arange(samples)
    return _one_period(spectrum * signs, period)[np.searchsorted(ends, n, side="right"), n % period]


def _mean_level(clips: Sequence[Sound], sample_rate: int) -> float:
    return float(np.mean(np.concatenate([short_time_level(clip, sample_rate) for clip in clips])))


def _values(lines: Sequence[Sequence[ToneLine]], value: Callable[[ToneLine], Any]) -> NDArray[Any]:
    """Return a value of every line, shape ``(trials, harmonics)``."""
    return np.array([[value(line) for line in trial] for trial in lines])


def _found(
    kind: str, lines: Sequence[Sequence[ToneLine]], hz: NDArray[np.float64]
) -> tuple[Share, tuple[float | None, ...], Share]:
    changing = kind == "sign-changing"
    found = _values(lines, lambda line: line.sign_changing_p_value if changing else line.p_value) < 0.001
    detected = _values(lines, lambda line: line.sign_changing if changing else line.detected)
    return share_of(found), _by_band(found, hz), share_of(detected)


def _level(kind: str, level: float, lines: Sequence[Sequence[ToneLine]], hz: NDArray[np.float64]) -> dict[str, Any]:
    changing = kind == "sign-changing"
    measured = _values(lines, lambda line: line.sign_changing_dbfs if changing else line.level_dbfs)
    error_db = measured - level
    close = np.abs(error_db) <= CLOSE_DB
    fields: dict[str, Any] = {
        "error_db": tuple(np.quantile(error_db, (0.025, 0.5, 0.975)).tolist()),
        "close": share_of(close),
    }
    if not changing:
        low, high = np.moveaxis(_values(lines, lambda line: line.interval_dbfs), -1, 0)
        sharp = high - measured <= CLOSE_DB
        fields["sharp"] = share_of(sharp)
        fields["close_where_sharp"] = share_of(close[sharp][None]) if sharp.any() else None
        fields["covered"] = share_of((low <= level) & (level <= high))
        fields["bounded"] = share_of(high >= level)
        fields["bounded_by_band"] = _by_band(high >= level, hz)
    return fields


def _by_band(flags: NDArray[np.bool_], hz: NDArray[np.float64]) -> tuple[float | None, ...]:
    within = [(hz > low) & (hz <= high) for low, high in BANDS_HZ]
    return tuple(float(flags[:, band].mean()) if band.any() else None for band in within)
