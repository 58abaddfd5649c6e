"""The layers for images: the operator along both axes, torch's layers and interpolation, and the shared contract."""

import copy
import pickle
from functools import partial

import pytest
import reference
import torch
import torch.nn.functional as F
from reference import assert_close, noise
from torch import nn

from audioup import ResizeConv2d, SubPixelConv2d, TransposedConv2d, regular, regularity_order
from audioup.engines import extend
from audioup.functional import pixel_shuffle_2d, upsample1d, upsample2d

one_thread = reference.one_thread
FAMILIES = {
    "transposed": TransposedConv2d,
    "subpixel": SubPixelConv2d,
    "resize-nearest": ResizeConv2d,
    "resize-bilinear": partial(ResizeConv2d, mode="bilinear"),
    "resize-bicubic": partial(ResizeConv2d, mode="bicubic"),
    "resize-sinc": partial(ResizeConv2d, mode="sinc", zeros=2, rolloff=0.9),
    "resize-separable": partial(ResizeConv2d, mode="bspline-3", separable=True),
    "resize-folded": partial(ResizeConv2d, mode="bspline-3", separable=False),
}
SHAPES = [(1, 1), (3, 2), (4, 2), ((3, 4), (2, 3)), ((1, 5), (3, 1)), ((2, 3), (4, 2))]  # kernel_size, stride
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
ENGINES = ("transposed", "polyphase")

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
every_shape = pytest.mark.parametrize(("kernel_size", "stride"), SHAPES, ids=str)


def both(value):
    return value if isinstance(value, tuple) else (value, value)


# ------------------------------------------------------------------------------------------------------- the operator


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("lengths", [(1, 1), (2, 5), (4, 3), (6, 1)], ids=str)
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2), (1, 4)], ids=str)
def test_operator_term_by_term(stride, lengths, engine, padding_mode):
    x, bias = noise(2, 4, 9, 8), noise(6)
    h = noise(4, 3, *lengths)
    for origin in ((0, 0), tuple((n - s + 1) // 2 for n, s in zip(lengths, stride, strict=True)), (-2, 3)):
        y = upsample2d(x, h, stride, origin, bias, 2, padding_mode, engine)
        assert y.shape == (2, 6, 9 * stride[0], 8 * stride[1])
        expected = reference.upsample2d(x[1].numpy(), h.numpy(), stride, origin, bias.numpy(), 2, padding_mode)
        assert_close(y[1], expected)
        assert_close(upsample2d(x[1], h, stride, origin, bias, 2, padding_mode, engine), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_operator_of_an_outer_product_is_one_axis_after_the_other(engine):
    x, tall, wide = noise(1, 1, 6, 7), noise(5), noise(4)
    y = upsample2d(x, torch.outer(tall, wide)[None, None], (3, 2), (1, 2), engine=engine)
    rows = upsample1d(x[0, 0].T[:, None], tall[None, None], 3, 1)[:, 0].T  # (18, 7)
    assert_close(y[0, 0], upsample1d(rows[:, None], wide[None, None], 2, 2)[:, 0])


def test_operator_by_hand():
    kernel = torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]])
    x = torch.tensor([[[1.0, 2.0]]])
    assert upsample2d(x, kernel, 2, 0).tolist() == [[[1, 10, 2, 20], [100, 1000, 200, 2000]]]
    assert upsample2d(x, kernel, (1, 2), 0).tolist() == [[[1, 10, 2, 20]]]
    assert upsample2d(x, kernel, (1, 2), (1, 0)).tolist() == [[[100, 1000, 200, 2000]]]


