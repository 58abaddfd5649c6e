"""A stage is held at order 1 where it is used, exactly, whatever it is made of; the model stays as it is."""

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import Shuffle
from reference import assert_close, noise, one_thread  # noqa: F401
from torch import nn
from torch.nn.utils import parametrizations

from audioup import ResizeConv1d, SubPixelConv1d, TransposedConv1d
from audioup.functional import upsample1d
from audioup.intervention import Intervention
from audioup.regularity import project, regularity_order
from audioup.stages import find_stages

X = noise(1, 8, 20)


@torch.no_grad()
def intervened(model: nn.Module, x: torch.Tensor = X, position: int = 0):
    model.double().eval()
    before = copy.deepcopy(dict(model.state_dict()))
    stage = find_stages(model, x, 6).stages[position]
    intervention = Intervention(model, stage, lambda: model(x))
    output = intervention(lambda: model(x)) if intervention.possible else None
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any("forward" in vars(module) for module in model.modules())
    return intervention, output


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("size", "padding", "more"), [(16, 4, 0), (11, 2, 1), (8, 0, 0)])
def test_a_transposed_convolution(size: int, padding: int, more: int, groups: int):
    layer = nn.ConvTranspose1d(8, 4, size, 8, padding, more, groups=groups)
    model = nn.Sequential(parametrizations.weight_norm(layer), nn.Tanh())
    intervention, y = intervened(model)
    weight = project(layer.weight.detach(), 8, 1)
    assert_close(y, torch.tanh(F.conv_transpose1d(X, weight, layer.bias, 8, padding, more, groups)))
    assert (intervention.orders, intervention.reasons) == ([0], [])


def test_of_an_image_only_time_is_projected():
    layer = nn.ConvTranspose2d(8, 2, (4, 8), (2, 4), (1, 2))
    model = nn.Sequential(nn.Unflatten(1, (8, 1)), layer, nn.Flatten(1, 2))
    _, y = intervened(model)
    weight = project(layer.weight.detach(), 4, 1)
    assert_close(y, F.conv_transpose2d(X[:, :, None], weight, layer.bias, (2, 4), (1, 2)).flatten(1, 2))


@pytest.mark.parametrize("engine", ["transposed", "polyphase"])
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize("build", [TransposedConv1d, SubPixelConv1d])
def test_layers_of_this_library_in_either_engine(build, mode: str, engine: str):
    layer = build(8, 4, 5, 4, padding_mode=mode, engine=engine)
    _, y = intervened(nn.Sequential(layer))
    kernel = project(layer.kernel().detach(), 4, 1)
    assert_close(y, upsample1d(X, kernel, 4, layer.origin, layer.bias, padding_mode=mode))


@pytest.mark.parametrize("last", [False, True])
def test_a_convolution_whose_channels_are_interleaved_by_hand(last: bool):
    model = nn.Sequential(Shuffle(8, 4, 5, last))
    intervention, y = intervened(model)
    conv = model[0].conv
    # As the layer of this library that is the same: there channel o s + r is phase r of channel o.
    layer = SubPixelConv1d(8, 4, 3, 5).double()
    order = torch.arange(20).view(5, 4).T.flatten() if last else torch.arange(20)
    layer.weight.data = conv.weight.data[order]
    bias = conv.bias.data[order].view(4, 5).mean(1)
    assert_close(y, upsample1d(X, project(layer.kernel().detach(), 5, 1), 5, layer.origin, bias))
    assert intervention.orders == [0]


def test_a_convolution_before_a_pixel_shuffle_of_torchs():
    model = nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 8, 3, padding=1), nn.PixelShuffle(2), nn.Flatten(1, 2))
    _, y = intervened(model)
    weight, bias = model[1].weight.data, model[1].bias.data.view(2, 2, 2)  # (outputs, phases down, phases in time)
    each = weight.view(2, 2, 2, 1, 3, 3)
    # Per row of taps down the image, since the input is constant in time only.
    gains = each.sum(-1, keepdim=True)
    each = each - (gains - gains.mean(2, keepdim=True)) / 3
    bias = bias.mean(2, keepdim=True).expand(2, 2, 2)
    expected = F.pixel_shuffle(F.conv2d(X[:, None], each.reshape(8, 1, 3, 3), bias.reshape(8), padding=1), 2)
    assert_close(y, expected.flatten(1, 2))


def test_a_linear_layer_before_a_reshape():
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 4)

        def forward(self, x):
            return self.linear(x.transpose(1, 2)).flatten(1)

    model = Head()
    _, y = intervened(model)
    mean = (model.linear.weight.mean(0) @ X[0] + model.linear.bias.mean()).detach()
    assert_close(y, mean.repeat_interleave(4)[None])


@pytest.mark.parametrize(
    ("model", "order"),
    [
        (nn.Sequential(nn.Upsample(scale_factor=3), nn.Conv1d(8, 1, 3)), 1),
        (nn.Sequential(nn.Upsample(scale_factor=3, mode="linear")), 1),
        (nn.Sequential(ResizeConv1d(8, 1, 5, 4, mode="linear")), 2),
    ],
)
def test_what_is_of_order_1_already_is_said_to_be(model: nn.Module, order: int):
    intervention, y = intervened(model)
    assert intervention.orders == [order]
    if y is not None:
        assert_close(y, model(X))


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.istft(torch.complex(x[:, :5], 0 * x[:, :5]), 8, 4, window=torch.ones(8).double())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            nn.Sequential(nn.ConvTranspose1d(8, 1, 3, 4)),
            "kernel is too short: order 1 at stride 4 needs at least 4 taps",
        ),
        (nn.Sequential(nn.ConvTranspose1d(8, 1, 8, 4, dilation=2)), "its kernel is dilated"),
        (Spectrum(), "istft: there is no kernel to project"),
        (nn.Sequential(Shuffle(8, 4, 2, last=True, groups=2)), "the groups of its convolution divide the phases"),
    ],
)
def test_what_cannot_be_held_at_order_1_is_named(model: nn.Module, reason: str):
    intervention, y = intervened(model)
    assert intervention.orders == []
    assert len(intervention.reasons) == 1
    assert reason in intervention.reasons[0]
    if y is not None:
        assert_close(y, model(X))


def test_all_branches_of_a_stage_are_held():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.ConvTranspose1d(8, 1, 8, 4, 2), nn.ConvTranspose1d(8, 1, 4, 4)

        def forward(self, x):
            return self.a(x) + self.b(x)

    model = Both()
    intervention, y = intervened(model)
    assert intervention.orders == [0, 0]
    flat = intervened(model, torch.ones_like(X))[1][0, 0, 8:-8]
    assert flat.std() < 1e-12 * flat.abs().mean()
    assert regularity_order(model.a.weight, 4) == 0
    assert y.shape == (1, 1, 80)


def test_a_call_that_does_not_come_again_is_an_error():
    model = nn.Sequential(nn.ConvTranspose1d(8, 1, 8, 4, 2)).double()
    intervention = Intervention(model, find_stages(model, X, 6).stages[0], lambda: model(X))
    with pytest.raises(ValueError, match="conv_transpose1d in '0' runs 0 times, and 1 on a short input"):
        intervention(lambda: X)
