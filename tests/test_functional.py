"""The operator against its definition, against SciPy and torch, and its algebra."""

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import assert_close, noise
from scipy.signal import upfirdn
from torch import nn

from audioup import TransposedConv1d, engines
from audioup.functional import context, pixel_shuffle_1d, upsample1d

one_thread = reference.one_thread
STRIDES = range(1, 10)
LENGTHS = range(1, 18)
ENGINES = ("auto", "transposed", "polyphase")
MODES = ("zeros", "reflect", "replicate", "circular")


def origins(length, stride):
    """Centred, causal, both sides of them, and so far out that no tap is left on the signal."""
    centred = (length - stride + 1) // 2
    return sorted({centred, centred + 1, 0, -1, -stride - 2, length - 1, length + stride + 1, 300, -300})


def assert_operator(x, h, stride, origin, bias=None, groups=1, padding_mode="zeros"):
    """Compare all engines with the defining sum, for x of shape (channels, frames)."""
    arrays = x.numpy(), h.numpy(), stride, origin, None if bias is None else bias.numpy(), groups, padding_mode
    expected = reference.upsample1d(*arrays)
    assert expected.shape == (h.shape[1] * groups, stride * x.shape[1])
    for engine in ENGINES:
        actual = upsample1d(x, h, stride, origin, bias, groups, padding_mode, engine)
        assert_close(actual, expected)


def fits(frames, length, stride, origin, padding_mode):
    """Whether the input is long enough to be extended as far as the kernel reaches."""
    reach = max(context(length, stride, origin))
    return {"reflect": reach < frames, "circular": reach <= frames}.get(padding_mode, True)


# ---------------------------------------------------------------------------------------------- against the definition


@pytest.mark.parametrize("length", LENGTHS, ids=lambda length: f"length{length}")
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_operator_is_the_defining_sum(stride, length):
    x, h, bias = noise(1, 5, seed=1), noise(1, 2, length, seed=2), noise(2, seed=3)
    for origin in origins(length, stride):
        assert_operator(x, h, stride, origin, bias)


@pytest.mark.parametrize("padding_mode", MODES[1:])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_operator_extends_its_input(stride, padding_mode):
    x = noise(1, 5, seed=1)
    compared = 0
    for length in LENGTHS:
        h = noise(1, 1, length, seed=length)
        for origin in (origin for origin in origins(length, stride) if abs(origin) < 300):
            if fits(5, length, stride, origin, padding_mode):
                assert_operator(x, h, stride, origin, padding_mode=padding_mode)
                compared += 1
    assert compared >= 17


