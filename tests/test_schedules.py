"""Strides that make a hop length, by trial of all there are."""

import math
from itertools import product

import pytest
from torch import nn

from audioup.schedules import PUBLISHED, factorisations, largest_prime, nearest_hops


@pytest.mark.parametrize("any_order", [False, True])
@pytest.mark.parametrize("hop_length", [2, 60, 64, 97, 441, 480])
def test_factorisations_are_all_there_are(hop_length, any_order):
    expected = {
        strides
        for stages in range(1, 5)
        for strides in product([d for d in range(2, 13) if hop_length % d == 0], repeat=stages)
        if math.prod(strides) == hop_length and (any_order or list(strides) == sorted(strides, reverse=True))
    }
    found = list(factorisations(hop_length, 12, 4, any_order))
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_published_schedules_are_those_of_the_packages_at_hand():
    from encodec.modules.seanet import SEANetDecoder

    layers = [m for m in SEANetDecoder().modules() if isinstance(m, nn.ConvTranspose1d)]
    (encodec,) = [known for known in PUBLISHED if known.name == "EnCodec"]
    assert encodec.strides == tuple(layer.stride[0] for layer in layers)
    assert encodec.kernel_sizes == tuple(layer.kernel_size[0] for layer in layers)
    assert encodec.channels == layers[0].in_channels
    for known in PUBLISHED:
        assert len(known.strides) == len(known.kernel_sizes)
        assert known.channels % 2 ** len(known.strides) == 0
        assert known.source


def test_prime_factors_and_near_hops_by_trial():
    for number in range(2, 400):
        primes = [p for p in range(2, number + 1) if number % p == 0 and all(p % d for d in range(2, p))]
        assert largest_prime(number) == max(primes)
    for hop_length in (11, 509, 502, 97, 65521):
        makeable = [math.prod(strides) for strides in nearest_hops(hop_length, 8, 6)]
        span = range(min(makeable), max(makeable) + 1)
        assert [n for n in span if any(factorisations(n, 8, 6))] == makeable
        assert makeable[0] < hop_length < makeable[1]
