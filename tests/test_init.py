"""Initialisation: phases that start alike, a variance that is kept, a norm for every output channel."""

import copy
from functools import partial

import pytest
import reference
import torch
from reference import assert_close, noise
from torch import nn
from torch.nn.utils import parametrizations

from audioup import (
    ResizeConv1d,
    ResizeConv2d,
    SubPixelConv1d,
    SubPixelConv2d,
    TransposedConv1d,
    TransposedConv2d,
    regular,
    tonal_fraction,
)
from audioup.init import icnr_, preserve_variance_, weight_norm

one_thread = reference.one_thread


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


# ------------------------------------------------------------------------------------------------------ ICNR elsewhere


@pytest.mark.parametrize("length", range(3, 13))
@pytest.mark.parametrize("stride", [2, 3])
def test_icnr_of_a_transposed_kernel(stride, length):
    kernel = noise(4, 3, length)
    before = kernel.clone()
    assert icnr_(kernel, stride, transposed=True) is kernel
    assert tonal_fraction(kernel, stride) < -250
    spare = length % stride
    for start in range(spare // 2, length - stride + 1, stride):
        assert torch.equal(kernel[..., start : start + stride], before[..., start : start + 1].expand(4, 3, stride))
    assert (kernel != 0).all(0).all(0).sum() == length - spare


@pytest.mark.parametrize("shape", [(4, 6), (5, 7)], ids=str)
def test_icnr_of_a_transposed_image_kernel(shape):
    kernel = icnr_(noise(3, 2, *shape), (2, 3), transposed=True)
    gains = torch.stack([kernel[..., r::2, q::3].sum((-1, -2)) for r in range(2) for q in range(3)])
    lines = torch.fft.fft2(gains.unflatten(0, (2, 3)), dim=(0, 1)).abs().square().sum((2, 3))
    assert 10 * torch.log10(lines.flatten()[1:].sum() / lines[0, 0]) < -250
    assert kernel.abs().sum() > 1


def test_icnr_of_a_sub_pixel_image_weight_and_a_bias():
    weight = noise(12, 2, 3, 3)
    before = weight.clone()
    icnr_(weight, (2, 3))
    for o in range(2):
        for phase in range(6):
            assert torch.equal(weight[o * 6 + phase], before[o * 6])
    # A plain convolution before a shuffle has a bias per phase: a tone on silence.
    bias = noise(6)
    assert icnr_(bias, 3).tolist() == [bias[0]] * 3 + [bias[3]] * 3


@pytest.mark.parametrize(
    ("weight", "arguments", "message"),
    [
        (torch.zeros(2, 2, 3), (4, True), "axes of at least stride"),
        (torch.zeros(2, 2, 3), ((2, 2), True), "axes of at least stride"),
        (torch.zeros(10, 2, 3, 3), ((2, 3),), "multiple of stride = 6"),
        (torch.zeros(4, 2, 3), ((2, 0),), "stride must be an integer"),
        (torch.tensor(1.0), (2,), "multiple of stride"),
    ],
    ids=str,
)
def test_icnr_refuses(weight, arguments, message):
    with pytest.raises(ValueError, match=message):
        icnr_(weight, *arguments)


def test_icnr_refuses_a_weight_that_is_computed():
    layer = weight_norm(SubPixelConv1d(2, 2, 3, 2))
    with pytest.raises(ValueError, match="computed by a parametrisation"):
        icnr_(layer.weight, 2)


# --------------------------------------------------------------------------------------------------------- the variance

FAMILIES = {
    "transposed": partial(TransposedConv1d, kernel_size=9),
    "subpixel": partial(SubPixelConv1d, kernel_size=3),
    "subpixel-default": partial(SubPixelConv1d, kernel_size=3, init="default"),
    **{
        mode: partial(ResizeConv1d, kernel_size=5, mode=mode)
        for mode in ("nearest", "linear", "cubic", "sinc", "bspline-3")
    },
}
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@every_family
@pytest.mark.parametrize("gain", [1.0, 0.3])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride", [1, 2, 3, 8])
@pytest.mark.parametrize("held", ["plain", "normed", "regular"])
def test_variance_is_preserved(family, held, stride, groups, gain):
    torch.manual_seed(0)
    layer = family(64, 32, stride=stride, groups=groups)
    if held == "normed":
        weight_norm(layer)
    if held == "regular" and not isinstance(layer, ResizeConv1d):
        regular(layer, 1)
    preserve_variance_(layer, gain)
    power = layer.kernel().double().square().sum() / (stride * 32)
    assert power.item() == pytest.approx(gain**2, rel=1e-5)
    assert layer.bias.abs().max() == 0
    with torch.no_grad():
        y = layer(noise(4, 64, 400, dtype=torch.float32))[..., 20 * stride : -20 * stride]
    assert y.var().item() == pytest.approx(gain**2, rel=0.1)


@pytest.mark.parametrize("layer", [nn.ConvTranspose1d(16, 8, 8, 4), nn.ConvTranspose2d(16, 8, (4, 6), (2, 3))], ids=str)
def test_variance_through_torchs_layers(layer):
    preserve_variance_(layer, 2.0)
    shape = (4, 16, 300) if isinstance(layer, nn.ConvTranspose1d) else (4, 16, 40, 40)
    assert layer(noise(*shape, dtype=torch.float32)).var().item() == pytest.approx(4, rel=0.15)


def test_icnr_stays_icnr():
    layer = SubPixelConv1d(4, 4, 3, 8, dtype=torch.float64)
    preserve_variance_(layer)
    assert tonal_fraction(layer.kernel(), 8) < -250


def test_the_usual_rule_loses_a_third_in_linear_interpolation():
    torch.manual_seed(0)
    layer = ResizeConv1d(64, 256, 9, 8, mode="linear", bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    y = layer(noise(4, 64, 400, dtype=torch.float32))
    assert y.var().item() == pytest.approx(2 / 3, rel=0.05)


@pytest.mark.parametrize("gain", [0, -1.0, float("nan"), float("inf")])
def test_variance_refuses_gain(gain):
    with pytest.raises(ValueError, match=r"^gain must"):
        preserve_variance_(TransposedConv1d(2, 2, 4, 2), gain)


def test_variance_refuses_other_layers_and_zeros():
    with pytest.raises(TypeError, match="got Linear"):
        preserve_variance_(nn.Linear(2, 2))
    layer = TransposedConv1d(2, 2, 4, 2)
    nn.init.zeros_(layer.weight)
    with pytest.raises(ValueError, match="a kernel other than zero"):
        preserve_variance_(layer)


# ------------------------------------------------------------------------------------------------------------ the norm


@every_family
@pytest.mark.parametrize("groups", [1, 2])
def test_one_length_for_every_output(family, groups):
    layer = family(4, 6, stride=4, groups=groups, dtype=torch.float64)
    before, kernel = layer.weight.detach().clone(), layer.kernel().detach().clone()
    assert weight_norm(layer) is layer
    assert_close(layer.weight, before)
    length, direction = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    assert length.numel() == 6
    factors = torch.arange(1.0, 7.0, dtype=torch.float64)
    with torch.no_grad():
        length.mul_(factors.view_as(length))
        direction.mul_(3)  # turns nothing
    # Output o has its own length, in all its inputs, phases and taps: o of group j is column o mod 3 of the kernel.
    expected = kernel * factors.view(groups, -1).repeat_interleave(4 // groups, 0)[..., None]
    assert_close(layer.kernel(), expected)


@pytest.mark.parametrize(("family", "axis"), [(TransposedConv1d, 1), (ResizeConv1d, 0)])
def test_norm_is_torchs_where_that_is_right(family, axis):
    torch.manual_seed(0)
    ours = family(4, 6, 8, 4)
    theirs = copy.deepcopy(ours)
    weight_norm(ours)
    parametrizations.weight_norm(theirs, dim=axis)
    theirs.load_state_dict(ours.state_dict())
    assert_close(theirs.weight, ours.weight)


def test_norm_keeps_phases_together_as_torchs_does_not():
    for norm, tonal in ((weight_norm, False), (parametrizations.weight_norm, True)):
        layer = norm(SubPixelConv1d(4, 4, 3, 8, dtype=torch.float64))
        with torch.no_grad():
            nn.init.uniform_(layer.parametrizations.weight.original0, 1, 2)
        assert (tonal_fraction(layer.kernel(), 8) > -200) == tonal


@every_family
def test_reset_reaches_through_the_norm(family):
    plain = family(4, 6, stride=4)
    normed = weight_norm(family(4, 6, stride=4))
    torch.manual_seed(1)
    plain.reset_parameters()
    torch.manual_seed(1)
    normed.reset_parameters()
    assert_close(normed.weight, plain.weight)


def test_a_direction_of_zeros_is_no_nan():
    layer = weight_norm(TransposedConv1d(2, 3, 4, 2))
    with torch.no_grad():
        layer.parametrizations.weight.original1.zero_()
    layer(torch.ones(1, 2, 5)).sum().backward()
    assert all(value.grad.isfinite().all() for value in layer.parameters())


def test_norm_goes_on_first_and_on_our_layers():
    with pytest.raises(ValueError, match="weight norm goes on first"):
        weight_norm(regular(TransposedConv1d(2, 2, 16, 8)))
    with pytest.raises(ValueError, match="parametrised weight already"):
        weight_norm(weight_norm(TransposedConv1d(2, 2, 16, 8)))
    with pytest.raises(TypeError, match="got ConvTranspose1d"):
        weight_norm(nn.ConvTranspose1d(2, 2, 16, 8))


@pytest.mark.parametrize("family", [TransposedConv1d, nn.ConvTranspose1d])
def test_variance_refuses_a_weight_that_cannot_be_set(family):
    layer = family(4, 2, 16, 8)
    spectral = nn.utils.parametrizations.spectral_norm(copy.deepcopy(layer)).eval()
    with pytest.raises(ValueError, match="does not let its weight be scaled"):
        preserve_variance_(spectral, 5.0)
    nn.init.ones_(layer.bias)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(layer)
    with pytest.raises(ValueError, match="remove the old form of weight norm"):
        preserve_variance_(layer)
    assert layer.bias.tolist() == [1, 1]


def test_variance_refuses_the_meta_device():
    with pytest.raises(ValueError, match="meta device"):
        preserve_variance_(TransposedConv1d(4, 2, 16, 8, device="meta"))


@pytest.mark.parametrize("family", [TransposedConv2d, SubPixelConv2d, ResizeConv2d])
def test_images_are_normed_and_keep_the_variance(family):
    torch.manual_seed(0)
    layer = weight_norm(family(6, 4, (6, 3), (3, 1), groups=2, dtype=torch.float64))
    assert layer.parametrizations.weight.original0.numel() == 4
    preserve_variance_(layer, 0.5)
    x = torch.randn(4, 6, 40, 60, dtype=torch.float64)
    assert layer(x).var().item() == pytest.approx(0.25, rel=0.1)
