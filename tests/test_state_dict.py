"""Upsampling in state dicts: what shapes tell, what metadata tells, and what nobody can know."""

import json

import pytest
import torch
from conversions import old_weight_norm
from torch import nn

from audioup import ResizeConv1d, SubPixelConv1d, SubPixelConv2d, TransposedConv1d, regular, regularity_order
from audioup.init import weight_norm
from audioup.state_dict import Known, layer_metadata, read_state_dict

NONE = Known({})


def found(model: nn.Module, known: Known = NONE):
    return read_state_dict(model.state_dict(), known)


def described(layers):
    return [(one.name, one.strides, one.kernel_sizes, one.groups, one.assumed) for one in layers]


class HiFiGan(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv_pre = norm(nn.Conv1d(80, 32, 7))
        self.ups = nn.ModuleList([norm(nn.ConvTranspose1d(32, 16, 16, 8)), norm(nn.ConvTranspose1d(16, 16, 4, 2))])
        self.resblocks = nn.ModuleList([norm(nn.Conv1d(16, 16, 3)), norm(nn.Conv1d(8, 8, 3))])
        self.conv_post = norm(nn.Conv1d(8, 1, 7, bias=False))


@pytest.mark.parametrize(
    "norm", [lambda m: m, old_weight_norm, nn.utils.parametrizations.weight_norm], ids=["plain", "old", "new"]
)
def test_transposed_convolutions_are_told_by_their_bias_and_name(norm) -> None:
    torch.manual_seed(0)
    model = HiFiGan(norm)
    layers, notes = found(model)
    # ups.1 has as many channels out as in: only its name tells it from resblocks.0.
    assert described(layers) == [("ups.0", (8,), (16,), 1, True), ("ups.1", (2,), (4,), 1, True)]
    assert not notes
    for layer, module in zip(layers, model.ups, strict=True):
        torch.testing.assert_close(layer.kernel, module.weight.detach())


def test_strides_are_given_listed_or_assumed() -> None:
    model = nn.Sequential(nn.ConvTranspose1d(8, 4, 7, 3), nn.ConvTranspose1d(4, 2, 4, 4))
    assert [one.strides for one in found(model, Known({}, strides=(3, 4)))[0]] == [(3,), (4,)]
    assert [one.overlap for one in found(model, Known({}, strides=(3, 4)))[0]] == ["uneven", "even"]
    assert [one.strides for one in found(model, Known({}, listed=(5, 2)))[0]] == [(5,), (2,)]
    layers, (note,) = found(model, Known({}, listed=(5, 2, 2)))
    assert [(one.strides, one.assumed) for one in layers] == [((3,), True), ((2,), True)]
    assert note == "config.json has 3 strides for 2 layers: not used"
    with pytest.raises(ValueError, match="1 strides were given for 2 layers without: 0, 1"):
        found(model, Known({}, strides=(3,)))


def test_groups_and_images() -> None:
    layers, _ = found(nn.ModuleDict({"deconv": nn.ConvTranspose1d(8, 4, 4, 2, groups=2)}))
    assert described(layers) == [("deconv", (2,), (4,), 2, True)]
    layers, _ = found(nn.Sequential(nn.ConvTranspose2d(8, 4, (4, 6), (2, 3))))
    assert described(layers) == [("0", (2, 3), (4, 6), 1, True)]


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv1d(8, 4, 3), nn.Conv1d(4, 8, 3), nn.Conv1d(4, 4, 3), nn.Conv1d(8, 4, 3, bias=False)),
        nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 3), nn.BatchNorm1d(3), nn.Conv3d(2, 4, 3)),
        nn.ModuleDict({"ups": nn.Conv1d(8, 4, 1)}),
        nn.Sequential(nn.ConvTranspose1d(8, 4, 1)),
    ],
)
def test_nothing_else_is_taken_for_one(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="no layer that upsamples was found"):
        found(model)


