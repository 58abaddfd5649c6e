"""What all families share: constructor, length, origin, delay, context, gradients, copies, types and errors."""

import copy
import pickle
from functools import partial

import pytest
import reference
import torch
from reference import assert_close, noise
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from audioup import ResizeConv1d, SubPixelConv1d, TransposedConv1d
from audioup.functional import context

one_thread = reference.one_thread
FAMILIES = {
    "transposed": TransposedConv1d,
    "subpixel": SubPixelConv1d,
    "resize-nearest": ResizeConv1d,
    "resize-linear": partial(ResizeConv1d, mode="linear"),
    "resize-sinc": partial(ResizeConv1d, mode="sinc", zeros=2, rolloff=0.9),
    "resize-cubic": partial(ResizeConv1d, mode="cubic"),
    "resize-separable": partial(ResizeConv1d, mode="sinc", zeros=2, rolloff=0.9, separable=True),
    "resize-bspline": partial(ResizeConv1d, mode="bspline-3"),
}
SHAPES = [(1, 1), (4, 1), (4, 2), (5, 2), (3, 3), (4, 3), (3, 5), (16, 8), (9, 8)]  # kernel_size, stride
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
ENGINES = ("auto", "transposed", "polyphase")

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
every_shape = pytest.mark.parametrize(("kernel_size", "stride"), SHAPES, ids=lambda n: str(n))
centred_and_causal = pytest.mark.parametrize("causal", [False, True], ids=["centred", "causal"])


def owed(layer, frames):
    """Jacobian of a layer without channels: ``[m, t, r]`` is what sample ``r`` of frame ``t`` owes to frame ``m``."""
    inputs = layer.in_channels
    impulses = torch.eye(inputs * frames, dtype=torch.float64).view(inputs, frames, inputs, frames)
    with torch.no_grad():
        responses = layer(impulses.flatten(0, 1)) - layer(torch.zeros_like(impulses[0, 0]))
    return responses.abs().sum(1).unflatten(0, (inputs, frames)).sum(0).unflatten(-1, (frames, layer.stride))


# ------------------------------------------------------------------------------------------------- the shared contract


