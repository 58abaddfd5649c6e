"""The deployment copy: plain torch layers, the same sound, and the original untouched."""

import pickle
import subprocess
import sys

import pytest
import torch
from conversions import distance, old_weight_norm
from reference import noise, one_thread  # noqa: F401
from torch import nn
from torch.nn.utils import parametrizations
from vocoder.model import UPSAMPLERS, Generator
from vocoder.presets import PRESETS

from audioup import (
    Oversampled,
    ResizeConv1d,
    ResizeConv2d,
    Snake,
    SubPixelConv1d,
    SubPixelConv2d,
    TransposedConv1d,
    TransposedConv2d,
    fold,
    regular,
)
from audioup.fold import duplicate
from audioup.init import weight_norm
from audioup.layer import UpsamplingLayer

FAMILIES = {
    "transposed": (TransposedConv1d, TransposedConv2d, {}),
    "subpixel": (SubPixelConv1d, SubPixelConv2d, {"init": "default"}),
    "nearest": (ResizeConv1d, ResizeConv2d, {"mode": "nearest"}),
    "linear": (ResizeConv1d, ResizeConv2d, {"mode": "linear"}),
    "sinc": (ResizeConv1d, ResizeConv2d, {"mode": "sinc"}),
}
PLAIN = (nn.ConvTranspose1d, nn.ConvTranspose2d)
MODES = ("zeros", "reflect", "replicate", "circular")


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("padding_mode", MODES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 5, 8])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 10, 16])
def test_a_folded_layer_is_one_transposed_convolution_and_equal(family, padding_mode, causal, stride, kernel_size):
    form, _, options = FAMILIES[family]
    layer = form(4, 6, kernel_size, stride, groups=2, padding_mode=padding_mode, causal=causal, **options).eval()
    folded = fold(layer)
    leaves = [m for m in folded.modules() if not list(m.children())]
    assert sum(isinstance(m, PLAIN) for m in leaves) == 1
    assert all(type(m).__module__.startswith("torch.nn.modules") for m in leaves)
    assert not any(p.requires_grad for p in folded.parameters())
    x = noise(2, 4, 40, dtype=torch.float32)
    assert distance(folded(x), layer(x)) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("padding_mode", MODES)
@pytest.mark.parametrize("causal", [False, True])
def test_images_fold_with_a_stride_for_either_axis(family, padding_mode, causal):
    _, form, options = FAMILIES[family]
    layer = form(4, 2, (3, 4), (2, 3), padding_mode=padding_mode, causal=causal, **options).eval()
    x = noise(2, 4, 20, 21, dtype=torch.float32)
    assert distance(fold(layer)(x), layer(x)) < 1e-5


def test_what_torch_can_do_by_itself_is_not_wrapped():
    assert type(fold(TransposedConv1d(2, 2, 16, 8))) is nn.ConvTranspose1d
    assert type(fold(ResizeConv1d(2, 2, 9, 8))) is nn.ConvTranspose1d
    causal = fold(TransposedConv1d(2, 2, 16, 8, causal=True))
    assert [type(m) for m in causal] == [nn.ConvTranspose1d, nn.ConstantPad1d]
    assert causal[1].padding == (0, -8)
    reflected = fold(TransposedConv1d(2, 2, 16, 8, padding_mode="reflect"))
    assert [type(m) for m in reflected] == [nn.ReflectionPad1d, nn.ConvTranspose1d]


def test_a_bias_reaches_samples_that_no_tap_reaches():
    layer = TransposedConv1d(1, 1, 1, 4)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(3.0)
    assert layer.origin == -1
    assert fold(layer)(torch.ones(1, 1, 2)).tolist() == [[[3.0, 4.0, 3.0, 3.0, 3.0, 4.0, 3.0, 3.0]]]


@torch.no_grad()
@pytest.mark.parametrize("norm", [weight_norm, parametrizations.weight_norm, old_weight_norm])
def test_every_form_of_weight_norm_is_multiplied_out(norm):
    model = nn.Sequential(norm(TransposedConv1d(4, 4, 16, 8)), old_weight_norm(nn.Conv1d(4, 3, 3)))
    for value in model.parameters():
        value.mul_(1.7)  # the computed weight of the old form is stale now
    x = noise(1, 4, 10, dtype=torch.float32)
    folded = fold(model)
    assert distance(folded(x), model(x)) < 1e-6
    assert set(folded.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}


