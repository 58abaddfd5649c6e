"""Size: how often the tests flag sounds that hold no stride tones, at periods that nothing was made with.

Harmonics of different periods can all but coincide. One within 4 Hz of one that is counted already asks the same
question again, so it is left out; so is an image about a rate that was looked at.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audioup.measured import Measured
from audioup.meter import Meter
from audioup.pairing import Row
from audioup.slowtime import Real
from audioup.tone_report import ToneReport
from calibration.shares import Share, share_of
from calibration.sounds import Sound

PERIODS = (
    *(3, 4, 5, 7, 8, 11, 13, 16, 17, 19, 23, 29, 31, 32, 37, 41, 47, 53, 61, 64, 71, 83, 97, 113, 128, 131, 151),
    *(179, 211, 251, 256, 307, 359, 421, 509, 512),
)
TESTS = ("lines", "squares", "modulation", "images")
LEAST_S = 2.0
DISTINCT_HZ = 4.0  # clips of 2 s tell no finer: the tapers' half-bandwidth is 2 Hz on either side
OUTSTANDING = 0.25  # of the clips
FEW_CLIPS = 8  # of fewer a quarter says nothing


@dataclass(frozen=True)
class Shares:
    """What one test flags.

    Attributes:
        at_01: Share with p < 0.01.
        at_001: Share with p < 0.001.
        detected: Share called detected, changing sign or modulated.
    """

    at_01: Share
    at_001: Share
    detected: Share


@dataclass(frozen=True)
class Outstanding:
    """A harmonic, or the rate an image lies about, that a quarter of the clips are flagged at: theirs, not the test's.

    Attributes:
        hz: Where.
        flagged: Share of clips with p < 0.001.
    """

    hz: float
    flagged: float


@dataclass(frozen=True)
class Size:
    """False alarms of one test on one sound.

    Attributes:
        sound: Which.
        test: One of `TESTS`.
        clips: How many.
        single: Of clips tested one by one.
        together: Of all clips tested as one.
        together_hz: Where all clips tested as one have p < 0.001.
        outstanding: What is flagged in clip after clip.
        typical: As ``single``, without those.
        decoys_at_01: Of images: the share of pairs of bands that no stride relates with p < 0.01, clip by clip.
    """

    sound: str
    test: str
    clips: int
    single: Shares
    together: Shares
    together_hz: tuple[float, ...]
    outstanding: tuple[Outstanding, ...]
    typical: Shares
    decoys_at_01: Share | None


def quiet_meter(sample_rate: int, strides: Sequence[int]) -> Meter:
    """Return a meter without decoys: what is counted here makes its own comparisons, in a fifth of the time."""
    meter = Meter(sample_rate, strides)
    meter.decoys = []
    return meter


def measure_clip(meter: Meter, clip: Sound) -> Measured:
    """Sum up one clip."""

    def read(start: int, stop: int) -> Real:
        return clip[start:stop, None]

    return meter.measure(read, len(clip))[0]


@dataclass(frozen=True)
class Questions:
    """The meters of all periods, and which of their lines and images are counted."""

    sample_rate: int

    @cached_property
    def meters(self) -> list[Meter]:
        """One for each period; its strides are the prime factors, so that every image a stage can leave is tried."""
        return [quiet_meter(self.sample_rate, _prime_factors(period)) for period in PERIODS]

    @cached_property
    def lines(self) -> list[NDArray[np.bool_]]:
        """Which harmonics of each period are counted."""
        counted = np.array([np.inf])
        distinct = []
        for meter in self.meters:
            hz = meter.blocks.harmonics * self.sample_rate / meter.period
            distinct.append(np.abs(hz[:, None] - counted).min(1) > DISTINCT_HZ)
            counted = np.concatenate([counted, hz[distinct[-1]]])
        return distinct

    @cached_property
    def images(self) -> list[list[bool]]:
        """Which image bands of each period are counted."""
        seen: set[tuple[int, bool]] = set()
        distinct = []
        for meter in self.meters:
            about = [_image_about(meter, row) for row in meter.blocks.pairs.rows]
            distinct.append([which not in seen for which in about])
            seen |= set(about)
        return distinct

    def long_enough(self, clip: Sound) -> bool:
        """Say whether every period can be tested, and finely enough."""
        return len(clip) >= LEAST_S * self.sample_rate and all(not m.blocks.too_short(len(clip)) for m in self.meters)


class Answers(NamedTuple):
    """What one test says of one clip, a value for each question."""

    p_value: list[float]
    detected: list[bool]
    hz: list[float]


def answers(report: ToneReport, lines: NDArray[np.bool_], images: Sequence[bool]) -> dict[str, Answers]:
    """Return what a report answers to the questions that count, by test."""
    of = {test: Answers([], [], []) for test in (*TESTS, "decoys")}

    def answer(test: str, p_value: float, detected: bool, hz: float) -> None:
        of[test].p_value.append(p_value)
        of[test].detected.append(detected)
        of[test].hz.append(hz)

    for line in (line for line, counted in zip(report.lines, lines, strict=True) if counted):
        answer("lines", line.p_value, line.detected, line.frequency_hz)
        if line.frequency_hz < report.sample_rate / 2:  # where all squares are positive there is no test
            answer("squares", line.sign_changing_p_value, line.sign_changing, line.frequency_hz)
        answer("modulation", line.modulation_p_value, line.modulated, line.frequency_hz)
    for image in (image for image, counted in zip(report.images, images, strict=True) if counted):
        rate_hz = report.sample_rate / math.prod(report.strides[image.stage :])
        answer("images", image.p_value, image.detected, rate_hz)
        answer("decoys", image.decoy_p_value, False, rate_hz)
    return of


def measure_size(sound: str, clips: Sequence[Sound], questions: Questions) -> Iterator[Size | None]:
    """Test clips one by one and together: None after each period of each clip, and at last one row for each test."""
    single: list[list[dict[str, Answers]]] = [[] for _ in clips]
    together: list[dict[str, Answers]] = []
    for meter, lines, images in zip(questions.meters, questions.lines, questions.images, strict=True):
        measured: list[Measured] = []
        for clip, said in zip(clips, single, strict=True):
            measured.append(measure_clip(meter, clip))
            said.append(answers(meter.report(measured[-1]), lines, images))
            yield None
        together.append(answers(meter.report(reduce(add, measured)), lines, images))
    for test in TESTS:
        p_value, detected, hz = _table(single, test)
        if p_value.size == 0:  # of primes alone: their blocks are too short to tell a bin from its image
            continue
        often = np.mean(p_value < 0.001, axis=0)
        p_together, detected_together, _ = _table([together], test)
        standing_out = (often >= OUTSTANDING) & (len(clips) >= FEW_CLIPS)
        yield Size(
            sound,
            test,
            len(clips),
            _shares(p_value, detected),
            _shares(p_together, detected_together),
            tuple(sorted(hz[0, p_together[0] < 0.001].tolist())),
            tuple(Outstanding(float(hz[0, i]), float(often[i])) for i in np.flatnonzero(standing_out)),
            _shares(p_value[:, ~standing_out], detected[:, ~standing_out]),
            share_of(_table(single, "decoys")[0] < 0.01) if test == "images" else None,
        )


def _image_about(meter: Meter, row: Row) -> tuple[int, bool]:
    """Return the product of the strides from this stage on, and whether the image lies below that rate: mirrored."""
    product = math.prod(meter.strides[row.stage :])
    return product, row.image[0] * product < meter.blocks.length


def _table(said: Sequence[Sequence[dict[str, Answers]]], test: str) -> list[NDArray[Any]]:
    """Return p-values, detections and frequencies of all clips, each of shape ``(clips, questions)``."""
    return [np.array([[x for of in clip for x in of[test][i]] for clip in said]) for i in range(len(Answers._fields))]


def _shares(p_value: NDArray[Any], detected: NDArray[Any]) -> Shares:
    return Shares(share_of(p_value < 0.01), share_of(p_value < 0.001), share_of(detected))


def _prime_factors(number: int) -> tuple[int, ...]:
    for factor in range(2, number):
        if number % factor == 0:
            return (factor, *_prime_factors(number // factor))
    return (number,)
