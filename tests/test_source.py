"""What upsamples in a model is read whole, or left and named."""

import re

import pytest
import torch
from conversions import distance, only
from reference import noise, one_thread  # noqa: F401
from torch import nn

from audioup import TransposedConv1d, convert


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


class Scaled(nn.ConvTranspose1d):
    def forward(self, x):
        return 0.1 * super().forward(x)


class ScaledConv(nn.Conv2d):
    def forward(self, x):
        return 0.1 * super().forward(x)


class Louder(nn.Upsample):
    def forward(self, x):
        return 2 * super().forward(x)


class Rectified(TransposedConv1d):
    def forward(self, x):
        return torch.relu(super().forward(x))


def patched() -> nn.Module:
    layer = nn.ConvTranspose1d(2, 2, 4, 2, 1)
    layer.forward = lambda x: 3 * nn.ConvTranspose1d.forward(layer, x)
    return layer


@pytest.mark.parametrize(
    "model",
    [
        Scaled(2, 2, 4, 2, 1),
        Rectified(2, 2, 4, 2),
        patched(),
        nn.Sequential(ScaledConv(2, 8, 3, padding=1), nn.PixelShuffle(2)),
        nn.Sequential(nn.Upsample(scale_factor=2), ScaledConv(2, 8, 3, padding=1)),
        nn.Sequential(Louder(scale_factor=2), nn.Conv2d(2, 2, 3, padding=1)),
    ],
)
def test_a_class_with_a_forward_of_its_own_is_left(model: nn.Module):
    conversion = convert(model, "subpixel")
    assert conversion.layers == ()
    assert conversion.skipped[0].reason.endswith("has a forward of its own")


def test_hooks_anywhere_in_a_pair_are_kept():
    for index in (0, 1, 2):
        model = nn.Sequential(nn.Upsample(scale_factor=2), nn.ReflectionPad1d(1), nn.Conv1d(2, 2, 3))
        model[index].register_forward_hook(lambda module, x, y: 2 * y)
        conversion = convert(model, "resize-nearest")
        assert conversion.layers == ()
        assert conversion.skipped[0].reason.endswith("has hooks")


class Wrapper(nn.Module):
    def __init__(self, after=lambda y: y) -> None:
        super().__init__()
        self.inner = nn.ConvTranspose1d(2, 3, 16, 8)
        self.drop = nn.Dropout(0.5)
        self.after = after

    def forward(self, x):
        return self.after(self.inner(x)[..., 4:-4])


class WithOption(Wrapper):
    def forward(self, x, trim=True):
        return super().forward(x) if trim else self.inner(x)


class WithDropout(Wrapper):
    def forward(self, x):
        return self.drop(super().forward(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "wrapper",
    [
        Wrapper(torch.tanh),
        Wrapper(lambda y: y.clamp(-1, 1)),
        Wrapper(lambda y: 0.999 * y),
        Wrapper(lambda y: y + 1e-3),
        WithDropout(),
        WithOption(),
    ],
)
def test_what_looks_like_a_crop_on_soft_sound_is_not_taken_for_one(wrapper: nn.Module, dtype: torch.dtype):
    with torch.no_grad():
        wrapper.inner.weight.mul_(1e-3)
    assert convert(wrapper.to(dtype), "transposed").layers == ()


@torch.no_grad()
def test_a_crop_is_found_by_its_place_whatever_the_weights_and_the_original_is_not_run():
    calls = []

    class Counted(Wrapper):
        def forward(self, x):
            calls.append(1)
            self.seen = x
            return super().forward(x)

    model = nn.Sequential(Counted())
    model[0].inner.weight.zero_()
    original = model[0]
    layer = convert(model, "transposed").model[0]
    assert (layer.origin, layer.causal) == (4, False)
    assert calls  # copies were
    assert "seen" not in vars(original)


def test_a_wrapper_that_shares_its_convolution_or_has_hooks_is_left():
    model = nn.ModuleDict({"a": Wrapper()})
    model["b"] = model["a"].inner
    assert convert(model, "transposed").layers == ()
    hooked = Wrapper()
    hooked.drop.register_forward_hook(lambda *_: None)
    assert convert(hooked, "transposed").layers == ()


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.conv = nn.Upsample(scale_factor=2), nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x, noise=None):
        y = self.up(x)
        return self.conv(y if noise is not None else y + 1)


class OnlyInTraining(Optional):
    def forward(self, x):
        y = self.up(x)
        return self.conv(y + 1 if self.training else y)


@pytest.mark.parametrize("model", [Optional(), OnlyInTraining().eval()])
def test_what_depends_on_the_mode_or_an_argument_is_left(model: nn.Module):
    conversion = convert(model, "resize-nearest")
    assert conversion.layers == ()
    assert re.search("depends on|no convolution", conversion.skipped[0].reason)


def test_complex_weights_are_left():
    conversion = convert(nn.ConvTranspose1d(2, 2, 4, 2, 1, dtype=torch.cfloat), "transposed")
    assert conversion.skipped[0].reason == "its weight is of torch.complex64"
