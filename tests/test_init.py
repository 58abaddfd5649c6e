"""ICNR: every phase starts as phase 0."""

import pytest
import torch
from reference import noise

from audioup.init import icnr_


@pytest.mark.parametrize("stride", [1, 2, 3, 8], ids=lambda stride: f"stride{stride}")
def test_icnr_copies_phase_zero_of_each_channel_in_place(stride):
    weight = noise(3 * stride, 2, 5)
    before = weight.clone()
    assert icnr_(weight, stride) is weight
    for o in range(3):
        for r in range(stride):
            assert torch.equal(weight[o * stride + r], before[o * stride])


def test_icnr_by_hand():
    weight = torch.arange(6.0).view(6, 1, 1)
    assert icnr_(weight, 3).flatten().tolist() == [0, 0, 0, 3, 3, 3]


def test_icnr_leaves_a_parameter_a_leaf_that_learns():
    weight = torch.nn.Parameter(noise(4, 1, 3))
    icnr_(weight, 2)
    weight.square().sum().backward()
    assert weight.is_leaf
    assert torch.equal(weight.grad, 2 * weight)


@pytest.mark.parametrize("stride", [0, -1, 2.0, True, None], ids=repr)
def test_icnr_refuses_stride(stride):
    with pytest.raises(ValueError, match=r"^stride must"):
        icnr_(torch.zeros(4, 1, 3), stride)


def test_icnr_refuses_channels_that_are_no_multiple():
    with pytest.raises(ValueError, match=r"first axis of weight must be a multiple of stride = 3, got \(4, 1, 3\)"):
        icnr_(torch.zeros(4, 1, 3), 3)
