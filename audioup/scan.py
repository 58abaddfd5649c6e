"""A blind scan: which period up to 512 samples explains the steady lines of a recording whose strides are unknown?

Every period is a candidate, so every fraction ``k/q`` of the sample rate is tested, some 40,000 of them. What is
called a line survives that many tests (`audioup.steady`); what is called a period explains its lines better than a held
note that is near a fraction by chance (`audioup.periods`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from audioup.checks import check_positive
from audioup.lattice import LONGEST_PERIOD, Lattice, LatticeSums
from audioup.measured import SILENCE, check_piece
from audioup.meter import HIGHEST_HUM_HZ, MAINS_HZ
from audioup.periods import Explanation, explain
from audioup.scan_report import ScanPeriod, ScanReport
from audioup.schedules import PUBLISHED, factorisations
from audioup.slowtime import Real
from audioup.steady import Steady

if TYPE_CHECKING:
    from audioup.measure import Audio

MOST_PIECES = 90  # of a recording, half an hour
LOW = 16  # the first of whose harmonics these have as a rule
COMMON = (*(("mains hum", hz, HIGHEST_HUM_HZ) for hz in MAINS_HZ), ("music tuned to A = 440 Hz", 110, math.inf))
HINTS, LARGEST_STRIDE, MOST_STAGES = 3, 10, 6  # of schedules that are suggested


@dataclass(frozen=True)
class Scanned:
    """What was summed up of one clip, or of several that were added; ``sums`` is None where none is testable."""

    samples: int
    scanned_samples: int
    tested_clips: int
    longest: int
    sums: LatticeSums | None
    left_out: tuple[str, ...]

    def __add__(self, other: "Scanned") -> "Scanned":
        both = [one.sums for one in (self, other) if one.sums is not None]
        return Scanned(
            self.samples + other.samples,
            self.scanned_samples + other.scanned_samples,
            self.tested_clips + other.tested_clips,
            max(self.longest, other.longest),
            reduce(add, both) if both else None,
            self.left_out + other.left_out,
        )


def scan_periods(audio: "Audio | Sequence[Audio]", sample_rate: int) -> ScanReport:
    """Find the period up to 512 samples that explains the steady lines of a recording of unknown strides.

    What a strided generator adds repeats with the product of its strides, or of the last of them, counted from sample
    0. So does whatever else repeats in a whole number of samples: mains hum, loops, tuned tones. Where strides are
    known, `measure_tones` hears more. It is no detector of synthetic speech: generators need not leave lines, and a
    recording may hold some.

    Args:
        audio: One channel of shape ``(T,)`` or ``(1, T)``, floating point, full scale 1; or several such clips, tested
            together for lines common to all, each from its own sample 0.
        sample_rate: In Hz.

    Returns:
        A `ScanReport`. Any line is reported where none is with probability 0.005; a held note of any pitch names a
        period with about 0.01. So a lone line in a short clip names none, unless the period is short. (Notes clipped
        hard or aliased, whose partials fold to many more frequencies, name one more often.) Recordings of fewer than
        12 blocks of about 64 ms and silent or constant ones are "not testable".

    Raises:
        ValueError: If the sample rate is not a positive integer, or for audio that `measure_tones` refuses.

    Source: Thomson, "Spectrum estimation and harmonic analysis" (Proc. IEEE, 1982), section XIII, on slow time.

    Example:
        >>> noise = 0.01 * np.random.default_rng(0).standard_normal(48000)
        >>> scan_periods(noise, 16000).verdict
        'no period up to 512 found, none of its lines above -64.7 dBFS'
        >>> report = scan_periods(noise + 0.005 * np.sin(2 * np.pi * 3 / 8 * np.arange(48000)), 16000)
        >>> report.verdict, report.periods[0].strides
        ('period 8', ((8,), (4, 2), (2, 2, 2)))
    """
    from audioup.measure import one_channel, reader

    scanner = Scanner(sample_rate)
    clips = [one_channel(clip) for clip in (audio if isinstance(audio, Sequence) else [audio])]
    if not clips:
        raise ValueError("audio is empty")
    return scanner.report(reduce(add, [scanner.measure(reader(clip), len(clip))[0] for clip in clips]))


class Scanner:
    """Sums up recordings at the frequencies of all periods, and reports which periods they show.

    Args:
        sample_rate: In Hz.

    Raises:
        ValueError: If the sample rate is not a positive integer.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = int(sample_rate) if isinstance(sample_rate, np.integer) else sample_rate
        check_positive("sample_rate", self.sample_rate)
        self.lattice = Lattice(self.sample_rate)

    def to_read(self, samples: int) -> int:
        """Return how many of so many samples are listened to."""
        return sum(stop - start for start, stop in self.lattice.pieces(samples, MOST_PIECES))

    def measure(self, read: Callable[[int, int], Real], samples: int) -> list[Scanned]:
        """Sum up one recording, channel by channel; arguments and errors are those of `Meter.measure`."""
        if samples == 0:
            raise ValueError("audio is empty")
        channels: list[_Channel] = []
        for start, stop in self.lattice.pieces(samples, MOST_PIECES):
            piece = read(start, stop)
            check_piece(piece, start)
            channels = channels or [_Channel(self.lattice, samples) for _ in range(piece.shape[1])]
            for channel, sound in zip(channels, piece.T, strict=True):
                channel.add(np.ascontiguousarray(sound), start)
        return [channel.scanned() for channel in channels]

    def report(self, scanned: Scanned) -> ScanReport:
        """Find lines, and the periods that explain them."""
        report = ScanReport(
            sample_rate=self.sample_rate,
            duration_s=scanned.samples / self.sample_rate,
            scanned_s=scanned.scanned_samples / self.sample_rate,
            clips=scanned.tested_clips,
            longest_period=LONGEST_PERIOD,
            frequencies=self.lattice.fractions,
            periods=(),
            apart=(),
            bound_dbfs=None,
            decoy_rate=None,
            verdict="",
            notes=(),
        )
        if scanned.sums is None:
            return replace(report, verdict=f"not testable: {scanned.left_out[0]}")
        steady = Steady(self.lattice, scanned.sums, scanned.longest)
        found = steady.found()
        lines = [i for i in found if i < self.lattice.fractions]
        locked = [i for i in lines if steady.locked(i)]
        told = [one for one in explain([steady.exact(i) for i in locked], len(found) - len(locked)) if one.told]
        held = {locked[i] for one in told for i in one.lines}
        periods = tuple(self._period(one, steady) for one in told)
        bound_dbfs = steady.bound_dbfs()
        return replace(
            report,
            periods=periods,
            apart=tuple(steady.line(i) for i in lines if i not in held),
            bound_dbfs=bound_dbfs,
            decoy_rate=steady.decoy_rate(),
            verdict=_verdict(periods, len(found), bound_dbfs),
            notes=tuple(self._notes(scanned, periods, len(found) - len(lines))),
        )

    def _period(self, explanation: Explanation, steady: Steady) -> ScanPeriod:
        period = explanation.period
        return ScanPeriod(
            samples=period,
            frequency_hz=self.sample_rate / period,
            lines=tuple(steady.line(i) for i in steady.harmonics(period)),
            harmonics=period // 2,
            chance=explanation.chance,
            strides=_schedules(period),
        )

    def _notes(self, scanned: Scanned, periods: Sequence[ScanPeriod], foreign: int) -> Iterator[str]:
        if scanned.scanned_samples < scanned.samples:
            yield f"long: {scanned.scanned_samples / self.sample_rate:.0f} s of it, spread evenly, were scanned"
        if foreign:
            yield f"{foreign} steady tone{'s' * (foreign > 1)} more, of no period up to {LONGEST_PERIOD}"
        together = math.lcm(*(period.samples for period in periods))
        if len(periods) > 1 and together > LONGEST_PERIOD:
            yield f"together they repeat every {together} samples: one longer period may be all there is"
        for period in periods:
            hz = [line.frequency_hz for line in period.lines]
            for what, spacing, highest in COMMON:
                there = hz[0] <= LOW * spacing and hz[-1] <= highest
                if there and all(abs(f - spacing * round(f / spacing)) < 0.1 for f in hz):
                    yield f"period {period.samples}: all lines on multiples of {spacing} Hz, and {what} has them too"
        if periods:
            yield "a period is no proof of upsampling: hum, loops and tuned tones may repeat in whole samples too"
        if scanned.left_out:
            yield f"{len(scanned.left_out)} clip{'s' * (len(scanned.left_out) > 1)} left out: {scanned.left_out[0]}"


