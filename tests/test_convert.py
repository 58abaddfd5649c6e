"""Swapping the upsampling of a model: exact where it can be, nearest where not, and named where it is left."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from conversions import distance, old_weight_norm, only
from reference import noise, one_thread  # noqa: F401
from torch import nn
from torch.nn.utils import parametrizations

from audioup import (
    ResizeConv1d,
    ResizeConv2d,
    SubPixelConv1d,
    SubPixelConv2d,
    TransposedConv1d,
    TransposedConv2d,
    convert,
    project,
    regular,
    regularity_order,
    tonal_fraction,
)
from audioup.convert import find
from audioup.init import weight_norm

TARGETS = ("transposed", "subpixel", "resize-nearest", "resize-linear", "resize-sinc", "regular-1", "regular-2")


@pytest.mark.parametrize("stride", [1, 2, 3, 8])
@pytest.mark.parametrize("to", ["transposed", "subpixel"])
def test_every_transposed_convolution_of_the_right_length_is_represented_exactly(stride: int, to: str):
    x = noise(2, 4, 11)
    found = 0
    for length, padding, more in itertools.product(range(1, 3 * stride + 2), range(2 * stride), range(stride)):
        if 10 * stride + length - 2 * padding + more < 1:
            continue
        source = nn.ConvTranspose1d(4, 6, length, stride, padding, more, groups=2, dtype=torch.float64)
        expected = source(x)
        conversion = convert(source, to)
        if length - stride - 2 * padding + more:
            assert conversion.model is source
            assert conversion.skipped[0].reason.startswith("its output has stride * T ")
            continue
        found += 1
        assert only(conversion).residual_db == -300
        assert distance(conversion.model(x), expected) < 1e-12
    assert found >= stride


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_to_sub_pixel_and_back_gives_the_weight(causal: bool, groups: int):
    source = TransposedConv1d(4, 6, 16, 8, causal=causal, groups=groups, padding_mode="reflect")
    there = convert(source, "subpixel").model
    assert isinstance(there, SubPixelConv1d)
    assert there.kernel_size == 2
    assert (there.causal, there.padding_mode, there.delay) == (causal, "reflect", source.delay)
    back = convert(there, "transposed").model
    assert isinstance(back, TransposedConv1d)
    assert torch.equal(back.weight, source.weight)
    assert torch.equal(back.bias, source.bias)


def test_images_are_represented_exactly_too():
    x = noise(2, 4, 7, 8)
    for source in (
        nn.ConvTranspose2d(4, 6, (4, 7), (2, 3), (1, 2), groups=2, dtype=torch.float64),
        nn.ConvTranspose2d(4, 2, (3, 3), 2, 1, 1, dtype=torch.float64),
        TransposedConv2d(4, 2, (3, 5), (2, 3), causal=True, dtype=torch.float64),
    ):
        expected = source(x)
        for to, form in (("subpixel", SubPixelConv2d), ("transposed", TransposedConv2d)):
            if to == "transposed" and isinstance(source, TransposedConv2d):
                continue
            conversion = convert(source, to)
            assert isinstance(conversion.model, form)
            assert only(conversion).residual_db == -300
            assert only(conversion).tonal_fraction_db is None
            assert distance(conversion.model(x), expected) < 1e-12


@pytest.mark.parametrize(("mode", "longer"), [("nearest", 0), ("nearest", 1), ("linear", 0)])
def test_a_resize_convolution_is_the_least_squares_fit(mode: str, longer: int):
    source = nn.ConvTranspose1d(3, 2, 8, 4, 2, dtype=torch.float64)
    conversion = convert(source, f"resize-{mode}", longer=longer)
    layer, row = conversion.model, only(conversion)
    assert layer.kernel_size == 5 + 4 * longer
    # All kernels that the layer can have, tap by tap, and the old one where its taps meet the same outputs.
    reach = []
    for q in range(layer.kernel_size):
        unit = ResizeConv1d(1, 1, layer.kernel_size, 4, mode=mode, bias=False, dtype=torch.float64)
        with torch.no_grad():
            unit.weight.zero_()[0, 0, q] = 1
        reach.append(unit.kernel().flatten().detach().numpy())
    before = layer.origin - 2
    wanted = np.pad(source.weight.detach().numpy(), ((0, 0), (0, 0), (before, layer.kernel_length - 8 - before)))
    _, squares, rank, _ = np.linalg.lstsq(np.stack(reach).T, wanted.reshape(6, -1).T)
    assert rank == layer.kernel_size
    expected = 10 * math.log10(squares.sum() / np.square(wanted).sum())
    assert row.residual_db == pytest.approx(expected, abs=1e-6)
    assert row.tonal_fraction_db < -200
    assert row.tonal_fraction_before_db == pytest.approx(float(tonal_fraction(source.weight.detach(), 4)))


def test_a_sinc_fit_keeps_its_weights_small():
    # Shifts of a narrow filter are almost alike: an exact fit would take weights thousands of times as large.
    source = nn.ConvTranspose1d(8, 8, 16, 8, 4)
    layer = convert(source, "resize-sinc").model
    assert layer.weight.abs().max() < 20 * source.weight.abs().max()


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic", "sinc", "bspline-3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kernel_that_a_resize_convolution_has_is_found_again(mode: str, dtype: torch.dtype):
    layer = ResizeConv1d(4, 6, 9, 8, mode=mode, groups=2, dtype=dtype)
    kernel = layer.kernel().detach()
    with torch.no_grad():
        weight = layer.weight_for(kernel.double())
        assert weight.shape == layer.weight.shape
        layer.weight.copy_(weight)
    assert distance(layer.kernel(), kernel) < {torch.float32: 1e-6, torch.float64: 1e-11}[dtype]
    pair = nn.Sequential(nn.Upsample(scale_factor=8, mode="linear"), nn.Conv1d(4, 6, 9, padding=4, dtype=dtype))
    assert only(convert(pair, "resize-linear")).residual_db < -110


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("longer", [None, 0])
def test_a_regular_kernel_is_the_projection_of_the_old_one(order: int, longer: int | None):
    source = nn.ConvTranspose1d(3, 2, 16, 8, 4, dtype=torch.float64)
    conversion = convert(source, f"regular-{order}", longer=longer)
    layer, margin = conversion.model, 4 * order if longer is None else 0
    padded = nn.functional.pad(source.weight.detach(), (margin, margin))
    nearest = project(padded, 8, order)
    assert layer.origin == 4 + margin
    assert distance(layer.kernel(), nearest) < 1e-12
    expected = 20 * math.log10(float((nearest - padded).norm() / padded.norm()))
    assert only(conversion).residual_db == pytest.approx(expected)
    assert regularity_order(layer.kernel(), 8, tolerance=1e-9) == order
    with torch.no_grad():  # and is held there
        layer.parametrizations.weight.original.add_(torch.randn_like(padded))
    assert regularity_order(layer.kernel(), 8, tolerance=1e-9) == order


def test_a_kernel_too_short_for_its_order_is_left_and_named():
    conversion = convert(nn.Sequential(nn.ConvTranspose1d(2, 2, 4, 4)), "regular-2", longer=0)
    assert conversion.layers == ()
    assert conversion.skipped[0].name == "0"
    assert "needs at least 7 taps" in conversion.skipped[0].reason


@pytest.mark.parametrize("norm", [old_weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("to", TARGETS)
def test_weight_norm_is_resolved_and_put_on_again(norm, to: str):
    source = norm(nn.ConvTranspose1d(4, 6, 16, 8, 4))
    with torch.no_grad():
        for value in source.parameters():
            value.mul_(1.5)
    x = noise(1, 4, 9, dtype=torch.float32)
    expected = source(x)
    free = convert(source, to, weight_norm=False).model
    assert "original0" not in str(list(free.state_dict()))
    layer = convert(source, to).model
    assert "parametrizations.weight.original0" in layer.state_dict()
    assert distance(layer(x), free(x)) < 1e-5
    if to in ("transposed", "subpixel"):
        assert distance(layer(x), expected) < 1e-6
    layer(x).sum().backward()
    assert all(value.grad is not None for value in layer.parameters())


def test_type_mode_gradients_bias_and_random_numbers_stay_as_they_were():
    source = nn.ConvTranspose1d(4, 6, 16, 8, 4, bias=False, dtype=torch.bfloat16).eval().requires_grad_(False)
    state = torch.get_rng_state()
    for to in TARGETS:
        layer = convert(source, to).model
        assert layer.weight.dtype == torch.bfloat16
        assert layer.bias is None
        assert not layer.training
        assert not any(value.requires_grad for value in layer.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_layer_in_two_places_stays_one_and_names_choose():
    layer = nn.ConvTranspose1d(2, 2, 4, 2, 1)
    model = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer), "c": nn.ConvTranspose1d(2, 2, 4, 2, 1)})
    row = only(convert(model, "subpixel", where=lambda name: name != "c"))
    assert row.name == "a"
    assert model["a"] is model["b"][0]
    assert isinstance(model["a"], SubPixelConv1d)
    assert isinstance(model["c"], nn.ConvTranspose1d)


def test_layers_of_this_library_are_sources_and_a_second_time_changes_nothing():
    model = nn.Sequential(TransposedConv1d(2, 2, 16, 8), regular(weight_norm(TransposedConv1d(2, 2, 24, 8)), 2))
    first = convert(model, "regular-2")
    assert [row.name for row in first.layers] == ["0"]
    assert [(row.name, row.reason) for row in first.skipped] == [("1", "it is regular-2 already")]
    before = dict(model.state_dict())
    second = convert(model, "regular-2")
    assert second.layers == ()
    assert str(second).startswith("nothing was converted")
    assert all(value is before[name] or torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [source.word for source in find(model)[0]] == ["regular-2", "regular-2"]


@pytest.mark.parametrize(
    "to", ["", "regular", "regular-0", "regular-10", "resize", "resize-bilinear", "Transposed", "subpixel-2", 3]
)
def test_unknown_targets_are_errors(to):
    with pytest.raises(ValueError, match="to must be"):
        convert(nn.Identity(), to)


@pytest.mark.parametrize("longer", [-1, 1.0, True])
def test_longer_is_a_count(longer):
    with pytest.raises(ValueError, match="longer must be an integer >= 0"):
        convert(nn.Identity(), "transposed", longer=longer)


def test_the_report_is_a_table_and_json():
    model = nn.Sequential(
        nn.ConvTranspose1d(2, 2, 4, 2, 1), nn.ConvTranspose2d(2, 2, 4, 2, 1), nn.ConvTranspose1d(2, 2, 3, 2)
    )
    conversion = convert(model, "regular-1")
    lines = str(conversion).splitlines()
    assert lines[0].split() == ["layer", "was", "is", "taps", "residual", "tone"]
    assert lines[1].split()[:6] == ["0", "ConvTranspose1d", "TransposedConv1d", "4", "->", "6"]
    assert "4x4 -> 6x6" in lines[2]
    assert lines[3] == "skipped 2 (ConvTranspose1d): its output has stride * T +1 samples"
    content = json.loads(json.dumps(conversion.to_dict(), allow_nan=False))
    assert content["layers"][0]["kernel_length"] == [6]
    assert content["skipped"][0]["name"] == "2"


def test_a_function_may_build_the_layers():
    source = nn.ConvTranspose1d(4, 6, 16, 8, 4, dtype=torch.float64)
    kernel = source.weight.detach().clone()
    row = only(convert(nn.Sequential(source), lambda i, o, s: TransposedConv1d(i, o, s, s)))
    # The middle tap by tap; what lies outside is lost, and counted.
    lost = (kernel[..., :4].square().sum() + kernel[..., 12:].square().sum()) / kernel.square().sum()
    assert row.residual_db == pytest.approx(10 * math.log10(lost))
    assert row.kernel_length == (8,)
    wide = convert(source, lambda i, o, s: SubPixelConv1d(i, o, 3, s)).model
    x = noise(1, 4, 9)
    assert wide.weight.dtype == torch.float64
    assert distance(wide(x), source(x)) < 1e-12
    for build in (
        lambda i, o, s: TransposedConv1d(i, o, 8, 4),
        lambda i, o, s: TransposedConv1d(i, o, 8, s, bias=False),
    ):
        assert convert(source, build).skipped[0].reason.startswith("to built TransposedConv1d(4, 6, ")
    with pytest.raises(TypeError, match="to must build a layer of this library, got Conv1d"):
        convert(source, lambda i, o, s: nn.Conv1d(i, o, 3))
    images = convert(nn.ConvTranspose2d(2, 2, 4, 2, 1), lambda i, o, s: ResizeConv2d(i, o, 3, s)).model
    assert images.stride == (2, 2)


def test_layers_in_lists_tuples_and_dictionaries_are_swapped_too():
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose1d(2, 2, 4, 2, 1)
            self.pairs = [(self.up, torch.relu)]
            self.named = {"up": self.up}

        def forward(self, x):
            return self.pairs[0][1](self.pairs[0][0](x)) + self.named["up"](x)

    model = Held()
    only(convert(model, "resize-nearest"))
    assert model.pairs[0][0] is model.named["up"] is model.up
    assert isinstance(model.up, ResizeConv1d)


def test_a_layer_that_says_it_is_causal_stays_so_and_one_that_does_not_is_told():
    causal = convert(TransposedConv1d(2, 2, 8, 8, causal=True), "regular-1").model
    assert (causal.causal, causal.origin) == (True, 0)
    row = only(convert(nn.Sequential(nn.ConvTranspose1d(2, 2, 8, 8)), "regular-1"))
    assert row.note == "it looks 1 frames ahead now, and did not before"


def test_each_parameter_learns_or_not_as_before_and_the_engine_stays():
    source = TransposedConv1d(2, 2, 8, 4, engine="polyphase")
    source.weight.requires_grad_(False)
    layer = convert(source, "subpixel").model
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (False, True)
    assert layer.engine == "polyphase"


def test_what_was_converted_under_inference_mode_can_be_trained():
    model = nn.ConvTranspose1d(2, 2, 8, 4, 2)
    with torch.inference_mode():
        layer = convert(model, "regular-1").model
    layer(torch.randn(1, 2, 5)).sum().backward()
    assert all(value.grad is not None for value in layer.parameters())


def test_what_is_no_module_is_an_error():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got dict"):
        convert({}, "transposed")