@every_family
@every_shape
@centred_and_causal
def test_layer_is_the_operator_on_its_kernel(family, kernel_size, stride, causal):
    x = noise(2, 4, 40)
    for padding_mode in PADDING_MODES:
        for engine in ENGINES:
            layer = family(
                4,
                6,
                kernel_size,
                stride,
                groups=2,
                padding_mode=padding_mode,
                causal=causal,
                engine=engine,
                dtype=torch.float64,
            )
            length = layer.kernel_length
            assert layer.kernel().shape == (4, 3, length)
            assert layer.origin == (0 if causal else (length - stride + 1) // 2)
            y = layer(x)
            assert y.shape == (2, 6, 40 * stride)
            assert_close(layer(x[1]), y[1])
            if engine == "auto" and stride < 8:
                h, bias = layer.kernel().detach().numpy(), layer.bias.detach().numpy()
                expected = reference.upsample1d(x[1, :, :20].numpy(), h, stride, layer.origin, bias, 2, padding_mode)
                assert_close(layer(x[1, :, :20]), expected)


@pytest.mark.parametrize(
    "family",  # the convolution after a separate interpolation is a convolution whatever the engine
    [pytest.param(family, id=name) for name, family in FAMILIES.items() if name != "resize-separable"],
)
def test_layer_runs_the_engine_asked_for(family, monkeypatch):
    x = noise(1, 2, 30)
    expected = {causal: family(2, 2, 4, 2, causal=causal, dtype=torch.float64) for causal in (False, True)}

    def fail(*_args, **_kwargs):
        raise AssertionError("the other engine ran")

    for engine, other in (("transposed", "conv1d"), ("polyphase", "conv_transpose1d")):
        for causal, layer in expected.items():
            same = family(2, 2, 4, 2, causal=causal, engine=engine, dtype=torch.float64)
            same.load_state_dict(layer.state_dict())
            y = layer(x)
            with monkeypatch.context() as patch:
                patch.setattr(nn.functional, other, fail)
                assert_close(same(x), y)


@every_family
@pytest.mark.parametrize("frames", [1, 2, 13])
def test_one_word_swaps_the_family(family, frames):
    # The constructor of the transposed convolution, positional as torch has it, and every option by name.
    for options in (
        {},
        {"groups": 2, "bias": False, "padding_mode": "replicate", "causal": True, "engine": "polyphase"},
    ):
        for kernel_size, stride in SHAPES:
            y = family(4, 2, kernel_size, stride, **options)(torch.zeros(3, 4, frames))
            assert y.shape == (3, 2, stride * frames)
            assert (y == 0).all() == (options != {})
    assert family(4, 2, 3)(torch.zeros(4, frames)).shape == (2, frames)
    assert family(4, 2, 3).stride == 1


@every_family
def test_options_are_by_name_only(family):
    with pytest.raises(TypeError, match="positional"):
        family(4, 2, 4, 2, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'output_padding'"):
        family(4, 2, 4, 2, output_padding=1)


PARAMETERS = [
    # 6 inputs, 4 outputs, 5 taps, stride 3, 2 groups
    pytest.param(TransposedConv1d, (6, 2, 5), id="transposed"),
    pytest.param(SubPixelConv1d, (12, 3, 5), id="subpixel"),
    pytest.param(ResizeConv1d, (4, 3, 5), id="resize"),
]


@pytest.mark.parametrize(("family", "shape"), PARAMETERS)
def test_parameters(family, shape):
    layer = family(6, 4, 5, 3, groups=2)
    assert {name: tuple(value.shape) for name, value in layer.named_parameters()} == {"weight": shape, "bias": (4,)}
    assert list(layer.state_dict()) == ["weight", "bias"]
    silent = family(6, 4, 5, 3, groups=2, bias=False)
    assert silent.bias is None
    assert list(silent.state_dict()) == ["weight"]
    # Uniform within 1 / sqrt(fan_in), both of them.
    torch.manual_seed(0)
    wide = family(64, 64, 5, 3)
    bound = wide.weight[0].numel() ** -0.5
    for value in (wide.weight, wide.bias):
        assert 0.9 * bound < value.abs().max() <= bound
    assert wide.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


# ------------------------------------------------------------------------------------------------------ time and delay


@every_family
@every_shape
@centred_and_causal
def test_delay_is_where_the_impulse_response_of_a_symmetric_kernel_lies(family, kernel_size, stride, causal):
    layer = family(1, 1, kernel_size, stride, causal=causal, bias=False, dtype=torch.float64)
    nn.init.ones_(layer.weight)
    h = layer.kernel()
    assert_close(h, h.flip(-1))
    frames, m = 60, 25
    impulse = torch.zeros(1, frames, dtype=torch.float64)
    impulse[0, m] = 1
    y = layer(impulse)[0].detach()
    assert y.sum().item() == pytest.approx(h.sum().item())
    # Frame m stands for the samples m s .. m s + s - 1, whose centre is (s - 1) / 2 after the first.
    centroid = (y * torch.arange(frames * stride)).sum().item() / y.sum().item()
    assert centroid == pytest.approx(m * stride + (stride - 1) / 2 + layer.delay, abs=1e-9)
    if causal:
        assert layer.delay == (layer.kernel_length - stride) / 2
    else:
        assert layer.delay == (-0.5 if (layer.kernel_length - stride) % 2 else 0)


@every_family
@every_shape
@centred_and_causal
def test_context_tells_which_frames_matter(family, kernel_size, stride, causal):
    layer = family(1, 2, kernel_size, stride, causal=causal, dtype=torch.float64)
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    frames, t = 41, 20
    used = owed(layer, frames)[:, t].sum(-1).nonzero().flatten().tolist()
    left, right = context(layer.kernel_length, stride, layer.origin)
    assert max(left, right) < 20
    assert used == list(range(t - left, t + right + 1))


@every_family
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
def test_causal_layer_owes_nothing_to_later_frames(family, padding_mode):
    for kernel_size, stride in SHAPES:
        layer = family(2, 2, kernel_size, stride, causal=True, padding_mode=padding_mode, dtype=torch.float64)
        table = owed(layer, 20)
        for t in range(20):
            assert table[t, t].sum() > 0
            assert table[t + 1 :, t].sum() == 0


@every_family
def test_centred_layer_looks_ahead(family):
    table = owed(family(2, 2, 7, 2, dtype=torch.float64), 15)
    assert table[8, 7].sum() > 0


@every_family
@every_shape
@centred_and_causal
def test_one_frame_later_is_stride_samples_later(family, kernel_size, stride, causal):
    layer = family(2, 3, kernel_size, stride, causal=causal, dtype=torch.float64)
    x = noise(2, 21)
    y, later = layer(x[:, 1:]), layer(x[:, :-1])
    left, right = context(layer.kernel_length, stride, layer.origin)
    inside = slice((left + 1) * stride, (19 - right) * stride)
    assert y[:, inside].numel() > 0
    assert_close(later[:, stride:][:, inside], y[:, : 19 * stride][:, inside])


# ----------------------------------------------------------------------------------------------------------- gradients


@every_family
@pytest.mark.parametrize("engine", ["transposed", "polyphase"])
@centred_and_causal
def test_gradients(family, engine, causal):
    layer = family(2, 4, 3, 2, groups=2, causal=causal, engine=engine, dtype=torch.float64)
    weight, bias, x = (value.detach().clone().requires_grad_() for value in (layer.weight, layer.bias, noise(1, 2, 4)))

    def apply(weight, bias, x):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    assert torch.autograd.gradcheck(apply, (weight, bias, x))


@every_family
@centred_and_causal
def test_adjoint(family, causal):
    layer = family(2, 3, 5, 3, causal=causal, bias=False, dtype=torch.float64)
    x = noise(2, 9, seed=1).requires_grad_()
    forward = layer(x)
    y = noise(3, 27, seed=2)
    (backward,) = torch.autograd.grad(forward, x, y)
    assert_close((forward * y).sum(), (x * backward).sum())


@every_family
def test_a_step_of_descent_lowers_the_loss(family):
    torch.manual_seed(0)
    layer, x, target = family(2, 2, 5, 2, dtype=torch.float64), noise(2, 12), noise(2, 24, seed=1)
    losses = []
    for _ in range(2):
        loss = (layer(x) - target).square().mean()
        layer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for value in layer.parameters():
                value -= 0.01 * value.grad
        losses.append(loss.item())
    assert losses[1] < losses[0]


# ------------------------------------------------------------------------------------------------- copies and storage


@every_family
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"]
)
def test_copies_compute_the_same_and_share_nothing(family, duplicate):
    layer, x = family(2, 2, 5, 3, causal=True, padding_mode="replicate"), noise(2, 9, dtype=torch.float32)
    twin, expected = duplicate(layer), layer(x).detach().clone()
    assert torch.equal(twin(x), expected)
    assert repr(twin) == repr(layer)
    nn.init.zeros_(layer.weight)
    assert torch.equal(twin(x), expected)
    assert not torch.equal(layer(x), expected)


@every_family
def test_state_dict_carries_everything_learned(family):
    x = noise(2, 9, dtype=torch.float32)
    torch.manual_seed(1)
    layer = family(2, 2, 5, 3)
    torch.manual_seed(2)
    other = family(2, 2, 5, 3)
    assert not torch.equal(other(x), layer(x))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


@every_family
def test_weight_norm_keeps_the_output(family):
    layer, x = family(3, 2, 5, 3, dtype=torch.float64), noise(2, 3, 9)
    before = layer(x)
    weight_norm(layer)
    assert_close(layer(x), before)
    layer(x).sum().backward()
    assert layer.parametrizations.weight.original1.grad.abs().sum() > 0
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert_close(layer(x), before)


@every_family
@pytest.mark.parametrize("built", ["by argument", "by context"])
def test_meta_layer_comes_to_life(family, built):
    if built == "by argument":
        layer = family(2, 4, 5, 3, groups=2, device="meta")
    else:
        with torch.device("meta"):
            layer = family(2, 4, 5, 3, groups=2)
    assert all(value.is_meta for value in layer.parameters())
    layer.to_empty(device="cpu")
    torch.manual_seed(3)
    layer.reset_parameters()
    torch.manual_seed(3)
    fresh = family(2, 4, 5, 3, groups=2)
    x = noise(2, 9, dtype=torch.float32)
    assert torch.equal(layer(x), fresh(x))


@every_family
def test_meta_layer_comes_to_life_from_a_state_dict(family):
    # The usual way to load a large model; torch's own layers compute right after it.
    fresh, x = family(2, 2, 5, 3), noise(2, 9, dtype=torch.float32)
    layer = family(2, 2, 5, 3, device="meta")
    layer.load_state_dict(fresh.state_dict(), assign=True)
    assert not any(value.is_meta for value in (*layer.parameters(), *layer.buffers()))
    assert torch.equal(layer(x), fresh(x))


# ----------------------------------------------------------------------------------------------- graphs and transforms


@pytest.fixture
def no_graphs():
    """Forget the graphs of other layers: torch compiles one function only a few times."""
    torch.compiler.reset()


@pytest.mark.usefixtures("no_graphs")
@every_family
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_compiles_to_one_graph(family, padding_mode):
    layer, x = family(2, 3, 5, 3, padding_mode=padding_mode, dtype=torch.float64), noise(2, 2, 19)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected = layer(x)
    assert_close(compiled(x), expected)
    expected.square().sum().backward()
    gradients = [value.grad.clone() for value in layer.parameters()]
    layer.zero_grad()
    compiled(x).square().sum().backward()
    for value, gradient in zip(layer.parameters(), gradients, strict=True):
        assert_close(value.grad, gradient)


@pytest.mark.usefixtures("no_graphs")
@every_family
def test_a_compiled_graph_serves_all_lengths(family):
    layer = family(2, 3, 5, 3, dtype=torch.float64)
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=count)
    for frames in (19, 23, 40, 20000):
        x = noise(2, 2, frames)
        with torch.no_grad():
            assert_close(compiled(x), layer(x))
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_graphs")
@every_family
def test_inductor_computes_the_same(family):
    layer, x = family(4, 3, 5, 3), noise(2, 4, 19, dtype=torch.float32)
    assert_close(torch.compile(layer, fullgraph=True)(x), copy.deepcopy(layer).double()(x.double()))


