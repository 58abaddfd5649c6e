"""The lattice of a blind scan: what it says of one frequency is what the test for known strides says."""

import math
from itertools import pairwise

import numpy as np
import pytest
from sounds import RATE, dbfs, locked, sine, white

from audioup import measure_tones
from audioup.lattice import LONGEST_PERIOD, Lattice, farey
from audioup.scan import Scanner, scan_periods
from audioup.steady import Steady


@pytest.fixture(scope="module")
def scanner():
    return Scanner(RATE)


def test_fractions_are_all_of_them_in_lowest_terms():
    expected = sorted({k / q for q in range(2, 31) for k in range(1, q // 2 + 1)})
    k, q = farey(30)
    np.testing.assert_array_equal(k / q, expected)
    assert (np.gcd(k, q) == 1).all()
    assert len(farey(LONGEST_PERIOD)[0]) == 39926


def test_decoys_lie_between_the_fractions_and_have_longer_periods(scanner):
    lattice = scanner.lattice
    decoys = lattice.numerators[lattice.fractions :], lattice.periods[lattice.fractions :]
    assert len(decoys[0]) > 9000
    assert (decoys[1] > LONGEST_PERIOD).all()
    assert (np.gcd(*decoys) == 1).all()


@pytest.mark.parametrize("period", [4, 8, 32])
def test_from_even_blocks_the_test_is_that_of_known_strides(period):
    sound = white(4) + locked(period, range(1, period // 2), 4 * RATE, 0.002)
    lattice = Lattice(RATE)
    steady = Steady(lattice, lattice.sums(sound, 0, np.arange(len(sound) // 1024) * 1024), len(sound))
    known = measure_tones(sound, RATE, (period,))
    for line in known.lines:
        (index,) = np.flatnonzero(np.isclose(lattice.frequency * RATE, line.frequency_hz, rtol=0, atol=1e-9))
        assert steady.p_value[index] == pytest.approx(line.p_value, rel=1e-6)
        assert dbfs(steady.level[index]) == pytest.approx(line.level_dbfs, abs=1e-6)
        assert dbfs(steady.level[index] + steady.radius[index]) == pytest.approx(line.interval_dbfs[1], abs=1e-6)


@pytest.mark.parametrize(("rate", "period"), [(8000, 160), (16000, 300), (22050, 256), (44100, 441), (48000, 480)])
def test_levels_and_p_values_are_near_those_of_known_strides(rate, period):
    sound = white(4, 0.01, rate=rate) + locked(period, (1, 3, period // 2 - 1), 4 * rate)
    (found,) = scan_periods(sound, rate).periods
    known = measure_tones(sound, rate, (period,))
    assert found.samples == period
    for line in found.lines[:1] + found.lines[-1:]:
        (other,) = [one for one in known.lines if abs(one.frequency_hz - line.frequency_hz) < 1e-6]
        assert line.level_dbfs == pytest.approx(dbfs(0.003), abs=0.7)
        assert line.level_dbfs == pytest.approx(other.level_dbfs, abs=0.7)
        assert math.log10(line.p_value) == pytest.approx(math.log10(other.p_value), rel=0.4)


@pytest.mark.parametrize(("k", "q"), [(1, 2), (1, 16), (31, 300), (76, 441), (255, 511)])
def test_levels_are_exact_wherever_the_line_lies_between_bins(k, q, scanner):
    lattice = scanner.lattice
    index = int(np.flatnonzero((lattice.numerators == k) & (lattice.periods == q))[0])
    sound = 0.1 * np.cos(2 * np.pi * (k * np.arange(2 * RATE) % q) / q + (0 if q == 2 else 1))
    steady = Steady(lattice, lattice.sums(sound, 0), len(sound))
    assert dbfs(steady.level[index]) == pytest.approx(-20, abs=0.01)


def test_one_tone_is_one_line_among_fractions_that_the_clip_cannot_tell_apart(scanner):
    f = scanner.lattice.frequency[: scanner.lattice.fractions]
    near = 2000 + int(np.diff(f[2000:]).argmin())
    sound = white(8, 1e-4) + sine((f[near] + f[near + 1]) / 2 * RATE, 0.1, 8 * RATE)
    steady = Steady(scanner.lattice, scanner.lattice.sums(sound, 0), len(sound))
    assert (steady.log_family <= math.log(0.005)).sum() >= 2
    assert len(steady.found()) == 1


def test_phases_count_from_the_first_sample_of_the_recording_however_it_is_cut(scanner):
    # Pieces of a prime length, read on their own, add up to one steady line; with a wrong origin they would not.
    sound = white(40, 0.01) + locked(300, (7,), 40 * RATE, 0.0003)
    lattice, cuts = scanner.lattice, [0, 161_009, 400_009, len(sound)]
    starts = list(pairwise(cuts))
    index = int(np.flatnonzero((lattice.numerators == 7) & (lattice.periods == 300))[0])

    def p_value(origins):
        parts = [lattice.sums(sound[a:b], origin) for (a, b), origin in zip(starts, origins, strict=True)]
        return Steady(lattice, parts[0] + parts[1] + parts[2], len(sound)).p_value[index]

    assert p_value(cuts[:-1]) < 1e-9
    assert p_value([0, 0, 0]) > 1e-6