@pytest.mark.parametrize("bias", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_operator_keeps_groups_apart(groups, frames, bias):
    x, h = noise(2 * groups, frames, seed=1), noise(2 * groups, 3, 7, seed=2)
    for stride, origin in [(1, 3), (2, 3), (3, 0), (4, -1), (8, 0)]:
        for padding_mode in MODES:
            if fits(frames, 7, stride, origin, padding_mode):
                offset = noise(3 * groups, seed=3) if bias else None
                assert_operator(x, h, stride, origin, offset, groups, padding_mode)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("origin", [400, -400, 21, -8])
def test_kernel_beyond_the_signal_leaves_the_bias_alone(origin, engine):
    bias = torch.tensor([2.0, -3.0], dtype=torch.float64)
    y = upsample1d(noise(1, 1, 2), noise(1, 2, 13, seed=1), 4, origin, bias, engine=engine)
    assert torch.equal(y, bias[None, :, None].expand(1, 2, 8))


@st.composite
def problems(draw):
    stride, length, groups = draw(st.integers(1, 9)), draw(st.integers(1, 17)), draw(st.integers(1, 3))
    return {
        "inputs": groups * draw(st.integers(1, 2)),
        "outputs": draw(st.integers(1, 3)),
        "frames": draw(st.integers(1, 9)),
        "length": length,
        "stride": stride,
        "origin": draw(st.integers(-3 * stride - 2, length + 3 * stride + 2)),
        "groups": groups,
        "padding_mode": draw(st.sampled_from(MODES)),
        "bias": draw(st.booleans()),
    }


@settings(max_examples=200, deadline=None, database=None)
@given(problems())
def test_operator_on_shapes_nobody_thought_of(problem):
    p = problem
    x, h = noise(p["inputs"], p["frames"], seed=1), noise(p["inputs"], p["outputs"], p["length"], seed=2)
    bias = noise(p["outputs"] * p["groups"], seed=3) if p["bias"] else None
    tail = p["stride"], p["origin"], bias, p["groups"], p["padding_mode"]
    if fits(p["frames"], p["length"], p["stride"], p["origin"], p["padding_mode"]):
        assert_operator(x, h, *tail)
    else:
        with pytest.raises(ValueError, match="padding_mode"):
            upsample1d(x, h, *tail)


@pytest.mark.parametrize("engine", ENGINES)
def test_batch_is_one_signal_after_another(engine):
    x, h, bias = noise(3, 4, 5), noise(4, 2, 7, seed=1), noise(4, seed=2)
    for origin in (0, 2, 9):
        y = upsample1d(x, h, 3, origin, bias, 2, "replicate", engine)
        assert_close(y, torch.stack([upsample1d(row, h, 3, origin, bias, 2, "replicate", engine) for row in x]))
        assert_close(y[1], reference.upsample1d(x[1].numpy(), h.numpy(), 3, origin, bias.numpy(), 2, "replicate"))


@pytest.mark.parametrize("engine", ["transposed", "polyphase"])
def test_engine_is_the_one_asked_for(engine, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("the other engine ran")

    monkeypatch.setattr(F, {"transposed": "conv1d", "polyphase": "conv_transpose1d"}[engine], fail)
    assert upsample1d(noise(1, 2, 3), noise(2, 1, 5), 2, 2, engine=engine).shape == (1, 1, 6)


# ------------------------------------------------------------------------------------------------------- orientation

HAND_COMPUTED = [
    (-1, "zeros", [0, 1, 2, 13]),
    (0, "zeros", [1, 2, 13, 20]),
    (1, "zeros", [2, 13, 20, 30]),
    (2, "zeros", [13, 20, 30, 0]),
    (0, "replicate", [4, 2, 13, 20]),
    (2, "replicate", [13, 20, 40, 20]),
    (0, "reflect", [31, 2, 13, 20]),
    (2, "reflect", [13, 20, 31, 2]),
    (0, "circular", [31, 2, 13, 20]),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("origin", "padding_mode", "expected"), HAND_COMPUTED)
def test_two_frames_by_hand(origin, padding_mode, expected, engine):
    x, h = torch.tensor([[1.0, 10.0]]), torch.tensor([[[1.0, 2.0, 3.0]]])
    y = upsample1d(x, h, 2, origin, padding_mode=padding_mode, engine=engine)
    assert y.tolist() == [expected]


@pytest.mark.parametrize(
    ("padding_mode", "first"), [("zeros", 1), ("replicate", 4), ("reflect", 31), ("circular", 301)]
)
def test_reflection_does_not_repeat_the_edge(padding_mode, first):
    x, h = torch.tensor([[1.0, 10.0, 100.0]]), torch.tensor([[[1.0, 2.0, 3.0]]])
    assert upsample1d(x, h, 2, 0, padding_mode=padding_mode).tolist() == [[first, 2, 13, 20, 130, 200]]


# ------------------------------------------------------------------------------------------------- against SciPy, torch


@pytest.mark.parametrize("length", LENGTHS, ids=lambda length: f"length{length}")
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_operator_is_upfirdn_cropped_from_the_origin(stride, length):
    x, h = noise(7, seed=1).numpy(), noise(length, seed=2).numpy()
    full = np.concatenate([np.zeros(40), upfirdn(h, x, up=stride), np.zeros(40 + stride)])
    for origin in (-40, -1, 0, (length - stride + 1) // 2, length - 1, 40):
        expected = full[40 + origin :][: 7 * stride]
        expected = np.pad(expected, (0, 7 * stride - len(expected)))
        for engine in ENGINES:
            y = upsample1d(torch.from_numpy(x)[None], torch.from_numpy(h)[None, None], stride, origin, engine=engine)
            assert_close(y[0], expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_centred_operator_is_torchs_transposed_convolution(stride, groups, engine):
    x = noise(2, 4, 6)
    for length in range(stride, 18):
        centre = (length - stride + 1) // 2
        # torch refuses an output_padding as large as the stride: at stride 1, even kernels drop a sample instead.
        odd = (length - stride) % 2
        dropped = int(stride == 1 and odd)
        theirs = nn.ConvTranspose1d(
            4, 6, length, stride, centre - dropped, odd - dropped, groups, dtype=torch.float64
        ).requires_grad_(False)
        ours = upsample1d(x, theirs.weight, stride, centre, theirs.bias, groups, engine=engine)
        assert ours.shape == (2, 6, stride * 6)
        assert_close(ours, theirs(x)[..., dropped:])


# ------------------------------------------------------------------------------------------------------------ algebra

CASES = [
    # stride, length, origin: native crop, fill, crop on one side, fewer taps than the stride, beyond both ends
    pytest.param(3, 7, 2, id="centred"),
    pytest.param(3, 7, 0, id="causal"),
    pytest.param(2, 5, -3, id="late"),
    pytest.param(4, 3, 0, id="short"),
    pytest.param(2, 3, 6, id="early"),
    pytest.param(1, 4, 2, id="stride-one"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("stride", "length", "origin"), CASES)
def test_backward_is_the_adjoint_a_strided_convolution(stride, length, origin, engine):
    x, h = noise(2, 2, 6, seed=1).requires_grad_(), noise(2, 3, length, seed=2)
    forward = upsample1d(x, h, stride, origin, engine=engine)
    y = noise(*forward.shape, seed=3)
    (backward,) = torch.autograd.grad(forward, x, y)
    assert_close((forward * y).sum(), (x * backward).sum())
    # (A^T y)[i, m] = sum_o sum_n h[i, o, n - s m + c] y[o, n], with 50 zeros on either side so that all n exist.
    padded = F.pad(y, (50, 50))[..., 50 - origin :]
    assert_close(backward, F.conv1d(padded, h, stride=stride)[..., :6])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("stride", "length", "origin"), CASES)
def test_one_frame_later_is_stride_samples_later(stride, length, origin, engine):
    x, h = noise(2, 12, seed=1), noise(2, 3, length, seed=2)
    y = upsample1d(x, h, stride, origin, engine=engine)
    later = upsample1d(F.pad(x, (1, -1)), h, stride, origin, engine=engine)
    left, right = context(length, stride, origin)
    assert left + right < 8
    inside = slice((left + 1) * stride, (12 - right - 1) * stride)
    assert y[:, inside].abs().max() > 0.1
    assert_close(later[:, stride:][:, inside], y[:, inside])


@pytest.mark.parametrize("padding_mode", MODES)
@pytest.mark.parametrize("engine", ENGINES)
def test_operator_is_linear(engine, padding_mode):
    a, b, h = noise(2, 9, seed=1), noise(2, 9, seed=2), noise(2, 3, 8, seed=3)

    def apply(x):
        return upsample1d(x, h, 3, 3, padding_mode=padding_mode, engine=engine)

    assert_close(apply(2 * a - 3 * b), 2 * apply(a) - 3 * apply(b))


@pytest.mark.parametrize("padding_mode", MODES)
@pytest.mark.parametrize("engine", ["transposed", "polyphase"])
@pytest.mark.parametrize(("stride", "length", "origin"), CASES)
def test_gradients(stride, length, origin, engine, padding_mode):
    x, h, bias = noise(1, 2, 5, seed=1), noise(2, 1, length, seed=2), noise(2, seed=3)

    def apply(x, h, bias):
        return upsample1d(x, h, stride, origin, bias, 2, padding_mode, engine)

    assert torch.autograd.gradcheck(apply, [tensor.requires_grad_() for tensor in (x, h, bias)])


@pytest.mark.parametrize("engine", ["transposed", "polyphase"])
@pytest.mark.parametrize("length", LENGTHS, ids=lambda length: f"length{length}")
@pytest.mark.parametrize("stride", [1, 2, 3, 8], ids=lambda stride: f"stride{stride}")
def test_context_is_the_support_of_the_jacobian(stride, length, engine):
    # One impulse per row: row m of the result is what the output owes to frame m. Positive taps cannot cancel.
    impulses = torch.eye(101, dtype=torch.float64)[:, None]
    h = noise(1, 1, length).abs() + 0.1
    for origin in (0, 1, -1, (length - stride + 1) // 2, length - 1, length + stride, -stride, 20, -20):
        y = upsample1d(impulses, h, stride, origin, engine=engine)
        owed = y.unflatten(-1, (101, stride)).squeeze(1)[:, 50]  # (m, r): samples of frame 50
        used = owed.abs().sum(-1).nonzero().flatten().tolist()
        left, right = context(length, stride, origin)
        assert (min([*used, 50]), max([*used, 50])) == (50 - left, 50 + right)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((16, 8, 4), (1, 1)), ((16, 8, 0), (1, 0)), ((8, 8, 0), (0, 0)), ((3, 1, 1), (1, 1)), ((5, 2, -3), (3, 0))],
    ids=str,
)
def test_context_by_hand(arguments, expected):
    assert context(*arguments) == expected


# ------------------------------------------------------------------------------------------------------- pixel shuffle


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_pixel_shuffle(stride, channels, frames):
    x = noise(2, channels * stride, frames)
    y = pixel_shuffle_1d(x, stride)
    assert torch.equal(y[1], torch.from_numpy(reference.pixel_shuffle(x[1].numpy(), stride)))
    assert torch.equal(pixel_shuffle_1d(x[0], stride), y[0])


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_pixel_shuffle_has_torchs_channel_order(stride):
    # torch's shuffle in 2-D takes channel (o, rows, columns): a shuffle of rows that are all equal is one in 1-D.
    x = noise(2, 3 * stride, 5)
    image = x.unflatten(1, (3, 1, stride)).expand(2, 3, stride, stride, 5).flatten(1, 3)
    rows = F.pixel_shuffle(image[:, :, None], stride)
    assert torch.equal(rows, pixel_shuffle_1d(x, stride)[:, :, None].expand_as(rows))


@pytest.mark.parametrize(("x", "stride", "name"), [((3, 4), 2, "x"), ((4,), 2, "x"), ((4, 4), 0, "stride")], ids=str)
def test_pixel_shuffle_refuses(x, stride, name):
    with pytest.raises(ValueError, match=rf"^{name} must"):
        pixel_shuffle_1d(torch.zeros(x), stride)


@pytest.mark.parametrize("stride", [-1, 2.0, True, "2", None], ids=repr)
def test_pixel_shuffle_takes_whole_strides(stride):
    with pytest.raises(ValueError, match=r"^stride must"):
        pixel_shuffle_1d(torch.zeros(4, 4), stride)


# -------------------------------------------------------------------------------------------------------------- errors

BAD = [
    ("stride", {"stride": 0}),
    ("stride", {"stride": -2}),
    ("stride", {"stride": 2.0}),
    ("stride", {"stride": True}),
    ("stride", {"stride": None}),
    ("groups", {"groups": 0}),
    ("groups", {"groups": -1}),
    ("groups", {"groups": 1.0}),
    ("groups", {"groups": True}),
    ("groups", {"groups": 3}),
    ("origin", {"origin": 1.0}),
    ("origin", {"origin": True}),
    ("padding_mode", {"padding_mode": "same"}),
    ("padding_mode", {"padding_mode": None}),
    ("engine", {"engine": "fft"}),
    ("kernel", {"kernel": torch.ones(3)}),
    ("kernel", {"kernel": torch.ones(4, 2, 3, 1)}),
    ("kernel", {"kernel": torch.ones(4, 2, 0)}),
    ("kernel", {"kernel": torch.ones(4, 0, 3)}),
    ("x", {"x": torch.ones(5)}),
    ("x", {"x": torch.ones(1, 1, 4, 5)}),
    ("x", {"x": torch.ones(1, 3, 5)}),
    ("x", {"x": torch.ones(5, 4)}),
    ("x", {"x": torch.ones(1, 4, 0)}),
    ("x", {"x": torch.ones(4, 0)}),
    ("bias", {"bias": torch.ones(1)}),
    ("bias", {"bias": torch.ones(3)}),
    ("bias", {"bias": torch.ones(2, 1)}),
    ("bias", {"bias": torch.ones(2), "groups": 2}),
]


def shown(value):
    return f"tensor{tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)


@pytest.mark.parametrize(
    ("name", "change"), BAD, ids=["-".join(f"{k}={shown(v)}" for k, v in change.items()) for _, change in BAD]
)
def test_operator_refuses(name, change):
    good = {"x": torch.ones(1, 4, 5), "kernel": torch.ones(4, 2, 3), "stride": 2, "origin": 1, "bias": torch.ones(2)}
    assert upsample1d(**good).shape == (1, 2, 10)
    with pytest.raises(ValueError, match=rf"^{name} must"):
        upsample1d(**(good | change))


@pytest.mark.parametrize("origin", [0, 6], ids=["left", "right"])
@pytest.mark.parametrize(("padding_mode", "frames"), [("reflect", 4), ("circular", 3)])
def test_operator_refuses_an_input_too_short_to_extend(padding_mode, frames, origin):
    # Stride 2 and 7 taps reach 3 frames: reflect needs one more than that, circular as many.
    h = noise(1, 1, 7)
    assert max(context(7, 2, origin)) == 3
    assert_operator(noise(1, frames, seed=1), h, 2, origin, padding_mode=padding_mode)
    with pytest.raises(ValueError, match=f"padding_mode '{padding_mode}' needs x of more than {frames - 1} frames"):
        upsample1d(noise(1, frames - 1), h, 2, origin, padding_mode=padding_mode)


def test_auto_takes_the_polyphase_engine_for_long_outputs_without_gradients(monkeypatch):
    used = []
    for name in ("transposed", "polyphase"):
        compute = getattr(engines, f"_{name}")
        spy = lambda *arguments, name=name, compute=compute: used.append(name) or compute(*arguments)  # noqa: E731
        monkeypatch.setattr(engines, f"_{name}", spy)
    h, many = noise(1, 2, 4), engines.MANY_OUTPUTS  # 4 outputs a frame
    for batch, frames in [(1, many - 1), (1, many), (2, many // 2), (3, 100)]:
        upsample1d(noise(batch, 1, frames), h, 2, 1)
    upsample1d(noise(1, 1, many), h.clone().requires_grad_(), 2, 1)
    with torch.no_grad():
        upsample1d(noise(1, 1, many), h.clone().requires_grad_(), 2, 1)
        upsample1d(noise(2, many), noise(2, 1, 4), 2, 1, groups=2)
    assert used == ["transposed", "polyphase", "polyphase", "transposed", "transposed", "polyphase", "transposed"]
    used.clear()
    layer = TransposedConv1d(1, 2, 4, 2, dtype=torch.float64)
    x = noise(1, many // 4)
    layer(x)
    with torch.no_grad():
        layer(x)  # the weight of the other engine would have to be made
        layer.eval()(x)
        layer(x[:, 1:])
    layer(x)
    assert used == ["transposed", "transposed", "polyphase", "transposed", "transposed"]


def test_context_refuses_stride_zero():
    with pytest.raises(ValueError, match=r"^stride must be an integer >= 1, got 0"):
        context(4, 0, 0)


def test_operator_refuses_no_channels_and_no_tensor():
    with pytest.raises(ValueError, match=r"^kernel must have shape .*no size 0"):
        upsample1d(torch.ones(0, 3), torch.ones(0, 1, 2), 2, 0)
    with pytest.raises(TypeError, match=r"^x must be a tensor, got ndarray"):
        upsample1d(np.ones((1, 3)), torch.ones(1, 1, 2), 2, 0)
    with pytest.raises(TypeError, match=r"^x must be a tensor, got list"):
        TransposedConv1d(1, 1, 4, 2)([[1.0, 2.0]])