@every_family
def test_transforms_map_over_signals_and_over_weights(family):
    layer, x = family(2, 3, 5, 3, dtype=torch.float64), noise(4, 2, 9)
    assert_close(torch.func.vmap(layer)(x), layer(x))
    assert_close(torch.func.vmap(layer, in_dims=1)(x.unsqueeze(0)), layer(x).unsqueeze(1))
    others = [family(2, 3, 5, 3, dtype=torch.float64) for _ in range(3)]
    weights, buffers = torch.func.stack_module_state(others)
    together = torch.func.vmap(lambda w, b: torch.func.functional_call(layer, (w, b), (x,)))(weights, buffers)
    assert_close(together, torch.stack([other(x) for other in others]))
    per_signal = torch.func.vmap(
        torch.func.grad(lambda w, x: torch.func.functional_call(layer, w, (x,)).square().sum()), in_dims=(None, 0)
    )(dict(layer.named_parameters()), x)
    layer(x).square().sum().backward()
    assert_close(per_signal["weight"].sum(0), layer.weight.grad)


# --------------------------------------------------------------------------------------------------------------- types


@every_family
@centred_and_causal
@pytest.mark.parametrize("dtype", reference.TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_types_agree_with_float64(family, causal, dtype):
    for padding_mode in PADDING_MODES:
        for engine in ENGINES:
            options = {"causal": causal, "padding_mode": padding_mode, "engine": engine}
            layer = family(8, 4, 7, 3, dtype=dtype, **options)
            assert all(value.dtype == dtype for value in (*layer.parameters(), *layer.buffers()))
            exact = family(8, 4, 7, 3, dtype=torch.float64, **options)
            exact.load_state_dict(layer.state_dict())
            x = noise(2, 8, 20, dtype=dtype)
            y = layer(x)
            assert y.dtype == dtype
            assert_close(y, exact(x.double()))


@every_family
def test_layer_can_be_cast_after_construction(family):
    layer, x = family(8, 4, 7, 3), noise(8, 20)
    exact = copy.deepcopy(layer).double()
    assert_close(layer.to(torch.bfloat16)(x.bfloat16()), exact(x))


@every_family
@centred_and_causal
@pytest.mark.parametrize("engine", ["transposed", "polyphase"])
def test_autocast_decides_the_type_of_the_output(family, causal, engine):
    # As for torch's convolutions: the type must not depend on the origin or the engine.
    layer, x = family(8, 4, 7, 3, causal=causal, engine=engine), noise(8, 20, dtype=torch.float32)
    expected = copy.deepcopy(layer).double()(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert_close(y.bfloat16(), expected)
    assert y.dtype == torch.bfloat16


# ------------------------------------------------------------------------------------------------------ representation

SHOWN = [
    (TransposedConv1d(4, 2, 8, 4), "TransposedConv1d(4, 2, kernel_size=8, stride=4)"),
    (
        SubPixelConv1d(4, 2, 3, 4, groups=2, causal=True, bias=False),
        "SubPixelConv1d(4, 2, kernel_size=3, stride=4, groups=2, causal=True, bias=False)",
    ),
    (
        ResizeConv1d(4, 2, 9, 4, mode="linear", padding_mode="reflect", engine="polyphase"),
        "ResizeConv1d(4, 2, kernel_size=9, stride=4, padding_mode='reflect', engine='polyphase', mode='linear')",
    ),
]


@pytest.mark.parametrize(("layer", "text"), SHOWN, ids=[type(layer).__name__ for layer, _ in SHOWN])
def test_repr_is_the_constructor_call(layer, text):
    assert repr(layer) == text


@every_family
@pytest.mark.parametrize("options", [{}, {"groups": 2, "causal": True, "bias": False}], ids=["plain", "options"])
def test_repr_builds_the_same_layer(family, options):
    torch.manual_seed(0)
    layer = family(4, 2, 7, 3, dtype=torch.float64, **options)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        twin = eval(repr(layer))
    finally:
        torch.set_default_dtype(torch.float32)
    x = noise(4, 20)
    assert torch.equal(twin(x), layer(x))


def test_repr_shows_independent_phases():
    layer = SubPixelConv1d(4, 2, 3, 2, init="default")
    assert eval(repr(layer)).init == "default"


# -------------------------------------------------------------------------------------------------------------- errors


@every_family
@pytest.mark.parametrize("name", ["in_channels", "out_channels", "kernel_size", "stride", "groups"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "2", None], ids=repr)
def test_layer_takes_whole_numbers(family, name, value):
    good = {"in_channels": 2, "out_channels": 2, "kernel_size": 3, "stride": 2, "groups": 1}
    with pytest.raises(ValueError, match=rf"^{name} must be an integer >= 1, got {value!r}"):
        family(**(good | {name: value}))


@every_family
@pytest.mark.parametrize(("in_channels", "out_channels", "name"), [(3, 4, "in_channels"), (4, 3, "out_channels")])
def test_groups_divide_both_channel_counts(family, in_channels, out_channels, name):
    with pytest.raises(ValueError, match=rf"^groups must divide {name} = 3, got 2"):
        family(in_channels, out_channels, 3, 2, groups=2)


@every_family
@pytest.mark.parametrize("name", ["padding_mode", "engine"])
@pytest.mark.parametrize("value", ["same", "", None], ids=repr)
def test_layer_refuses_unknown_modes(family, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be one of"):
        family(2, 2, 3, 2, **{name: value})


@every_family
@pytest.mark.parametrize("shape", [(5,), (3, 5), (1, 3, 5), (1, 1, 2, 5), (2, 0), (1, 2, 0)], ids=str)
def test_layer_refuses_inputs_that_do_not_fit(family, shape):
    with pytest.raises(ValueError, match=r"^x must"):
        family(2, 2, 3, 2)(torch.zeros(shape))


@every_family
@pytest.mark.parametrize(("padding_mode", "extra"), [("reflect", 1), ("circular", 0)])
def test_layer_refuses_inputs_too_short_to_extend(family, padding_mode, extra):
    layer = family(2, 2, 17, 2, padding_mode=padding_mode)
    shortest = max(context(layer.kernel_length, 2, layer.origin)) + extra
    assert layer(torch.zeros(2, shortest)).shape == (2, 2 * shortest)
    with pytest.raises(ValueError, match=rf"^padding_mode '{padding_mode}' needs x of more than {shortest - 1} frames"):
        layer(torch.zeros(2, shortest - 1))
