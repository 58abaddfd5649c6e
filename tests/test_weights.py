"""Weight norm is multiplied out of a state dict as the layers themselves do it."""

import re

import pytest
import reference
import torch
from reference import assert_close, noise
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import weight_norm as old_weight_norm

from audioup import ResizeConv1d, SubPixelConv1d, SubPixelConv2d, TransposedConv1d, TransposedConv2d, regular
from audioup.init import weight_norm
from audioup.weights import plain_state_dict

one_thread = reference.one_thread

PLAIN = {
    "conv": lambda: nn.Conv1d(4, 6, 3),
    "grouped conv": lambda: nn.Conv1d(4, 6, 3, groups=2),
    "image conv": lambda: nn.Conv2d(4, 6, (3, 5)),
    "transposed": lambda: nn.ConvTranspose1d(4, 6, 8, 4),
    "linear": lambda: nn.Linear(4, 6),
}
OURS = {
    "transposed": lambda: TransposedConv1d(4, 6, 8, 4),
    "transposed, groups": lambda: TransposedConv1d(8, 6, 8, 4, groups=2),
    "transposed, depthwise": lambda: TransposedConv1d(6, 6, 8, 4, groups=6),
    "transposed, images, groups": lambda: TransposedConv2d(8, 6, 8, 4, groups=2),
    "subpixel": lambda: SubPixelConv1d(4, 6, 3, 4),
    "subpixel, groups": lambda: SubPixelConv1d(4, 6, 3, 4, groups=2),
    "subpixel, one output": lambda: SubPixelConv1d(4, 1, 3, 4),
    "subpixel, images": lambda: SubPixelConv2d(4, 6, 3, (2, 3)),
    "resize": lambda: ResizeConv1d(4, 6, 5, 4),
    "resize, groups": lambda: ResizeConv1d(4, 6, 5, 4, groups=2),
}


def shake(module):
    """Give every parameter a value of its own, so that no length is the norm of its direction any more."""
    for seed, value in enumerate(module.parameters()):
        value.data = noise(*value.shape, seed=seed, dtype=value.dtype)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("form", [old_weight_norm, parametrizations.weight_norm], ids=["old", "new"])
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("kind", PLAIN)
def test_weight_norm_of_torch(kind, dim, form):
    model = nn.Sequential(nn.Tanh(), nn.Sequential(form(PLAIN[kind](), dim=dim)))
    shake(model)
    if form is old_weight_norm:
        for hook in model[1][0]._forward_pre_hooks.values():  # what a call does first
            hook(model[1][0], None)
    plain = plain_state_dict(model.state_dict())
    assert sorted(plain) == ["1.0.bias", "1.0.weight"]
    assert_close(plain["1.0.weight"], model[1][0].weight)
    twin = nn.Sequential(nn.Tanh(), nn.Sequential(PLAIN[kind]()))
    twin.load_state_dict(plain)


@pytest.mark.parametrize("kind", OURS)
def test_weight_norm_of_this_library(kind):
    layer = weight_norm(OURS[kind]())
    shake(layer)
    plain = plain_state_dict(layer.state_dict())
    assert list(plain) == ["bias", "weight"]
    assert_close(plain["weight"], layer.weight)
    # Were one length to stand for another's outputs, it would show: they are all different.
    assert layer.parametrizations.weight.original0.unique().numel() == layer.out_channels


def test_lengths_of_a_first_axis_stand_for_blocks_of_it():
    direction = torch.tensor([3.0, 0.0, 0.0, 2.0]).view(4, 1, 1)
    blocks = plain_state_dict({"weight_g": torch.tensor([6.0, 8.0]).view(2, 1, 1), "weight_v": direction})
    assert blocks["weight"].flatten().tolist() == [6, 0, 0, 8]
    each = plain_state_dict({"weight_g": torch.arange(1.0, 5).view(4, 1, 1), "weight_v": direction})
    assert each["weight"].flatten().tolist() == [1, 0, 0, 4]


@pytest.mark.parametrize("shape", [(), (1, 1)], ids=str)
def test_one_length_for_everything(shape):
    plain = plain_state_dict({"a.weight_v": torch.tensor([[3.0], [4.0]]), "a.weight_g": torch.full(shape, 10.0)})
    assert plain["a.weight"].flatten().tolist() == [6, 8]


def test_a_direction_of_zeros_stays_zero():
    plain = plain_state_dict({"weight_g": torch.ones(2, 1), "weight_v": torch.tensor([[0.0, 0.0], [0.0, 5.0]])})
    assert plain["weight"].tolist() == [[0, 0], [0, 1]]


