"""Which frequencies of a lattice hold lines, and how many steady tones there are beside them."""

import numpy as np
import pytest
from sounds import locked

from audioup.lattice import Lattice
from audioup.steady import FALSE_ALARMS, Steady

RATE, SECONDS = 16000, 8


def steady(sound):
    lattice = Lattice(RATE)
    return Steady(lattice, lattice.sums(sound, 0), len(sound))


def noise(seed=0):
    return 0.01 * np.random.default_rng(seed).standard_normal(SECONDS * RATE)


def test_tones_between_the_fractions_are_counted():
    rng = np.random.default_rng(1)
    n = np.arange(SECONDS * RATE)
    for count in (0, 100, 300):
        frequencies = rng.uniform(100, RATE / 2 - 100, count)
        sound = noise() + sum((0.003 * np.cos(2 * np.pi * f / RATE * n + f) for f in frequencies), start=0.0)
        assert steady(sound).tones() == pytest.approx(count, rel=0.4, abs=15)


def test_harmonics_of_a_period_are_not_counted_among_them():
    sound = noise() + locked(64, tuple(range(1, 32)), SECONDS * RATE, 0.003)
    found = steady(sound)
    assert found.tones() < 15
    assert {int(q) for q in found.lattice.periods[found.found()]} == {4, 8, 16, 32, 64}


def test_lines_are_those_that_survive_all_that_were_tested():
    found = steady(noise())
    assert found.found() == []
    assert np.exp(found.log_family[: found.lattice.fractions].min()) > FALSE_ALARMS


def test_a_tone_off_its_fraction_is_told_apart():
    n = np.arange(SECONDS * RATE)
    for offset_hz, on in ((0.0, True), (0.02, False)):
        found = steady(noise() + 0.003 * np.cos(2 * np.pi * (1 / 8 + offset_hz / RATE) * n))
        (index,) = found.found()
        assert found.locked(index) == on
        assert found.offset_hz[index] == pytest.approx(offset_hz, abs=0.004)
