"""Swapping the upsampling of a model: exact where it can be, nearest where not, and named where it is left."""

import itertools
import json
import math
import re
import warnings

import numpy as np
import pytest
import torch
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


def distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference over the peak; shapes must be equal."""
    assert actual.shape == expected.shape
    return float((actual - expected).detach().abs().max() / expected.detach().abs().max())


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(layer)


def only(conversion):
    assert not conversion.skipped, conversion
    (row,) = conversion.layers
    return row


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


@pytest.mark.parametrize("to", ["resize-nearest", "transposed", "subpixel"])
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("mode", ["nearest", "linear", "nearest-exact"])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 6, 7])
def test_a_resize_and_its_convolution_become_one_layer(to: str, factor: int, mode: str, kernel_size: int):
    model = nn.Sequential(
        nn.Upsample(scale_factor=factor, mode=mode), nn.Conv1d(4, 6, kernel_size, padding="same", groups=2), nn.ReLU()
    ).double()
    x = noise(2, 4, 30)
    expected = model(x)
    convert(model, "resize-linear" if to == "resize-nearest" and mode == "linear" else to)
    assert isinstance(model[0], nn.Identity)
    edge = 3 * factor + kernel_size
    assert distance(model(x)[..., edge:-edge], expected[..., edge:-edge]) < 1e-12


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("pad", "word"), [(nn.ReflectionPad2d, "reflect"), (nn.ZeroPad2d, "zeros"), (None, "zeros")])
def test_images_are_padded_where_they_were(mode: str, pad, word: str):
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Upsample(scale_factor=(2, 3), mode=mode)
            self.pad = nn.Identity() if pad is None else pad((1, 1, 2, 2))
            self.conv = nn.Conv2d(4, 2, (5, 3), padding=(2, 1) if pad is None else 0)

        def forward(self, x):
            up = self.up(x)
            return torch.tanh(self.conv(up if pad is None else self.pad(up))) + 1

    model = nn.ModuleDict({"block": Block()}).double()
    x = noise(1, 4, 12, 13)
    expected = model["block"](x)
    row = only(convert(model, "resize-" + {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}[mode]))
    assert (row.name, row.source) == ("block.conv", "Upsample + Conv2d")
    assert row.residual_db < -250
    assert "away from the edges" in row.note
    layer = model["block"].conv
    assert isinstance(layer, ResizeConv2d)
    assert layer.padding_mode == word
    assert distance(model["block"](x)[..., 8:-8, 12:-12], expected[..., 8:-8, 12:-12]) < 1e-12


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_a_convolution_and_its_shuffle_become_one_layer_and_the_lost_bias_is_told(groups: int, kernel_size: int):
    model = nn.Sequential(nn.Conv2d(4, 18, kernel_size, padding="same", groups=groups), nn.PixelShuffle(3)).double()
    x = noise(1, 4, 6, 7)
    bias = model[0].bias.detach().clone()
    with torch.no_grad():
        model[0].bias.zero_()
    expected = model(x)
    with torch.no_grad():
        model[0].bias.copy_(bias)
    row = only(convert(model, "subpixel"))
    means = bias.view(2, 9).mean(1)
    assert distance(model(x) - means.view(1, 2, 1, 1), expected) < 1e-12
    lost = (bias.view(2, 9) - means[:, None]).square().sum() / bias.square().sum()
    assert row.bias_residual_db == pytest.approx(10 * math.log10(lost))
    assert isinstance(model[0], SubPixelConv2d)
    assert isinstance(model[1], nn.Identity)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.a, self.b = nn.Conv1d(2, 2, 3, padding=1), nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.b(self.up(self.a(self.up(x))))


class Branches(Twice):
    def forward(self, x):
        up = self.up(x)
        return self.a(up) + self.b(up)


class Decides(Twice):
    def forward(self, x):
        return self.a(self.up(x)) if x.sum() > 0 else x


def shared() -> nn.Module:
    conv = nn.Conv1d(2, 2, 3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2), conv, conv)


def hooked() -> nn.Module:
    layer = nn.ConvTranspose1d(2, 2, 4, 2, 1)
    layer.register_forward_hook(lambda *_: None)
    return layer


def tied() -> nn.Module:
    model = nn.Sequential(nn.ConvTranspose1d(2, 2, 4, 2, 1), nn.Conv1d(2, 2, 4))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.ConvTranspose1d(2, 2, 3, 2, dilation=2, padding=1), "dilated"),
        (nn.ConvTranspose2d(2, 2, (4, 4), 2, (1, 0)), r"stride \* T by stride \* T \+2 samples"),
        (hooked(), "hooks"),
        (tied(), "used elsewhere too"),
        (torch.nn.utils.parametrizations.spectral_norm(nn.ConvTranspose1d(2, 2, 4, 2, 1)), "parametrised by _Spectral"),
        (nn.LazyConvTranspose1d(2, 4, 2, 1), "no weights yet"),
        (nn.ConvTranspose1d(2, 2, 4, 2, 1, device="meta"), "no weights yet"),
        (nn.Upsample(scale_factor=2), "no convolution beside it"),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.ReLU(), nn.Conv1d(2, 2, 3)), "no convolution"),
        (nn.Sequential(nn.Upsample(size=20), nn.Conv1d(2, 2, 3, padding=1)), "to 20, by no integer factor"),
        (nn.Sequential(nn.Upsample(scale_factor=1.5), nn.Conv1d(2, 2, 3, padding=1)), "no integer factor"),
        (
            nn.Sequential(nn.Upsample(scale_factor=2, mode="linear", align_corners=True), nn.Conv1d(2, 2, 1)),
            "align_corners=True",
        ),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(2, 2, 3)), "does not keep the length"),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(2, 2, 3, 2, padding=1)), "strided or dilated"),
        (nn.Sequential(nn.PixelShuffle(2)), "no convolution belongs"),
        (Twice(), "called 2 times"),
        (Branches(), "no convolution belongs to it alone"),
        (Decides(), "cannot be traced"),
        (shared(), "several places|several times"),
    ],
)
def test_what_does_not_fit_is_left_and_named(model: nn.Module, reason: str):
    before = list(model.modules())
    conversion = convert(model, "resize-nearest")
    assert conversion.layers == ()
    (row,) = conversion.skipped
    assert re.search(reason, row.reason), row.reason
    assert list(conversion.model.modules()) == before
    assert f"skipped {row.name or '(model)'} ({row.kind}): {row.reason}" in str(conversion)


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


class Cropped(nn.Module):
    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.ConvTranspose1d(2, 3, 8, 4))
        self.first, self.last = first, last

    def forward(self, x):
        y = self.inner(x)
        return y[..., self.first : y.shape[-1] - self.last]


@pytest.mark.parametrize("first", range(5))
def test_a_module_that_only_crops_is_swapped_as_a_whole(first: int):
    torch.manual_seed(first)
    model = nn.ModuleDict({"up": Cropped(first, 4 - first)})
    x = noise(2, 2, 10, dtype=torch.float32)
    expected = model["up"](x)
    row = only(convert(model, "transposed"))
    assert (row.name, row.source) == ("up", "Cropped around ConvTranspose1d")
    assert isinstance(model["up"], TransposedConv1d)
    assert model["up"].causal == (first == 0)
    assert distance(model["up"](x), expected) < 1e-6


def test_a_module_that_does_more_than_crop_is_not_swapped():
    class Louder(Cropped):
        def forward(self, x):
            return 1.01 * super().forward(x)

    class Normed(Cropped):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.norm = nn.GroupNorm(1, 3)

    for module in (Louder(2, 2), Normed(), Cropped(2, 1)):
        assert convert(module, "transposed").skipped[0].reason == "its output has stride * T +4 samples"


@pytest.mark.parametrize("to", ["", "regular", "regular-0", "resize", "resize-bilinear", "Transposed", "subpixel-2", 3])
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