def test_metadata_tell_every_layer_of_this_library() -> None:
    torch.manual_seed(0)
    held = regular(weight_norm(TransposedConv1d(8, 4, 24, 8)), order=2)
    nn.init.normal_(held.parametrizations.weight.original1)
    model = nn.Sequential(
        held,
        regular(SubPixelConv1d(4, 4, 3, 4), order=1),
        weight_norm(ResizeConv1d(4, 4, 5, 2, mode="cubic", groups=2)),
        SubPixelConv2d(4, 2, 3, (2, 3)),
        TransposedConv1d(2, 1, 3, 1),
    )
    metadata = json.loads(json.dumps(layer_metadata(model)))
    layers, _ = found(model, Known(metadata))
    assert [(one.kind, one.strides) for one in layers] == [
        ("TransposedConv1d", (8,)),
        ("SubPixelConv1d", (4,)),
        ("ResizeConv1d", (2,)),
        ("SubPixelConv2d", (2, 3)),
    ]
    for layer, module in zip(layers, model, strict=False):
        torch.testing.assert_close(layer.kernel.float(), module.kernel().detach(), rtol=1e-5, atol=1e-6)
    # What no entry of the state dict tells: without the metadata the weight is not projected.
    assert [regularity_order(one.kernel, one.strides) for one in layers][:2] == [2, 1]
    assert regularity_order(found(nn.Sequential(model[0]), Known({}, strides=(8,)))[0][0].kernel, 8) == 0


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {"family": "transposed"},
        {"family": "transposed", "stride": [2, 2], "groups": 1, "order": 0},
        {"family": "transposed", "stride": [0], "groups": 1, "order": 0},
        {"family": "transposed", "stride": [2.5], "groups": 1, "order": 0},
        {"family": "transposed", "stride": [2], "groups": 1, "order": 1000},
        {"family": "subpixel", "stride": [3], "groups": 1, "order": 0},
        {"family": "evil", "stride": [2], "groups": 1, "order": 0},
        {"family": "resize", "stride": [2], "groups": 1, "order": 0},
        {"family": "resize", "stride": [2], "groups": 1, "order": 0, "mode": 3, "zeros": 6, "rolloff": 1},
        {"family": "resize", "stride": [2], "groups": 1, "order": 0, "mode": "sinc", "zeros": 10**9, "rolloff": 1},
        {"family": "resize", "stride": [2], "groups": 1, "order": 0, "mode": "sinc", "zeros": 6, "rolloff": "a"},
        {"family": "resize", "stride": [2], "groups": 1, "order": 0, "mode": "bspline-99999", "zeros": 6, "rolloff": 1},
        {"family": "resize", "stride": [60000], "groups": 1, "order": 0, "mode": "linear", "zeros": 6, "rolloff": 1},
    ],
)
def test_metadata_that_do_not_fit_are_an_error(said) -> None:
    with pytest.raises(ValueError, match=r"the metadata 'audioup' does not fit 0: ."):
        found(nn.Sequential(nn.ConvTranspose1d(8, 4, 4, 2)), Known({"0": said}))


def test_weights_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ValueError, match="0: its weight holds NaN or infinity"):
        read_state_dict({"0.weight": torch.full((8, 4, 4), torch.nan), "0.bias": torch.zeros(4)}, NONE)


def test_values_that_the_file_does_not_hold_are_passed_over() -> None:
    model = nn.Sequential(nn.ConvTranspose1d(8, 4, 4, 2))
    claims = {"huge.weight": torch.zeros(1).expand(2**12, 2**11, 16), "huge.bias": torch.zeros(2**11)}
    normed = {"n.weight_g": torch.ones(8, 1, 1), "n.weight_v": torch.zeros(1).expand(8, 2**12, 2**11)}
    others = {"s.weight": torch.eye(3).to_sparse(), "f.weight": torch.zeros(8, 4, 4).to(torch.float8_e4m3fn)}
    layers, _ = read_state_dict({**claims, **normed, **others, **model.state_dict()}, NONE)
    assert [one.name for one in layers] == ["0"]


@pytest.mark.parametrize("stride", [0, 1025, 10**30])
def test_strides_out_of_range_are_an_error(stride: int) -> None:
    with pytest.raises(ValueError, match="strides must be from 1 to 1024"):
        found(nn.Sequential(nn.ConvTranspose1d(8, 4, 4, 2)), Known({}, strides=(stride,)))
