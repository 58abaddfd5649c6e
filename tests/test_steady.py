"""Which frequencies of a lattice hold lines, and which of these are on their fractions."""

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


def test_harmonics_of_a_period_are_found_at_their_lowest_terms():
    found = steady(noise() + locked(64, tuple(range(1, 32)), SECONDS * RATE, 0.003))
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
