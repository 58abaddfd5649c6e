"""The blind scan: periods found without knowing strides, and how seldom where none is."""

import json
import math
import time
import tracemalloc

import numpy as np
import pytest
import torch
from sounds import RATE, dbfs, locked, sine, white

from audioup.scan import Scanner, scan_periods
from audioup.steady import Steady


def scan(sound, scanner):
    return scanner.report(scanner.measure(lambda a, b: sound[a:b, None], len(sound))[0])


@pytest.fixture(scope="module")
def scanner():
    return Scanner(RATE)


def named(report):
    return [period.samples for period in report.periods]


# --- periods ---


@pytest.mark.parametrize(
    ("period", "harmonics"),
    [
        (2, (1,)),
        (4, (1,)),
        (8, (1, 2, 3)),
        (64, (5, 7)),
        (256, (3, 77, 128)),
        (300, (7, 31, 77)),
        (509, (100, 200, 251)),
    ],
)
def test_planted_periods_are_found(period, harmonics, scanner):
    report = scan(white(4, 0.01) + locked(period, harmonics, 4 * RATE), scanner)
    assert named(report) == [period]
    assert report.verdict == f"period {period}"
    (found,) = report.periods
    expected = {k * RATE / period for k in harmonics}
    assert expected <= {round(line.frequency_hz, 9) for line in found.lines} | expected
    strongest = sorted(found.lines, key=lambda line: -line.level_dbfs)[: len(harmonics)]
    assert {round(line.frequency_hz, 6) for line in strongest} == {round(hz, 6) for hz in expected}
    assert all(line.family_p <= 0.005 for line in strongest)


def test_a_lone_line_names_a_long_period_only_after_a_long_time(scanner):
    short, long = (scan(white(s, 0.01) + locked(441, (100,), s * RATE), scanner) for s in (4, 40))
    assert named(short) == []
    assert short.verdict == "steady tones of no period that can be told"
    assert [(line.numerator, line.denominator) for line in short.apart] == [(100, 441)]
    assert named(long) == [441]
    assert long.periods[0].strides == ((9, 7, 7), (7, 7, 3, 3))


def test_a_held_note_does_not_stretch_the_period(scanner):
    sound = white(4, 0.01) + locked(8, (1, 2, 3), 4 * RATE) + locked(509, (101,), 4 * RATE, seed=1)
    report = scan(sound, scanner)
    assert named(report) == [8]
    assert [(line.numerator, line.denominator) for line in report.apart] == [(101, 509)]


def test_two_periods_are_told_apart(scanner):
    sound = white(4, 0.01) + locked(64, (3, 5, 7, 31), 4 * RATE) + locked(300, (7, 31, 77), 4 * RATE, seed=1)
    assert sorted(named(scan(sound, scanner))) == [64, 300]


def test_a_tone_beside_a_fraction_is_none(scanner):
    # 0.02 Hz off: near enough for the test, whose phase then drifts by a third of a turn in 16 s.
    report = scan(white(16, 0.01) + sine(2000.02, 0.003, 16 * RATE), scanner)
    assert named(report) == []
    (line,) = report.apart
    assert (line.frequency_hz, line.locked) == (2000, False)
    assert line.offset_hz == pytest.approx(0.02, abs=0.004)


def test_tones_a_whole_number_of_bins_away_are_no_lines(scanner):
    # Blocks of 1024 samples that started evenly would see this tone stand still at 2000 Hz + 15.625 k, too.
    report = scan(white(4, 1e-4) + sine(2000, 0.3, 4 * RATE), scanner)
    assert named(report) == [8]
    assert [line.frequency_hz for line in report.periods[0].lines] == [2000]
    assert report.apart == ()


def test_clips_together_show_what_none_shows_alone():
    clips = [white(2, 0.01, seed=seed) + locked(8, (1, 3), 2 * RATE, 0.0004) for seed in range(12)]
    assert sum(bool(named(scan_periods(clip, RATE))) for clip in clips) <= 4
    together = scan_periods(clips, RATE)
    assert (named(together), together.clips, together.duration_s) == ([8], 12, 24)


def test_hum_and_concert_pitch_are_mentioned(scanner):
    hum = scan(white(8, 0.001) + sum(sine(hz, 0.01, 8 * RATE) for hz in (50, 100, 150)), scanner)
    assert named(hum) == [320]
    assert any("multiples of 50 Hz, and mains hum has them too" in note for note in hum.notes)
    pitch = scan(white(8, 0.001) + sum(sine(440 * n, 0.03 / n, 8 * RATE) for n in range(1, 9)), scanner)
    assert named(pitch) == [400]
    assert any("A = 440 Hz" in note for note in pitch.notes)


# --- how seldom ---


def test_noise_has_a_period_about_as_seldom_as_promised(scanner):
    reports = [scan(white(1.5, seed=seed), scanner) for seed in range(40)]
    assert sum(bool(report.periods or report.apart) for report in reports) <= 2
    assert np.mean([report.decoy_rate for report in reports]) == pytest.approx(0.01, abs=0.0015)
    for report in reports:
        assert report.verdict.startswith(("no period up to 512 found, none of its lines above -", "period", "steady"))


def test_p_values_are_uniform_to_far_below_one_in_a_thousand(scanner):
    steady = []
    for seed in range(30):
        sound = white(3, seed=seed)
        steady.append(Steady(scanner.lattice, scanner.lattice.sums(sound, 0), len(sound)).p_value)
    p_value = np.stack(steady)
    for level, tolerance in ((0.1, 0.1), (0.01, 0.15), (1e-3, 0.25), (1e-4, 0.6)):
        assert np.mean(p_value < level) == pytest.approx(level, rel=tolerance)


