"""ResizeConv1d is an interpolation and then a convolution, in one kernel; it has no tone on a constant."""

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from reference import assert_close, noise
from torch import nn

from audioup import ResizeConv1d, ResizeConv2d, SubPixelConv1d, tonal_fraction
from audioup.interpolation import interpolation_filter

one_thread = reference.one_thread
STRIDES = range(1, 10)
SIZES = range(1, 8)
MODES = ("nearest", "linear", "cubic", "sinc", "bspline-3")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_layer_is_torchs_interpolation_and_convolution(stride, mode, groups):
    x = noise(2, 4, 18)
    options = {} if mode == "nearest" else {"align_corners": False}
    for kernel_size in SIZES:
        conv = nn.Conv1d(4, 6, kernel_size, padding="same", groups=groups, dtype=torch.float64)
        expected = conv(F.interpolate(x, scale_factor=stride, mode=mode, **options))
        for engine in ("transposed", "polyphase"):
            layer = ResizeConv1d(
                4, 6, kernel_size, stride, mode=mode, groups=groups, engine=engine, dtype=torch.float64
            )
            layer.load_state_dict(conv.state_dict())
            # The interpolated signal beyond its end is zero for torch, the interpolation of zeros for the layer.
            edge = 0 if mode == "nearest" else stride + kernel_size
            inside = slice(edge, 18 * stride - edge)
            y = layer(x)
            assert y.shape == expected.shape == (2, 6, 18 * stride)
            assert_close(y[..., inside], expected[..., inside])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_layer_is_the_long_way_round(stride, mode):
    x = noise(2, 10).numpy()
    taps = interpolation_filter(mode, stride, zeros=3, rolloff=0.9).numpy()
    for kernel_size in SIZES:
        layer = ResizeConv1d(2, 3, kernel_size, stride, mode=mode, zeros=3, rolloff=0.9, dtype=torch.float64)
        # Interpolate all of it, also the tails beyond the ends, convolve, and take what belongs to the frames.
        long = np.stack([np.convolve(reference.stretch(row, stride), taps) for row in x])
        convolved = F.conv1d(torch.from_numpy(long), layer.weight, layer.bias, padding=kernel_size - 1)
        first = (len(taps) - stride) // 2 + kernel_size // 2
        assert_close(layer(torch.from_numpy(x)), convolved[:, first : first + 10 * stride])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_kernel_is_the_filter_convolved_with_the_flipped_weight(stride, mode, groups):
    taps = interpolation_filter(mode, stride, zeros=2).numpy()
    for kernel_size in SIZES:
        layer = ResizeConv1d(
            2 * groups, 3 * groups, kernel_size, stride, mode=mode, zeros=2, groups=groups, dtype=torch.float64
        )
        h, w = layer.kernel(), layer.weight.detach().numpy()
        assert h.shape == (2 * groups, 3, layer.kernel_length)
        assert layer.kernel_length == len(taps) + kernel_size - 1
        for i in range(2 * groups):
            for o in range(3):
                assert_close(h[i, o], np.convolve(taps, w[i // 2 * 3 + o, i % 2, ::-1]))


@pytest.mark.parametrize(("mode", "length"), [("nearest", 8), ("linear", 12), ("sinc", 52)])
def test_kernel_length_by_default(mode, length):
    # Stride 4 and five taps: 4, 8 and 2 * 6 * 4 taps of the filter, and four more.
    assert ResizeConv1d(2, 2, 5, 4, mode=mode).kernel_length == length
    assert ResizeConv1d(2, 2, 5, 4).mode == "nearest"


HAND_COMPUTED = [
    # Nearest makes 1 1 10 10; the last column is the weight correlated with it, longer on the right when even.
    pytest.param("nearest", [1, 2, 3], [5, 33, 51, 30], id="nearest-odd"),
    pytest.param("nearest", [1, 2], [3, 21, 30, 10], id="nearest-even"),
    pytest.param("linear", [4], [3, 13, 31, 30], id="linear-one"),
]


@pytest.mark.parametrize(("mode", "weight", "expected"), HAND_COMPUTED)
def test_two_frames_by_hand(mode, weight, expected):
    layer = ResizeConv1d(1, 1, len(weight), 2, mode=mode, bias=False)
    layer.load_state_dict({"weight": torch.tensor([[weight]], dtype=torch.float32)})
    assert layer(torch.tensor([[1.0, 10.0]])).tolist() == [expected]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_no_tone_on_a_constant_whatever_is_learned(stride, mode):
    for kernel_size in (*SIZES, 2 * stride):
        layer = ResizeConv1d(3, 2, kernel_size, stride, mode=mode, dtype=torch.float64)
        layer.load_state_dict({"weight": noise(2, 3, kernel_size, seed=kernel_size), "bias": noise(2)})
        assert tonal_fraction(layer.kernel(), stride) < -250


def test_single_precision_leaks_as_stated():
    levels = []
    for stride in STRIDES[1:]:
        torch.manual_seed(stride)
        layer = ResizeConv1d(8, 8, 2 * stride, stride, mode="sinc")
        levels.append(tonal_fraction(layer.kernel(), stride).item())
    assert -170 < max(levels) < -135


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16_leaks_as_stated(mode):
    torch.manual_seed(0)
    layer = ResizeConv1d(64, 32, 9, 8, mode=mode)
    exact = tonal_fraction(layer.kernel(), 8)
    with torch.autocast("cpu", torch.bfloat16):
        cast = tonal_fraction(layer.kernel().bfloat16(), 8)
    assert -170 < exact < -135
    assert -65 < cast < -45


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "weight-norm"])
@pytest.mark.parametrize("mode", MODES)
def test_filter_is_exact_again_after_a_coarser_type(mode, normed):
    layer = ResizeConv1d(3, 2, 7, 5, mode=mode)
    if normed:
        nn.utils.parametrizations.weight_norm(layer)
    layer.bfloat16().double()
    assert tonal_fraction(layer.kernel(), 5) < -250
    assert_close(layer.kernel().sum(-1), 5 * layer.weight.sum(-1).T)


@pytest.mark.parametrize("padding_mode", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize("kernel_size", [1, 4, 7])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_constant_stays_constant_up_to_the_edges(stride, kernel_size, padding_mode):
    x = torch.tensor([[1.5], [-0.5]], dtype=torch.float64).expand(2, 16)
    for causal in (False, True):
        options = {"padding_mode": padding_mode, "causal": causal, "dtype": torch.float64}
        layers = [ResizeConv1d(2, 3, kernel_size, stride, mode=mode, zeros=3, **options) for mode in MODES]
        layers += [SubPixelConv1d(2, 3, kernel_size, stride, **options)]
        for layer in layers:
            gain = layer.kernel().sum(-1).T / stride
            assert_close(layer(x), (gain @ x[:, :1] + layer.bias[:, None]).expand(3, 16 * stride))


def test_zero_padding_bends_a_constant_at_the_edges():
    layer = ResizeConv1d(1, 1, 3, 4, bias=False)
    layer.load_state_dict({"weight": torch.ones(1, 1, 3)})
    assert layer(torch.ones(1, 3)).tolist() == [[2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2]]


@pytest.mark.parametrize(
    ("name", "value"),
    [("mode", "area"), ("zeros", 0), ("zeros", 2.5), ("rolloff", 0), ("rolloff", 1.5), ("rolloff", -1)],
    ids=str,
)
def test_layer_refuses(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must"):
        ResizeConv1d(2, 2, 3, 2, **({"mode": "sinc"} | {name: value}))


@pytest.mark.parametrize("causal", [False, True], ids=["centred", "causal"])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("mode", [*MODES, "cubic", "bspline-3"])
@pytest.mark.parametrize("stride", range(1, 6), ids=lambda stride: f"stride{stride}")
def test_separable_is_the_folded_layer(stride, mode, padding_mode, causal):
    options = {"padding_mode": padding_mode, "causal": causal, "groups": 2, "zeros": 2, "dtype": torch.float64}
    for kernel_size in SIZES:
        x, results = noise(2, 4, 14), []
        for separable in (False, True):
            layer = ResizeConv1d(4, 6, kernel_size, stride, mode=mode, separable=separable, **options)
            layer.load_state_dict({"weight": noise(6, 2, kernel_size), "bias": noise(6)})
            z = x.clone().requires_grad_()
            y = layer(z)
            results.append((y, *torch.autograd.grad(y.square().sum(), (z, layer.weight, layer.bias))))
        for folded, separate in zip(*results, strict=True):
            assert_close(separate, folded)


@pytest.mark.parametrize(
    ("mode", "kernel_size", "stride", "outputs", "groups", "separable"),
    [
        # La + out k s against out (La + k - 1)
        ("sinc", 9, 8, 64, 1, True),  # 96 + 72 out < 104 out
        ("sinc", 9, 8, 3, 1, False),  # 96 + 216 = 104 * 3
        ("sinc", 9, 8, 4, 1, True),
        ("sinc", 9, 8, 64, 16, True),  # 4 outputs a group
        ("sinc", 9, 8, 48, 16, False),  # 3
        ("nearest", 9, 8, 64, 1, False),
        ("linear", 9, 8, 64, 1, False),
        ("cubic", 1, 8, 64, 1, True),  # 32 + 8 out < 32 out
    ],
    ids=str,
)
def test_layer_counts_multiply_adds(mode, kernel_size, stride, outputs, groups, separable, monkeypatch):
    layer = ResizeConv1d(16, outputs, kernel_size, stride, mode=mode, groups=groups)
    x = noise(1, 16, 8, dtype=torch.float32)
    expected = ResizeConv1d.kernel
    folds = []
    monkeypatch.setattr(ResizeConv1d, "kernel", lambda self: folds.append(1) or expected(self))
    layer(x)
    assert bool(folds) != separable


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_separable_is_folded_in_every_shape(frames):
    torch.manual_seed(0)
    for options in ({"bias": False}, {"groups": 4}, {"causal": True, "engine": "polyphase"}):
        folded = ResizeConv1d(4, 8, 5, 3, mode="sinc", zeros=2, separable=False, dtype=torch.float64, **options)
        separable = ResizeConv1d(4, 8, 5, 3, mode="sinc", zeros=2, separable=True, dtype=torch.float64, **options)
        separable.load_state_dict(folded.state_dict())
        x = noise(2, 4, frames)
        assert_close(separable(x), folded(x))
        assert_close(separable(x[0]), folded(x)[0])
    with pytest.raises(ValueError, match=r"^x must have at least one frame"):
        separable(noise(2, 4, 0))
    with pytest.raises(ValueError, match=r"^x must have shape"):
        separable(noise(2, 3, 5))


def test_separable_compiles_and_follows_autocast():
    layer, x = ResizeConv1d(4, 8, 5, 3, mode="sinc", separable=True), noise(2, 4, 9, dtype=torch.float32)
    expected = layer(x)
    assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert_close(y, expected)
    assert "separable=True" in repr(layer)


def test_layer_refuses_separable_and_rolloff_of_other_types():
    with pytest.raises(ValueError, match=r"^separable must be True, False or None, got 'no'"):
        ResizeConv1d(2, 2, 3, 2, separable="no")
    with pytest.raises(ValueError, match=r"^rolloff must be above 0 and at most 1, got 'a'"):
        ResizeConv1d(2, 2, 3, 2, mode="sinc", rolloff="a")
    with pytest.raises(ValueError, match=r"^mode must be one of"):
        ResizeConv2d(2, 2, 3, 2, mode=["bilinear"])
