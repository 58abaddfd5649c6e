"""Measuring piece by piece: what is read, what adds up, and the reference beside."""

from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
from sounds import RATE, line_at, sine, white

from audioup import measure_tones
from audioup.meter import Meter


def reader(x, log=None):
    def read(start, stop):
        if log is not None:
            log.append((start, stop))
        return x[start:stop]

    return read


def test_a_long_recording_is_read_once_in_order_in_pieces():
    x, log = white(70)[:, None], []
    (measured,) = Meter(RATE, (8, 8, 4)).measure(reader(x, log), len(x))
    assert log[0][0] == 0
    assert log[-1][1] == len(x)
    assert all(a[1] == b[0] for a, b in pairwise(log))
    assert len(log) == 4
    assert measured.samples == len(x)


def test_channels_are_measured_as_if_alone():
    x = np.stack([white(25, seed=1), white(25, seed=2) + sine(2000, 0.01, 25 * RATE)], axis=1)
    meter = Meter(RATE, (8,))
    for channel, measured in enumerate(meter.measure(reader(x), len(x))):
        assert meter.report(measured) == measure_tones(x[:, channel], RATE, (8,))


def test_clips_add_up_to_what_they_are_together():
    clips = [white(2, seed=1), white(21, seed=2), np.zeros(RATE), white(1.5, seed=3) + sine(2000, 0.02, 3 * RATE // 2)]
    meter = Meter(RATE, (8,))
    measured = [meter.measure(reader(clip[:, None]), len(clip))[0] for clip in clips]
    assert meter.report(reduce(add, measured)) == measure_tones(clips, RATE, (8,))


def test_decoys_of_a_long_recording_take_five_minutes_of_it():
    meter = Meter(1000, (8,))
    x = white(1500, rate=1000)[:, None]
    (measured,) = meter.measure(reader(x), len(x))
    assert measured.period.lines.blocks == len(x) // meter.blocks.length
    assert 250 * 1000 <= measured.decoys[0].lines.blocks * meter.decoys[0].length <= 350 * 1000


def test_nan_is_named_by_its_place_in_the_recording():
    x = white(50)
    x[45 * RATE] = np.nan
    with pytest.raises(ValueError, match=f"NaN or infinity, first at sample {45 * RATE}"):
        measure_tones(x, RATE, (8,))


# --- a reference beside ---


def speech_and_tone(level, seed=0):
    return white(6, 0.01, seed) + sine(2000, level, 6 * RATE) + sine(4000, 0.01, 6 * RATE)


def test_a_line_of_the_reference_is_told_from_one_beyond_it():
    reference = speech_and_tone(0, seed=1)
    report = measure_tones(speech_and_tone(0.003), RATE, (8,), reference=reference)
    assert report.verdict == "tones"
    assert line_at(report, 2000).beyond_reference is True
    assert line_at(report, 4000).detected
    assert line_at(report, 4000).beyond_reference is False
    assert report.reference == measure_tones(reference, RATE, (8,))
    assert "detected, beyond the reference" in str(report)
    assert f"reference, 6.00 s at {RATE} Hz, strides 8: tones" in str(report)


def test_lines_that_the_reference_holds_too_are_the_verdict():
    report = measure_tones(speech_and_tone(0), RATE, (8,), reference=[speech_and_tone(0, 1), speech_and_tone(0, 2)])
    assert report.verdict == "tones, none beyond the reference"
    assert report.reference.clips == 2


def test_without_a_reference_nothing_is_said_about_it():
    report = measure_tones(speech_and_tone(0.003), RATE, (8,))
    assert report.reference is None
    assert {line.beyond_reference for line in report.lines} == {None}


def test_a_reference_that_cannot_be_tested_is_named():
    report = measure_tones(speech_and_tone(0.003), RATE, (8,), reference=np.zeros(RATE))
    assert report.verdict == "tones"
    assert line_at(report, 2000).beyond_reference is None
    assert report.notes == ("the reference is not testable: digital silence",)
    silent = measure_tones(np.zeros(RATE), RATE, (8,), reference=speech_and_tone(0))
    assert silent.verdict == "not testable: digital silence"


def test_a_reference_too_loud_to_tell_acquits_nobody():
    x = white(20, 0.01) + sine(2000, 10 ** (-45 / 20), 20 * RATE)
    report = measure_tones(x, RATE, (8, 8, 4), reference=white(1, 0.3))
    assert line_at(report, 2000).detected
    assert line_at(report, 2000).beyond_reference is None
    assert report.verdict == "tones"


def test_lines_that_change_sign_are_compared_too():
    signs = np.repeat(np.random.default_rng(0).choice([-1.0, 1.0], size=60), RATE // 10)
    changing = signs * sine(2000, 0.01, 6 * RATE)
    one, other = white(6, 0.01, 1) + changing, white(6, 0.01, 2) + changing
    assert measure_tones(one, RATE, (8,)).verdict == "tones that change sign"
    assert measure_tones(one, RATE, (8,), reference=other).verdict == "tones, none beyond the reference"
    steady = [white(6, 0.01, seed) + sine(4000, 0.01, 6 * RATE) for seed in (3, 4)]
    assert measure_tones(steady[0] + changing, RATE, (8,), reference=steady[1]).verdict == "tones that change sign"


# --- what is no stride tone ---


def test_tones_one_bin_off_make_no_room_for_false_ones():
    n, false = np.arange(6 * RATE), 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        beside = sum(np.sin(2 * np.pi * (62.5 * k + 15.625) * n / RATE + rng.uniform(0, 6)) for k in range(1, 100))
        report = measure_tones(0.02 * rng.standard_normal(len(n)) + 0.003 * beside, RATE, (8, 8, 4))
        false += any(line.detected for line in report.lines)
    assert false <= 1


def test_mains_hum_on_the_harmonics_is_named():
    rng, n = np.random.default_rng(0), np.arange(10 * 48000)
    hum = sum(0.02 / k * np.sin(2 * np.pi * 50 * k * n / 48000 + rng.uniform(0, 6)) for k in range(1, 30))
    report = measure_tones(hum + 0.003 * rng.standard_normal(len(n)), 48000, (8, 8, 5))
    assert report.verdict == "tones"  # it cannot be told apart, so it is said
    assert "all tones lie on multiples of 50 Hz: mains hum has them too, and decoys do not show it" in report.notes