def test_held_notes_seldom_name_a_period(scanner):
    rng, found = np.random.default_rng(0), 0
    for seed in range(30):
        hz, n = rng.uniform(100, 900), np.arange(1, 8)
        sound = white(2, 1e-3, seed) + sum(sine(i * hz, 0.1 / i, 2 * RATE, rng.uniform(0, 6)) for i in n)
        found += bool(named(scan(sound, scanner)))
    assert found <= 1


def test_the_bound_is_above_every_line_that_is_there(scanner):
    for amplitude in (1e-3, 3e-4, 1e-4):
        report = scan(white(3, 0.05) + locked(256, range(1, 128), 3 * RATE, amplitude), scanner)
        assert report.bound_dbfs > dbfs(amplitude)


# --- input ---


def test_tensors_arrays_and_lists_are_the_same():
    sound = (white(2) + locked(8, (1,), 2 * RATE, 0.01)).astype(np.float32)
    report = scan_periods(sound, RATE)
    assert named(report) == [8]
    for same in (torch.from_numpy(sound), torch.from_numpy(sound)[None], [sound], sound[None]):
        assert scan_periods(same, RATE) == report


@pytest.mark.parametrize(
    ("audio", "why"),
    [
        (np.zeros(0), "audio is empty"),
        ([], "audio is empty"),
        (np.array([0.0, np.nan] * 9000), "NaN or infinity, first at sample 1"),
        (np.zeros((2, 9000)), "measure channels one at a time"),
        (np.zeros(9000, dtype=np.int16), "must be floating point"),
        (np.full(20000, 1e5), "full scale is 1"),
    ],
)
def test_what_is_no_sound_is_refused(audio, why):
    with pytest.raises(ValueError, match=why):
        scan_periods(audio, RATE)


@pytest.mark.parametrize("rate", [0, -1, 16000.0, True])
def test_bad_sample_rates_are_refused(rate):
    with pytest.raises(ValueError, match="sample_rate must be an integer >= 1"):
        scan_periods(white(1), rate)


def test_untestable_sound_is_told_and_never_clean():
    for sound, why in (
        (white(0.5), "0.50 s is less than 12 blocks of 64 ms"),
        (np.zeros(2 * RATE), "digital silence"),
        (np.full(2 * RATE, 0.1), "a constant signal"),
        (np.ones(1), "a constant signal"),
    ):
        report = scan_periods(sound, RATE)
        assert report.verdict.startswith("not testable: ")
        assert why in report.verdict
        assert (report.bound_dbfs, report.decoy_rate, report.periods, report.apart) == (None, None, (), ())
    mixed = scan_periods([white(0.5), white(2)], RATE)
    assert mixed.clips == 1
    assert mixed.notes == ("1 clip left out: 0.50 s is less than 12 blocks of 64 ms",)


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 96000])
def test_any_sample_rate(rate):
    samples = 20 * 1024 if rate < 16000 else 2 * rate
    report = scan_periods(white(samples / rate, 0.01, rate=rate) + locked(5, (1, 2), samples), rate)
    assert named(report) == [5]


def test_report_is_plain_values_and_a_table(scanner):
    report = scan(white(4, 0.01) + locked(256, range(1, 120), 4 * RATE), scanner)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["periods"][0]["samples"] == 256
    assert values["periods"][0]["strides"][:3] == [[8, 8, 2, 2], [8, 8, 4], [4, 4, 4, 4]]
    rows = str(report).splitlines()
    assert rows[0] == "4.00 s at 16000 Hz, scanned: period 256"
    assert rows[1].startswith("period 256, multiples of 62.50 Hz: ")
    assert "try --strides 8,8,2,2 or 8,8,4 or 4,4,4,4" in rows[1]
    assert len(rows) < 16


# --- long recordings ---


def test_long_recordings_are_sampled_evenly(scanner):
    pieces = scanner.lattice.pieces(4 * 3600 * RATE, 90)
    assert len(pieces) == 90
    assert (pieces[0][0], pieces[-1][1]) == (0, 4 * 3600 * RATE)
    starts = np.diff([start for start, _ in pieces])
    assert starts.max() < 1.3 * starts.min()
    assert all(19 < (stop - start) / RATE <= 20 for start, stop in pieces)
    assert scanner.to_read(100 * RATE) == 100 * RATE


@pytest.mark.slow
def test_half_an_hour_at_48_khz_takes_minutes_and_little_memory():
    rate = 48000
    scanner, samples = Scanner(rate), 1800 * rate
    comb = locked(256, (3, 50), 256 * 1000, 1e-4)

    def read(start, stop):
        noise = 0.01 * np.random.default_rng(start).standard_normal(stop - start)
        return (noise + np.resize(np.roll(comb, -(start % 256)), stop - start))[:, None]

    tracemalloc.start()
    begin = time.monotonic()
    report = scanner.report(scanner.measure(read, samples)[0])
    assert time.monotonic() - begin < 900
    assert tracemalloc.get_traced_memory()[1] < 400e6
    tracemalloc.stop()
    assert named(report) == [256]


def test_periods_that_may_be_one_longer_one_are_said_to_be():
    # Clicks every 1000 samples: of its harmonics 500 and 200 hold most.
    sound = white(30, 0.001)
    sound[::1000] += 0.5
    report = scan_periods(sound, RATE)
    assert len(report.periods) > 1
    together = math.lcm(*(period.samples for period in report.periods))
    assert f"together they repeat every {together} samples: one longer period may be all there is" in report.notes