@pytest.mark.parametrize("engine", ENGINES)
def test_operator_gradients(engine):
    tensors = [noise(2, 2, 3, 4).requires_grad_(), noise(2, 3, 3, 2).requires_grad_(), noise(3).requires_grad_()]
    assert torch.autograd.gradcheck(lambda x, h, b: upsample2d(x, h, (2, 1), (1, 0), b, 1, "reflect", engine), tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 0}, "stride must be an integer >= 1"),
        ({"stride": (2, True)}, "stride must be an integer >= 1"),
        ({"stride": (2, 2, 2)}, "stride must be one integer or a pair"),
        ({"origin": (0, 0.5)}, "origin must be an integer"),
        ({"origin": (0,)}, "origin must be one integer or a pair"),
        ({"kernel": torch.ones(2, 1, 3)}, "kernel must have shape"),
        ({"kernel": torch.ones(2, 1, 3, 0)}, "kernel must have shape"),
        ({"x": torch.ones(2, 3)}, r"x must have shape \(batch, 2, H, W\) or \(2, H, W\), got \(2, 3\)"),
        ({"x": torch.ones(1, 3, 4, 4)}, "x must have shape"),
        ({"x": torch.ones(1, 2, 0, 4)}, "x must have at least one frame"),
        ({"bias": torch.ones(3)}, "bias must have shape"),
        ({"groups": 3}, "groups must divide"),
        ({"padding_mode": "reflect", "x": torch.ones(2, 1, 5)}, "padding_mode 'reflect' needs x of more than 1"),
    ],
    ids=str,
)
def test_operator_refuses(change, message):
    arguments = {"x": torch.ones(2, 4, 4), "kernel": torch.ones(2, 1, 3, 3), "stride": 2, "origin": 1} | change
    with pytest.raises(ValueError, match=f"^{message}"):
        upsample2d(**arguments)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_shuffle_is_torchs(stride):
    x = noise(2, 3 * stride**2, 4, 5)
    assert torch.equal(pixel_shuffle_2d(x, stride), F.pixel_shuffle(x, stride))


def test_shuffle_with_two_strides():
    x = noise(2, 12, 4, 5)
    y = pixel_shuffle_2d(x, (2, 3))
    for o in range(2):
        for r in range(2):
            for q in range(3):
                assert torch.equal(y[:, o, r::2, q::3], x[:, (o * 2 + r) * 3 + q])
    with pytest.raises(ValueError, match=r"channels \* 6, H, W"):
        pixel_shuffle_2d(noise(2, 10, 4, 5), (2, 3))


def test_edges_are_extended_on_their_own_axis():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert extend(x, [(0, 0), (1, 0)], "replicate")[0, 0].tolist() == [[0, 0, 1, 2], [3, 3, 4, 5]]
    assert extend(x, [(1, 0), (0, 0)], "circular")[0, 0].tolist() == [[3, 4, 5], [0, 1, 2], [3, 4, 5]]


# --------------------------------------------------------------------------------------------------------- the layers


@every_family
@every_shape
@pytest.mark.parametrize("causal", [False, True], ids=["centred", "causal"])
def test_layer_is_the_operator_on_its_kernel(family, kernel_size, stride, causal):
    x = noise(2, 4, 11, 12)
    for padding_mode in PADDING_MODES:
        for engine in (*ENGINES, "auto"):
            options = {"padding_mode": padding_mode, "causal": causal, "engine": engine, "dtype": torch.float64}
            layer = family(4, 6, kernel_size, stride, groups=2, **options)
            h, steps = layer.kernel(), both(stride)
            assert layer.stride == steps
            assert layer.kernel_size == both(kernel_size)
            assert h.shape == (4, 3, *layer.kernel_length)
            for axis in range(2):
                spare = layer.kernel_length[axis] - steps[axis]
                assert layer.origin[axis] == (0 if causal else (spare + 1) // 2)
                assert layer.delay[axis] == spare / 2 - layer.origin[axis]
            y = layer(x)
            assert y.shape == (2, 6, 11 * steps[0], 12 * steps[1])
            assert_close(layer(x[1]), y[1])
            assert_close(y, upsample2d(x, h, steps, layer.origin, layer.bias, 2, padding_mode))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("kernel_size", "stride"), [(4, 2), (3, 2), ((4, 5), (2, 3)), ((3, 3), (1, 2))], ids=str)
