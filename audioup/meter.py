"""Measures sound piece by piece and reports on its stride tones; `audioup.measure` is the door.

All that a recording leaves behind are sums, so recordings of any length and number fit into memory and can be tested
together.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from audioup.blocks import FAINTEST_DBFS, SHALLOWEST_DB, Blocks, PeriodSums
from audioup.checks import check_positive
from audioup.discoveries import benjamini_hochberg
from audioup.measured import Channel, Measured, check_piece
from audioup.slowtime import HALF_BANDWIDTH_HZ, ConstantSums, LineFit, Real
from audioup.tone_report import ImageLine, ToneLine, ToneReport

FALSE_DISCOVERIES = 0.01  # Benjamini-Hochberg level of what is called detected
OFTEN, FEW_DECOYS = 0.05, 32  # a share of decoys that is no chance, where there are enough of them
MAINS_HZ, HIGHEST_HUM_HZ = (50, 60), 3000
SMALLEST_DBFS = -200.0  # levels below are reported as this
LONGEST_PERIOD = 2**20  # samples: no generator has frames of a minute
DECOY_PIECES = 15  # of a recording, five minutes: a rate needs no more


class Meter:
    """Sums up recordings for the tests of one product of strides, and reports on the sums.

    Args:
        sample_rate: In Hz.
        strides: Upsampling factors from input to output.

    Raises:
        ValueError: If the sample rate or a stride is not a positive integer or the product of strides is 1.
    """

    def __init__(self, sample_rate: int, strides: Sequence[int]) -> None:
        # NumPy's integers are taken for Python's; everything else has to be one.
        self.sample_rate, *rest = (int(n) if isinstance(n, np.integer) else n for n in (sample_rate, *strides))
        check_positive("sample_rate", self.sample_rate)
        self.strides = tuple(rest)
        for stride in self.strides:
            check_positive("every stride", stride)
        self.period = math.prod(self.strides)
        if not 2 <= self.period <= LONGEST_PERIOD:
            raise ValueError(f"the product of strides must be from 2 to {LONGEST_PERIOD}, got strides {self.strides}")
        self.blocks = Blocks(self.sample_rate, self.period, self.strides)
        self.decoys = [Blocks(self.sample_rate, q) for q in islice(_unrelated(self.period), 4)]

    def check_length(self, samples: int) -> None:
        """Raise `ValueError` where so few samples do not even hold one period."""
        if self.period > samples:
            raise ValueError(f"the product of strides, {self.period}, exceeds the audio's {samples} samples")

    def measure(self, read: Callable[[int, int], Real], samples: int) -> list[Measured]:
        """Sum up one recording, channel by channel.

        Args:
            read: Returns samples ``start`` to ``stop`` of all channels, float64, shape ``(stop - start, channels)``;
                called once for each piece of at most about 20 s, in order.
            samples: Length of the recording.

        Raises:
            ValueError: If the sound is empty, holds NaN or infinity or goes beyond 1000 times full scale.
        """
        if samples == 0:
            raise ValueError("audio is empty")
        channels: list[Channel] = []
        pieces = self.blocks.pieces(samples)
        for index, (start, stop) in enumerate(pieces):
            piece = read(start, stop)
            check_piece(piece, start)
            channels = channels or [Channel(self.blocks, self.decoys) for _ in range(piece.shape[1])]
            for channel, sound in zip(channels, piece.T, strict=True):
                channel.add(np.ascontiguousarray(sound), start, decoys=index % -(-len(pieces) // DECOY_PIECES) == 0)
        return [channel.measured() for channel in channels]

    def report(self, measured: Measured, reference: ToneReport | None = None) -> ToneReport:
        """Test for lines and describe them; ``reference`` is the report of a recording to compare with."""
        share = measured.clipped / measured.samples
        notes = [f"{share:.2%} of the samples are at full scale: clipping makes and masks lines"] * (share > 1e-4)
        lines: list[ToneLine] = []
        images: tuple[ImageLine, ...] = ()
        rates: tuple[float | None, float | None, float | None] = (None, None, None)
        if measured.period is None:
            verdict = f"not testable: {measured.left_out[0]}"
        else:
            lines, images = self._lines(measured, measured.period), self._images(measured.period)
            if reference is not None and reference.lines:
                lines = [_compared(line, other) for line, other in zip(lines, reference.lines, strict=True)]
            elif reference is not None:
                notes.append(f"the reference is {reference.verdict}")
            rates, verdict = self._decoy_rates(measured), _verdict(lines, reference)
            notes += _hum(lines)
            if measured.left_out:
                notes.append(f"{len(measured.left_out)} clips left out: {measured.left_out[0]}")
            if any(rate is not None and rate > OFTEN for rate in rates) and self.period >= FEW_DECOYS:
                notes.append(
                    "decoys are flagged often: the sound holds steady tones of its own, or clips of the same content; "
                    "lines may be among them"
                )
        duration_s = measured.samples / self.sample_rate
        return ToneReport(
            self.sample_rate,
            duration_s,
            measured.tested_clips,
            self.strides,
            tuple(lines),
            images,
            *rates,
            verdict,
            tuple(notes),
            reference,
        )

    def _lines(self, measured: Measured, sums: PeriodSums) -> list[ToneLine]:
        blocks, period = self.blocks, self.period
        steady, squares, modulation = blocks.lines(sums), blocks.squares(sums), blocks.modulation(sums)
        rms = math.sqrt(measured.energy / measured.tested_samples)
        # From two-sided to the sine's amplitude; of squares and of power it is the amplitude that is doubled.
        level, radius = blocks.amplitude * steady.level, blocks.amplitude * steady.radius
        any_sign, depth = blocks.amplitude * np.sqrt(squares.level), blocks.amplitude * modulation.level
        floor = blocks.floor(sums)
        found, found_any_sign, found_depth = (_discoveries(fit) for fit in (steady, squares, modulation))
        lines = []
        for i in range(len(level)):
            k = i + 1
            line_rms = level[i] / (1 if 2 * k == period else math.sqrt(2))
            lines.append(
                ToneLine(
                    frequency_hz=k * self.sample_rate / period,
                    stages=self._stages(k),
                    level_dbfs=_db(level[i]),
                    level_db=_db(line_rms / rms),
                    interval_dbfs=(_db(level[i] - radius[i]), _db(level[i] + radius[i])),
                    floor_dbfs=_db(floor[i]),
                    p_value=float(steady.p_value[i]),
                    detected=bool(found[i]) and _db(level[i]) >= FAINTEST_DBFS,
                    beyond_reference=None,
                    sign_changing_dbfs=_db(any_sign[i]),
                    sign_changing_p_value=float(squares.p_value[i]),
                    sign_changing=bool(found_any_sign[i]) and _db(any_sign[i]) >= FAINTEST_DBFS,
                    modulation_db=_db(depth[i]),
                    modulation_p_value=float(modulation.p_value[i]),
                    modulated=bool(found_depth[i]) and _db(depth[i]) >= SHALLOWEST_DB,
                )
            )
        return lines

    def _stages(self, k: int) -> tuple[int, ...]:
        """Stages that make a line at harmonic ``k`` of the period, the latest first."""
        late_first = reversed(range(len(self.strides)))
        return tuple(
            n for n in late_first if self.strides[n] > 1 and k * math.prod(self.strides[n:]) % self.period == 0
        )

    def _images(self, sums: PeriodSums) -> tuple[ImageLine, ...]:
        bin_hz = self.sample_rate / self.blocks.length
        rows = self.blocks.pairs.rows
        fits = [_coherence(sums.images, row.columns) for row in rows]
        decoys = [_coherence(sums.decoy_images, row.columns) for row in rows]
        detected = benjamini_hochberg(np.array([p_value for _, p_value in fits]), FALSE_DISCOVERIES)
        images = []
        for row, fit, decoy, found in zip(rows, fits, decoys, detected, strict=True):
            source_hz, band_hz = ((bin_hz * first, bin_hz * last) for first, last in (row.source, row.image))
            # Held notes relate any band to any other: where the decoy does so too, an image is no news.
            news = bool(found) and decoy[1] >= FALSE_DISCOVERIES
            images.append(ImageLine(row.stage, source_hz, band_hz, *fit, news, *decoy))
        return tuple(images)

    def _decoy_rates(self, measured: Measured) -> tuple[float | None, float | None, float | None]:
        """Shares flagged of the tests for lines, for lines of any sign and for modulation."""
        flagged: list[list[bool]] = [[], [], []]
        for blocks, sums in zip(self.decoys, measured.decoys, strict=True):
            if sums is None:
                continue
            frequency = blocks.harmonics / blocks.period
            distance_hz = np.abs(frequency - np.round(frequency * self.period) / self.period) * self.sample_rate
            distinct = distance_hz > 2 * HALF_BANDWIDTH_HZ
            for of_test, fit in zip(flagged, (blocks.lines, blocks.squares, blocks.modulation), strict=True):
                of_test.extend((fit(sums).p_value < 0.01)[distinct])
        lines, squares, modulation = (float(np.mean(of_test)) if of_test else None for of_test in flagged)
        return lines, squares, modulation


def _unrelated(period: int) -> Iterator[int]:
    """Yield periods from 3 on that share no harmonic with this one, but by near coincidence, the nearest first."""
    for distance in count(1):
        for q in (period - distance, period + distance):
            if q >= 3 and math.gcd(q, period) == 1:
                yield q


def _compared(line: ToneLine, other: ToneLine) -> ToneLine:
    """Say whether a line is beyond the reference's; a reference too loud or too short to tell does not acquit it."""
    beyond = line.interval_dbfs[0] > other.interval_dbfs[1]
    decided = not line.detected or beyond or other.detected
    return replace(line, beyond_reference=line.detected and beyond if decided else None)