class _Channel:
    """One channel of a recording of so many samples while it is read."""

    def __init__(self, lattice: Lattice, samples: int) -> None:
        self.lattice, self.samples = lattice, samples
        self.too_short = lattice.too_short(samples)
        self.lowest, self.highest = math.inf, -math.inf
        self.read = 0
        self.sums: LatticeSums | None = None

    def add(self, sound: Real, start: int) -> None:
        """Take the next piece, of shape ``(T,)``, whose first sample is number ``start``."""
        self.lowest, self.highest = min(self.lowest, sound.min()), max(self.highest, sound.max())
        self.read += len(sound)
        if self.too_short is None:
            sums = self.lattice.sums(sound, start)
            self.sums = sums if self.sums is None else self.sums + sums

    def scanned(self) -> Scanned:
        """Return the sums, or why there are none."""
        why = self.too_short
        if self.highest - self.lowest < SILENCE:
            why = "digital silence" if abs(self.lowest) < SILENCE else "a constant signal"
        if why is None:
            return Scanned(self.samples, self.read, 1, self.samples, self.sums, ())
        return Scanned(self.samples, self.read, 0, 0, None, (why,))


def _verdict(periods: Sequence[ScanPeriod], tones: int, bound_dbfs: float) -> str:
    if periods:
        return f"period{'s' * (len(periods) > 1)} {' and '.join(str(period.samples) for period in periods)}"
    if tones:
        return "steady tones of no period that can be told"
    return f"no period up to {LONGEST_PERIOD} found, none of its lines above {math.ceil(bound_dbfs * 10) / 10:.1f} dBFS"


def _schedules(period: int) -> tuple[tuple[int, ...], ...]:
    published = (one.strides for one in PUBLISHED if math.prod(one.strides) == period)
    ways = sorted(factorisations(period, LARGEST_STRIDE, MOST_STAGES), key=len)
    return tuple(islice(dict.fromkeys((*published, *ways)), HINTS))