def test_everything_else_is_passed_on_in_order():
    entries = {
        "a.bias": noise(3),
        "b.weight_g": torch.ones(1, 1),
        "c": noise(2),
        "b.weight_v": torch.ones(1, 4),
        "d.weight_gain": noise(2),
        "my_weight_g": noise(2),
        "parametrizations.bias.original0": noise(1),
        "d.num_batches": torch.tensor(3),
    }
    before = dict(entries)
    plain = plain_state_dict(entries)
    assert list(plain) == ["a.bias", "b.weight", *(key for key in entries if "b.weight" not in key and key != "a.bias")]
    assert all(plain[key] is entries[key] for key in plain if key != "b.weight")
    assert plain["b.weight"].tolist() == [[0.5] * 4]
    assert all(entries[key] is before[key] for key in before)
    assert len(entries) == len(before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_types(dtype):
    length, direction = noise(3, 1, 1, dtype=dtype), noise(3, 300, 5, dtype=dtype)
    weight = plain_state_dict({"weight_g": length, "weight_v": direction})["weight"]
    assert weight.dtype == dtype
    exact = direction.double() * length.double() / direction.double().norm(dim=(1, 2), keepdim=True)
    assert_close(weight, exact)


def test_halves_neither_vanish_nor_overflow():
    # The squares of the small are 0 in float16, the norm of the large is beyond its largest number.
    for value, taps, expected in ((1e-5, 4, 0.5), (300.0, 250_000, 0.002)):
        direction = torch.full((1, taps), value).half()
        weight = plain_state_dict({"weight_g": torch.ones(1, 1).half(), "weight_v": direction})["weight"]
        assert weight.unique().item() == pytest.approx(expected, rel=1e-3)


def test_a_weight_asks_for_no_gradient():
    layer = weight_norm(TransposedConv1d(2, 2, 4, 2))
    assert not plain_state_dict(dict(layer.named_parameters()))["weight"].requires_grad


def test_a_projection_on_top_of_weight_norm_is_not_seen():
    # The limit that the docstring states; the layer itself knows better.
    layer = regular(weight_norm(TransposedConv1d(4, 6, 12, 4)), order=2)
    shake(layer)
    plain = plain_state_dict(layer.state_dict())
    normed = TransposedConv1d(4, 6, 12, 4)
    normed.load_state_dict(plain)
    assert not torch.allclose(plain["weight"], layer.weight, atol=1e-3)
    assert_close(regular(normed, order=2, init="project").weight, layer.weight)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("form", [old_weight_norm, parametrizations.weight_norm], ids=["old", "new"])
@pytest.mark.parametrize(
    ("layer", "name"),
    [(lambda: nn.LSTM(3, 4), "weight_hh_l0"), (lambda: nn.Linear(3, 4), "bias")],
    ids=["LSTM", "bias"],
)
def test_weight_norm_of_entries_of_other_names_is_passed_on(layer, name, form):
    # The other limit that the docstring states.
    entries = form(layer(), name, dim=0).state_dict()
    assert sum(name in key and key != name for key in entries) == 2
    plain = plain_state_dict(entries)
    assert list(plain) == list(entries)
    assert all(plain[key] is entries[key] for key in plain)


G, V = torch.ones(4, 1, 1), torch.ones(4, 2, 3)
NEW = "up.parametrizations.weight."


@pytest.mark.parametrize(
    "keys",
    [
        {"up.weight_g": G},
        {"up.weight_v": V},
        {NEW + "original0": G},
        {NEW + "original1": V},
        {NEW + "original": V},
        {"up.weight_g": G, NEW + "original1": V},
        {"up.weight_g": G, "up.weight_v": V, NEW + "original0": G, NEW + "original1": V},
        {NEW + "original0": G, NEW + "original1": V, NEW + "original2": V},
        {NEW + "original0": G, NEW + "original1": V, NEW + "1.gain": V},
    ],
    ids=lambda keys: " ".join(keys).replace(NEW, "new."),
)
def test_what_is_no_weight_norm_alone_is_refused(keys):
    listed = re.escape(", ".join(keys))
    with pytest.raises(ValueError, match=rf"^up\.weight does not follow from {listed}: that takes weight_g and"):
        plain_state_dict({"up.bias": V, **keys})


def test_regular_alone_and_spectral_norm_are_refused():
    for layer in (regular(TransposedConv1d(4, 6, 12, 4)), parametrizations.spectral_norm(nn.Linear(3, 3))):
        assert parametrize.is_parametrized(layer)
        with pytest.raises(ValueError, match=r"^weight does not follow from parametrizations\.weight\.original"):
            plain_state_dict(layer.state_dict())


@pytest.mark.parametrize("keys", [("up.weight_g", "up.weight_v"), (NEW + "original0", NEW + "original1")], ids=str)
def test_two_weights_of_one_layer_are_refused(keys):
    with pytest.raises(ValueError, match=rf"^up\.weight stands beside {re.escape(', '.join(keys))}"):
        plain_state_dict({"up.weight": V, keys[0]: G, keys[1]: V})


@pytest.mark.parametrize("shape", [(3, 1, 1), (8, 1, 1), (0, 1, 1), (4, 3, 1), (4, 1, 2), (4, 1), (4,)], ids=str)
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=rf"^up\.weight_g of shape {re.escape(str(shape))} does not fit up\.weight_v"):
        plain_state_dict({"up.weight_g": torch.ones(shape), "up.weight_v": V})


@pytest.mark.parametrize("shape", [(), (0, 2, 3)], ids=str)
def test_directions_without_a_norm_are_refused(shape):
    with pytest.raises(ValueError, match=r"does not fit up\.weight_v"):
        plain_state_dict({"up.weight_g": torch.ones(()), "up.weight_v": torch.ones(shape)})


@pytest.mark.parametrize("wrong", ["up.weight_g", "up.weight_v"])
def test_parts_that_are_no_tensors_are_refused(wrong):
    with pytest.raises(TypeError, match=rf"^{wrong} must be a tensor, got list"):
        plain_state_dict({"up.weight_g": G, "up.weight_v": V, wrong: [1.0]})
