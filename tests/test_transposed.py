"""TransposedConv1d is torch.nn.ConvTranspose1d with an output of stride * T samples."""

import pytest
import reference
import torch
from reference import assert_close, noise
from torch import nn

from audioup import TransposedConv1d, tonal_fraction

one_thread = reference.one_thread
STRIDES = range(1, 10)


def torchs(in_channels, out_channels, kernel_size, stride, **options):
    """torch's layer with the padding that makes stride * T samples."""
    padding, odd = (kernel_size - stride + 1) // 2, (kernel_size - stride) % 2
    return nn.ConvTranspose1d(in_channels, out_channels, kernel_size, stride, padding, odd, **options)


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("stride", STRIDES[1:], ids=lambda stride: f"stride{stride}")
def test_state_dict_of_torchs_layer_loads_and_computes_the_same(stride, groups):
    x = noise(2, 6, 7)
    for kernel_size in range(stride, 18):
        theirs = torchs(6, 12, kernel_size, stride, groups=groups, dtype=torch.float64)
        for engine in ("transposed", "polyphase"):
            ours = TransposedConv1d(6, 12, kernel_size, stride, groups=groups, engine=engine, dtype=torch.float64)
            ours.load_state_dict(theirs.state_dict())
            assert_close(ours(x), theirs(x))
            theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("bias", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize("groups", [1, 2])
def test_same_seed_gives_torchs_parameters(groups, bias):
    torch.manual_seed(5)
    theirs = torchs(4, 6, 16, 8, groups=groups, bias=bias).state_dict()
    torch.manual_seed(5)
    ours = TransposedConv1d(4, 6, 16, 8, groups=groups, bias=bias).state_dict()
    assert list(ours) == list(theirs) == ["weight", "bias"][: 1 + bias]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_kernel_is_the_weight_itself():
    layer = TransposedConv1d(4, 6, 5, 3, groups=2)
    assert layer.kernel() is layer.weight
    assert layer.weight.shape == (4, 3, 5)
    assert layer.kernel_length == 5


@pytest.mark.parametrize(
    ("causal", "expected"), [(True, [1, 2, 13, 20]), (False, [2, 13, 20, 30])], ids=["causal", "centred"]
)
def test_two_frames_by_hand(causal, expected):
    layer = TransposedConv1d(1, 1, 3, 2, causal=causal, bias=False)
    layer.load_state_dict({"weight": torch.tensor([[[1.0, 2.0, 3.0]]])})
    assert layer(torch.tensor([[1.0, 10.0]])).tolist() == [expected]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("kernel_size", "stride"), [(4, 2), (16, 8), (3, 2), (5, 8)])
def test_random_kernel_has_tones(kernel_size, stride, seed):
    torch.manual_seed(seed)
    layer = TransposedConv1d(8, 8, kernel_size, stride, dtype=torch.float64)
    assert -10 < tonal_fraction(layer.kernel(), stride) < 0