def _verdict(lines: Sequence[ToneLine], reference: ToneReport | None) -> str:
    held = {line.frequency_hz for line in reference.lines if line.sign_changing} if reference else set()
    found = [line for line in lines if line.detected]
    if any(line.beyond_reference is not False for line in found):
        return "tones"
    changing = [line for line in lines if line.sign_changing and not line.detected]
    if any(line.frequency_hz not in held for line in changing):
        return "tones that change sign"
    if found or changing:
        return "tones, none beyond the reference"
    highest = max(line.interval_dbfs[1] for line in lines)
    return f"clean below {math.ceil(highest * 10) / 10:.1f} dBFS"


def _hum(lines: Sequence[ToneLine]) -> list[str]:
    found = [line.frequency_hz for line in lines if line.detected]
    if len(found) < 3 or max(found) > HIGHEST_HUM_HZ:
        return []
    mains = [hz for hz in MAINS_HZ if all(abs(f - hz * round(f / hz)) < 0.1 for f in found)]
    return [f"all tones lie on multiples of {hz} Hz: mains hum has them too, and decoys do not show it" for hz in mains]


def _coherence(sums: ConstantSums, columns: slice) -> tuple[float, float]:
    """Coherence of a band, and the probability of as much by chance: one F test over all its pairs."""
    from scipy.special import fdtrc

    explained, rest = (values[columns] for values in sums.explained())
    pairs, freedom = len(explained), sums.tapers - 1
    squared = (explained - rest / freedom) / sums.uu  # what chance explains is taken off
    p_value = fdtrc(2 * pairs, 2 * pairs * freedom, freedom * explained.sum() / rest.sum())
    return math.sqrt(max(0.0, float(squared.mean()))), float(p_value)


def _discoveries(fit: LineFit) -> NDArray[np.bool_]:
    # What stands in the next bin is no discovery, and must not make room for others.
    return benjamini_hochberg(np.where(fit.here, fit.p_value, 1.0), FALSE_DISCOVERIES)


def _db(amplitude: float) -> float:
    return max(SMALLEST_DBFS, 20 * math.log10(amplitude)) if amplitude > 0 else SMALLEST_DBFS