@torch.no_grad()
def test_regular_layers_fold_and_the_original_is_as_it_was():
    layer = regular(weight_norm(SubPixelConv1d(4, 4, 4, 4)), order=2)
    model = nn.Sequential(layer, parametrizations.weight_norm(nn.Conv1d(4, 1, 7))).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = noise(1, 4, 20, dtype=torch.float32)
    folded = fold(model)
    assert distance(folded(x), model(x)) < 1e-6
    assert model.training
    assert not folded.training
    assert all(p.requires_grad for p in model.parameters())
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    # torch's own remove_parametrizations on a copy would have broken this.
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert distance(folded(x), model(x)) < 1e-6


def test_a_model_that_has_run_with_old_weight_norm_can_be_copied():
    model = nn.Sequential(old_weight_norm(nn.Conv1d(2, 2, 3)), TransposedConv1d(2, 2, 4, 2))
    x = noise(1, 2, 9, dtype=torch.float32)
    expected = model(x)  # leaves a weight that copy.deepcopy refuses
    assert distance(fold(model)(x), expected.detach()) < 1e-6
    copied = duplicate(model)
    assert distance(copied(x), expected) < 1e-6
    copied(x).sum().backward()
    assert model[0].weight_g.grad is None


def test_a_layer_in_two_places_stays_one():
    layer = TransposedConv1d(2, 2, 4, 2)
    folded = fold(nn.Sequential(layer, nn.ModuleDict({"a": layer})))
    assert folded[0] is folded[1]["a"]


@torch.no_grad()
@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_the_generator_folds(upsampler: str):
    torch.manual_seed(0)
    generator = Generator(80, PRESETS["tiny"].generator, upsampler).eval()
    folded = fold(generator)
    assert not any(isinstance(m, UpsamplingLayer) for m in folded.modules())
    assert not [name for name in folded.state_dict() if "parametrizations" in name]
    mel = noise(1, 80, 13, dtype=torch.float32)
    assert distance(folded(mel), generator(mel)) < 1e-5


def test_what_is_folded_can_be_read_without_this_library(tmp_path):
    model = fold(nn.Sequential(regular(weight_norm(TransposedConv1d(2, 3, 24, 8, causal=True))), nn.Tanh()))
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    program = (
        "import pickle, sys, torch; model = pickle.load(open(sys.argv[1], 'rb')); "
        "assert 'audioup' not in sys.modules; print(model(torch.ones(1, 2, 5)).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model.pkl")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "torch.Size([1, 3, 40])"


@torch.no_grad()
def test_activations_stay_and_types_and_devices_too():
    model = nn.Sequential(ResizeConv1d(4, 4, 5, 4), Oversampled(Snake(4))).to(torch.float64)
    folded = fold(model)
    assert isinstance(folded[1], Oversampled)
    assert folded[0].weight.dtype == torch.float64
    x = noise(1, 4, 12)
    assert distance(folded(x), model(x)) < 1e-12


class Rectified(TransposedConv1d):
    def forward(self, x):
        return torch.relu(super().forward(x))


@torch.no_grad()
def test_a_class_with_a_forward_of_its_own_stays_and_hooks_are_an_error():
    model = nn.Sequential(Rectified(2, 2, 4, 2)).eval()
    x = noise(1, 2, 9, dtype=torch.float32)
    folded = fold(model)
    assert isinstance(folded[0], Rectified)
    assert torch.equal(folded(x), model(x))
    hooked = nn.Sequential(TransposedConv1d(2, 2, 4, 2))
    hooked[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="0 has hooks"):
        fold(hooked)


@torch.no_grad()
def test_a_model_in_training_is_folded_as_it_is_in_eval():
    # Reading a weight under spectral norm in training moves it.
    model = nn.Sequential(parametrizations.spectral_norm(nn.Conv1d(8, 8, 3)), nn.Dropout(0.5)).train()
    x = noise(1, 8, 9, dtype=torch.float32)
    folded = fold(model)
    assert torch.equal(folded(x), model.eval()(x))


def test_layers_in_lists_are_folded_and_kept_tensors_do_not_hinder():
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = ResizeConv1d(2, 2, 3, 2)
            self.stages = [(self.up,)]

        def forward(self, x):
            self.features = [self.stages[0][0](x)]
            return self.features[0]

    model, x = Held(), noise(1, 2, 9, dtype=torch.float32)
    expected = model(x)
    folded = fold(model)
    assert isinstance(folded.stages[0][0], nn.ConvTranspose1d)
    assert distance(folded(x), expected) < 1e-6
    assert isinstance(model.stages[0][0], ResizeConv1d)


def test_a_parametrised_buffer_stays_a_buffer():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    model = nn.Module()
    model.register_buffer("window", torch.ones(3))
    nn.utils.parametrize.register_parametrization(model, "window", Double())
    folded = fold(model)
    assert dict(folded.named_buffers())["window"].tolist() == [2.0, 2.0, 2.0]
    assert list(folded.parameters()) == []
