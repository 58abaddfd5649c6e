"""A resize and its convolution, a convolution and its shuffle, become one layer."""

import math

import pytest
import torch
from conversions import distance, only
from reference import noise, one_thread  # noqa: F401
from torch import nn

from audioup import ResizeConv2d, SubPixelConv2d, convert


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
    assert ("away from the edges" in row.note) == ((mode, word) != ("nearest", "zeros"))
    if not row.note:
        assert distance(model["block"](x), expected) < 1e-12
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
