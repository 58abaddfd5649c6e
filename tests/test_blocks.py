"""What is tested beside steady lines: lines that change sign, and power that repeats with the stride."""

import itertools
import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from sounds import RATE, comb, line_at, sine, white

from audioup import measure_tones
from audioup.blocks import Blocks

SECONDS = 6


def flips(samples, rng, every_s=0.1, rate=RATE):
    """Draw signs that change at random."""
    signs = rng.choice([-1.0, 1.0], size=math.ceil(samples / (every_s * rate)))
    return np.repeat(signs, round(every_s * rate))[:samples]


# --- the statistics, by the formulas ---


def reference_tests(x, rate, period, k):
    """Return (p of squares, RMS amplitude, p of modulation, depth) of harmonic ``k``, one segment, block by block."""
    periods = max(4, math.ceil(0.064 * rate / period))
    length = periods * period
    blocks = [x[start : start + length] for start in range(0, len(x) - length + 1, length)]
    window = scipy.signal.windows.hann(length, sym=False)
    beside = [k * periods + sign * o for o in range(2, min(10, max(2, periods // 2 - 1)) + 1) for sign in (-1, 1)]

    def dft(block, bin_number):
        return np.sum(block * window * np.exp(-2j * np.pi * bin_number * np.arange(length) / length)) / window.sum()

    def limited(frames, faintest):
        z = np.array([dft(frame, k * periods) for frame in frames])
        noise = np.array([np.mean([abs(dft(frame, b)) ** 2 for b in beside]) for frame in frames])
        return z, z / np.sqrt(abs(z) ** 2 + noise + (faintest / 2) ** 2)

    duration_s = len(blocks) * length / rate
    bandwidth = min(max(4, duration_s), len(blocks) / 3)
    w = scipy.signal.windows.dpss(len(blocks), bandwidth, int(min(2 * bandwidth - 1, 40)))

    def p_value(c):
        u, y = w.sum(1), w @ c
        mu = (u @ y) / (u @ u)
        f = (len(w) - 1) * abs(mu) ** 2 * (u @ u) / np.sum(abs(y - mu * u) ** 2)
        return scipy.stats.f.sf(f, 2, 2 * len(w) - 2)

    z, c = limited(blocks, 10 ** (-110 / 20))

    def running_mean(y):  # over one block, centred, the sound mirrored at its ends
        padded = np.pad(y, (length // 2, length - length // 2 - 1), mode="symmetric")
        return np.convolve(padded, np.ones(length) / length, mode="valid")

    square = (x - running_mean(x)) ** 2
    power = square / (running_mean(square) + 10 ** (-110 / 10))
    normalised = [power[start : start + length] for start in range(0, len(x) - length + 1, length)]
    v, d = limited(normalised, 10 ** (-80 / 20))
    return p_value(c**2), 2 * math.sqrt(abs(np.mean(z**2))), p_value(d), 2 * abs(np.mean(v))


@pytest.mark.parametrize("period", [8, 31, 256])
def test_tests_equal_their_slow_references(period):
    rng = np.random.default_rng(period)
    x = white(3, 0.05, period) * (1 + 0.2 * np.cos(2 * np.pi * np.arange(3 * RATE) / period))
    x = x + flips(len(x), rng) * comb(period, 0.003, len(x), rng) + 0.1
    lines = measure_tones(x, RATE, (period,)).lines
    for k in range(1, (period + 1) // 2, max(1, period // 16)):
        p_squares, amplitude, p_modulation, depth = reference_tests(x, RATE, period, k)
        line = lines[k - 1]
        assert line.sign_changing_p_value == pytest.approx(p_squares, rel=1e-9)
        assert 10 ** (line.sign_changing_dbfs / 20) == pytest.approx(amplitude, rel=1e-9)
        assert line.modulation_p_value == pytest.approx(p_modulation, rel=1e-7)
        assert 10 ** (line.modulation_db / 20) == pytest.approx(depth, rel=1e-9)


# --- lines that change sign ---


def test_a_line_that_changes_sign_is_found_by_squares_only():
    rng = np.random.default_rng(0)
    x = white(SECONDS, 0.01) + flips(SECONDS * RATE, rng) * sine(500, 0.01, SECONDS * RATE)
    report = measure_tones(x, RATE, (8, 8, 4))
    assert report.verdict == "tones that change sign"
    assert [line.frequency_hz for line in report.lines if line.sign_changing] == [500]
    line = line_at(report, 500)
    assert not line.detected
    assert line.sign_changing_dbfs == pytest.approx(-40, abs=0.5)
    assert "changes sign" in str(report)


def test_a_steady_line_passes_both_tests():
    line = line_at(measure_tones(white(SECONDS, 0.001) + sine(500, 0.01, SECONDS * RATE), RATE, (8, 8, 4)), 500)
    assert line.detected
    assert line.sign_changing
    assert line.sign_changing_dbfs == pytest.approx(line.level_dbfs, abs=0.1)
    assert line.marks == "detected"


def test_at_nyquist_every_square_is_positive_so_nothing_is_claimed():
    for seed in range(20):
        line = measure_tones(white(2, 0.05, seed), RATE, (2,)).lines[0]
        assert line.sign_changing_p_value == 1
        assert not line.sign_changing


@pytest.mark.parametrize("off_hz", [7.8125, -7.8125, 7.6, 8.1])
def test_a_tone_midway_between_two_bins_is_no_line_of_changing_sign(off_hz):
    x = white(SECONDS, 0.001) + sine(500 + off_hz, 0.05, SECONDS * RATE)
    line = line_at(measure_tones(x, RATE, (8, 8, 4)), 500)
    assert off_hz not in (7.8125, -7.8125) or line.sign_changing_p_value < 1e-9  # its square stands still
    assert not line.sign_changing
    assert not line.detected


# --- power that repeats ---


@pytest.mark.parametrize("depth_db", [-6, -20])
def test_modulated_noise_has_its_depth(depth_db):
    depth = 10 ** (depth_db / 20)
    n = np.arange(20 * RATE)
    x = white(20, 0.05) * np.sqrt(1 + depth * np.cos(2 * np.pi * n / 8 + 1))
    report = measure_tones(x, RATE, (8,))
    assert [line.frequency_hz for line in report.lines if line.modulated] == [2000]
    assert line_at(report, 2000).modulation_db == pytest.approx(depth_db, abs=0.5)
    assert not any(line.detected for line in report.lines)
    assert f"power repeats, {line_at(report, 2000).modulation_db:.1f} dB" in str(report)


def test_depth_is_that_of_the_mean_square_at_each_phase():
    deviation = np.array([1.0, 0.6, 0.8, 0.4])
    x = white(60, 0.1) * np.resize(deviation, 60 * RATE)
    v = deviation**2
    expected = np.abs(np.fft.fft(v))[1:3] / v.sum() * [2, 1]
    lines = measure_tones(x, RATE, (4,)).lines
    assert [10 ** (line.modulation_db / 20) for line in lines] == pytest.approx(list(expected), rel=0.02)


def test_loudness_of_a_moment_does_not_count_nor_an_offset():
    n = np.arange(20 * RATE)
    x = white(20, 0.05) * np.sqrt(1 + 0.3 * np.cos(2 * np.pi * n / 8))
    loud = x * (1 + 10 * (n < 2 * RATE))
    plain, louder, shifted = (line_at(measure_tones(y, RATE, (8,)), 2000) for y in (x, loud, x + 0.2))
    assert louder.modulation_db == pytest.approx(plain.modulation_db, abs=0.1)
    assert shifted.modulation_db == pytest.approx(plain.modulation_db, abs=1e-6)


@pytest.mark.parametrize("test", ["sign_changing_p_value", "modulation_p_value"])
def test_false_alarms_are_as_rare_as_the_p_value_says(test):
    reports = [measure_tones(white(3, seed=seed), RATE, (255,)) for seed in range(20)]
    p_values = np.array([getattr(line, test) for report in reports for line in report.lines])
    low, high = scipy.stats.binom.interval(0.999, len(p_values), 0.01)
    assert low <= np.count_nonzero(p_values < 0.01) <= high
    assert np.mean(p_values < 0.5) == pytest.approx(0.5, abs=0.05)


def test_decoy_rates_of_all_tests_are_those_of_noise():
    reports = [measure_tones(white(3, seed=seed), RATE, (8, 8, 4)) for seed in range(10)]
    for name in ("decoy_rate", "sign_changing_decoy_rate", "modulation_decoy_rate"):
        assert np.mean([getattr(report, name) for report in reports]) == pytest.approx(0.01, abs=0.006)


# --- pieces ---


@pytest.mark.parametrize(("rate", "period"), [(16000, 256), (48000, 257), (400, 256), (8000, 2)])
def test_pieces_are_whole_and_start_on_periods(rate, period):
    blocks = Blocks(rate, period)
    samples = 12 * blocks.length * 17 + 5
    pieces = blocks.pieces(samples)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == samples
    assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))
    assert all(start % blocks.length == 0 for start, _ in pieces)
    assert all((stop - start) // blocks.length >= 12 for start, stop in pieces)
    longest_s = max(20, 12 * blocks.length / rate) + 2 * blocks.length / rate
    assert max(stop - start for start, stop in pieces) / rate <= 2 * longest_s


def test_sums_of_a_piece_start_at_the_next_period():
    x = white(3)
    blocks = Blocks(RATE, 7)
    a, b = blocks.sums(x[10:], 10), blocks.sums(x[14:], 14)
    np.testing.assert_array_equal(a.lines.total, b.lines.total)
    assert blocks.sums(x[: 11 * blocks.length], 0) is None