def test_transposed_is_torchs(kernel_size, stride, groups):
    sizes, steps = both(kernel_size), both(stride)
    padding = [(k - s + 1) // 2 for k, s in zip(sizes, steps, strict=True)]
    odd = [(k - s) % 2 for k, s in zip(sizes, steps, strict=True)]
    theirs = nn.ConvTranspose2d(4, 6, sizes, steps, padding, odd, groups=groups, dtype=torch.float64)
    ours = TransposedConv2d(4, 6, kernel_size, stride, groups=groups, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x = noise(2, 4, 5, 6)
    assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
@pytest.mark.parametrize("stride", [2, (2, 3), (3, 1)], ids=str)
@pytest.mark.parametrize("kernel_size", [1, 3, (3, 5)], ids=str)
def test_subpixel_is_torchs_convolution_and_shuffle(kernel_size, stride, padding_mode):
    steps = both(stride)
    conv = nn.Conv2d(
        4,
        6 * steps[0] * steps[1],
        kernel_size,
        padding="same",
        padding_mode=padding_mode,
        bias=False,
        dtype=torch.float64,
    )
    ours = SubPixelConv2d(4, 6, kernel_size, stride, padding_mode=padding_mode, bias=False, dtype=torch.float64)
    ours.load_state_dict(conv.state_dict())
    x = noise(2, 4, 6, 7)
    assert_close(ours(x), pixel_shuffle_2d(conv(x), steps))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("separable", [False, True], ids=["folded", "separable"])
@pytest.mark.parametrize("stride", [1, 2, 3, (2, 3), (4, 1)], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_resize_is_torchs_interpolation_and_convolution(mode, stride, separable, groups):
    steps = both(stride)
    x = noise(2, 4, 14, 15)
    layer = ResizeConv2d(
        4,
        6,
        (3, 5),
        stride,
        mode=mode,
        groups=groups,
        separable=separable,
        padding_mode="replicate",
        dtype=torch.float64,
    )
    options = {} if mode == "nearest" else {"align_corners": False}
    larger = F.interpolate(x, scale_factor=tuple(map(float, steps)), mode=mode, **options)
    expected = F.conv2d(larger, layer.weight, layer.bias, padding="same", groups=groups)
    inside = (..., slice(3, -3), slice(4, -4))
    assert_close(layer(x)[inside], expected[inside])


@pytest.mark.parametrize(
    ("mode", "zeros", "kernel_size", "stride", "outputs", "separable"),
    [
        # interpolation La_1 + s_1 La_2, convolution out k k s s, against out L_1 L_2
        ("nearest", 6, 3, 2, 64, False),  # 6 + 36 out > 16 out
        ("linear", 6, 3, 2, 64, False),  # 12 + 36 out = 36 out
        ("sinc", 6, 3, 2, 1, True),  # 72 + 36 < 26 * 26
        ("sinc", 1, 3, 2, 1, False),  # 12 + 36 > 36
        ("sinc", 1, 1, 2, 2, True),  # 12 + 4 out < 16 out
        ("sinc", 1, 1, 2, 1, False),
    ],
    ids=str,
)
def test_resize_counts_multiply_adds(mode, zeros, kernel_size, stride, outputs, separable):
    layer = ResizeConv2d(2, outputs, kernel_size, stride, mode=mode, zeros=zeros)
    assert layer._fewer_when_separable() == separable


@every_family
def test_constant_stays_constant_but_for_free_kernels(family):
    torch.manual_seed(0)
    layer = family(3, 4, 5, (2, 3), padding_mode="replicate", dtype=torch.float64)
    y = layer(noise(1, 3, 1, 1).expand(1, 3, 6, 6))
    spread = (y - y.mean((2, 3), keepdim=True)).abs().max() / y.abs().max()
    assert (spread > 0.05) == (family is TransposedConv2d)
    assert spread > 0.05 or spread < 1e-13


@every_family
@pytest.mark.parametrize("dtype", reference.TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_types_agree_with_float64(family, dtype):
    layer = family(3, 2, 3, 2, dtype=dtype)
    y = layer(noise(2, 3, 6, 5).to(dtype))
    assert y.dtype == dtype
    assert_close(y, copy.deepcopy(layer).double()(noise(2, 3, 6, 5).to(dtype).double()))


@every_family
def test_gradients(family):
    layer = family(2, 2, 3, (2, 1), dtype=torch.float64)
    x = noise(1, 2, 3, 3).requires_grad_()
    values = tuple(layer.parameters())
    names = [name for name, _ in layer.named_parameters()]

    def output(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(output, (x, *values))


@every_family
def test_everywhere(family):
    torch.manual_seed(0)
    layer, x = family(2, 3, 3, (2, 3)), noise(4, 2, 5, 6, dtype=torch.float32)
    expected = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), expected)
    other = family(2, 3, 3, (2, 3), device="meta")
    assert list(other.state_dict()) == ["weight", "bias"]
    other.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(other(x), expected)
    assert_close(torch.func.vmap(layer)(x.unflatten(0, (2, 2))).flatten(0, 1), expected)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), expected)
    twin = eval(repr(layer), {c.__name__: c for c in (TransposedConv2d, SubPixelConv2d, ResizeConv2d)})
    assert repr(twin) == repr(layer)
    assert_close(layer(x.contiguous(memory_format=torch.channels_last)), expected)


@every_family
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be an integer >= 1"),
        ({"kernel_size": (3, 2.0)}, "kernel_size must be an integer >= 1"),
        ({"stride": (2, -1)}, "stride must be an integer >= 1"),
        ({"stride": (2,)}, "stride must be one integer or a pair"),
        ({"in_channels": 0}, "in_channels must be an integer >= 1"),
        ({"groups": 3}, "groups must divide in_channels"),
        ({"padding_mode": "same"}, "padding_mode must be one of"),
        ({"engine": "fast"}, "engine must be one of"),
    ],
    ids=str,
)
def test_layer_refuses(family, change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        family(**({"in_channels": 4, "out_channels": 4, "kernel_size": 3, "stride": 2} | change))


@every_family
@pytest.mark.parametrize("shape", [(2, 4), (3, 4, 4), (1, 2, 0, 4), (1, 2, 4, 4, 4)], ids=str)
def test_layer_refuses_inputs(family, shape):
    with pytest.raises(ValueError, match=r"^x must have"):
        family(2, 2, 3, 2)(torch.ones(shape))


# ------------------------------------------------------------------------------------------------ regularity of images


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    "family", [TransposedConv2d, partial(SubPixelConv2d, init="default")], ids=["transposed", "subpixel"]
)
def test_regular_images(family, order):
    torch.manual_seed(0)
    layer = family(3, 4, (6, 9) if family is TransposedConv2d else 3, (2, 3), padding_mode="replicate")
    before = layer.weight.detach().clone()
    assert regularity_order(layer.kernel(), (2, 3)) == 0
    regular(layer, order)
    assert layer.weight.shape == before.shape
    assert layer.weight.norm().item() == pytest.approx(before.norm().item(), rel=1e-4)
    optimizer = torch.optim.AdamW(layer.parameters(), 1e-2)
    for step in range(20):
        optimizer.zero_grad()
        (layer(noise(2, 3, 5, 5, seed=step, dtype=torch.float32)) - 1).square().mean().backward()
        optimizer.step()
    assert regularity_order(layer.kernel(), (2, 3)) == order
    y = layer(torch.ones(1, 3, 6, 6))
    assert (y - y.mean((2, 3), keepdim=True)).abs().max() < 1e-5 * y.abs().max()
