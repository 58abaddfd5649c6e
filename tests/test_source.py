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
