"""SubPixelConv1d is a convolution to stride times the channels, then the phases interleaved."""

import pytest
import reference
import torch
from reference import assert_close, noise
from torch import nn

from audioup import SubPixelConv1d, tonal_fraction
from audioup.functional import pixel_shuffle_1d, upsample1d

one_thread = reference.one_thread
STRIDES = range(1, 10)
CONV_PADDING = {"zeros": "zeros", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


@pytest.mark.parametrize("padding_mode", CONV_PADDING)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_odd_layer_is_torchs_convolution_and_a_shuffle(stride, groups, padding_mode):
    x = noise(2, 4, 9)
    for kernel_size in (1, 3, 5, 7):
        conv = nn.Conv1d(
            4, 6 * stride, kernel_size, padding="same", groups=groups, padding_mode=padding_mode, dtype=torch.float64
        )
        bias = noise(6)
        conv.load_state_dict({"weight": conv.weight, "bias": bias.repeat_interleave(stride)})
        for engine in ("transposed", "polyphase"):
            layer = SubPixelConv1d(
                4,
                6,
                kernel_size,
                stride,
                groups=groups,
                padding_mode=padding_mode,
                engine=engine,
                dtype=torch.float64,
            )
            layer.load_state_dict({"weight": conv.weight, "bias": bias})
            assert_close(layer(x), pixel_shuffle_1d(conv(x), stride))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel_size", range(1, 7))
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_kernel_tap_by_tap(stride, kernel_size, groups):
    layer = SubPixelConv1d(2 * groups, 3 * groups, kernel_size, stride, groups=groups, init="default")
    h, w = layer.kernel(), layer.weight
    assert h.shape == (2 * groups, 3, kernel_size * stride)
    assert layer.kernel_length == kernel_size * stride
    for i in range(2 * groups):
        for o in range(3):
            for r in range(stride):
                row = w[(i // 2 * 3 + o) * stride + r, i % 2]
                assert torch.equal(h[i, o, r::stride], row.flip(0))


HAND_COMPUTED = [
    pytest.param([[1, 2, 3], [4, 5, 6]], [3, 6, 2, 5, 1, 4], id="odd"),
    pytest.param([[1, 2], [3, 4]], [0, 2, 4, 1, 3, 0], id="even"),
    pytest.param([[1], [2]], [0, 0, 1, 2, 0, 0], id="one"),
]


@pytest.mark.parametrize(("phases", "expected"), HAND_COMPUTED)
def test_impulse_by_hand(phases, expected):
    layer = SubPixelConv1d(1, 1, len(phases[0]), 2, bias=False)
    layer.load_state_dict({"weight": torch.tensor(phases, dtype=torch.float32)[:, None]})
    assert layer(torch.tensor([[0.0, 1.0, 0.0]])).tolist() == [expected]


@pytest.mark.parametrize("kernel_size", [2, 4])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_even_layer_lies_half_a_frame_from_conv_and_shuffle(stride, kernel_size):
    x = noise(1, 2, 9)
    layer = SubPixelConv1d(2, 3, kernel_size, stride, bias=False, dtype=torch.float64)
    pair = pixel_shuffle_1d(torch.nn.functional.conv1d(x, layer.weight, padding=kernel_size // 2), stride)
    # torch pads k / 2 frames on the left, where (k - 1) / 2 would be centred: the pair is s / 2 samples late.
    late = (stride + 1) // 2
    assert_close(layer(x), pair[..., late : late + 9 * stride])


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_default_start_is_nearest_resizing_of_one_convolution(stride, kernel_size):
    torch.manual_seed(0)
    layer = SubPixelConv1d(4, 3, kernel_size, stride, dtype=torch.float64)
    assert layer.init == "icnr"
    assert layer.weight.flatten(1).unique(dim=0).shape[0] == 3
    assert tonal_fraction(layer.kernel(), stride) < -250
    x = noise(4, 9)
    w = layer.weight[::stride].transpose(0, 1).flip(-1)
    held = upsample1d(x, w, 1, kernel_size - 1, layer.bias).repeat_interleave(stride, -1)
    shift = layer.origin - (kernel_size - 1) * stride
    inside = slice(kernel_size * stride, -kernel_size * stride)
    assert_close(layer(x)[:, inside], held.roll(-shift, -1)[:, inside])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 2), (3, 8), (1, 4)])
def test_independent_phases_start_with_tones(kernel_size, stride, seed):
    torch.manual_seed(seed)
    layer = SubPixelConv1d(8, 8, kernel_size, stride, init="default", dtype=torch.float64)
    assert -10 < tonal_fraction(layer.kernel(), stride) < 0


def test_reset_parameters_starts_afresh():
    for init, tonal in (("icnr", False), ("default", True)):
        layer = SubPixelConv1d(4, 4, 3, 4, init=init, dtype=torch.float64)
        layer.load_state_dict({"weight": noise(16, 4, 3), "bias": noise(4)})
        assert tonal_fraction(layer.kernel(), 4) > -10
        layer.reset_parameters()
        assert (tonal_fraction(layer.kernel(), 4) > -250) == tonal


@pytest.mark.parametrize("init", ["zeros", "", None], ids=repr)
def test_layer_refuses_init(init):
    with pytest.raises(ValueError, match=r"^init must"):
        SubPixelConv1d(2, 2, 3, 2, init=init)
