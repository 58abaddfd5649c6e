"""Regularity: moments, zeros, factors; projections; and kernels that stay in their space whatever training does."""

import copy
import math
import pickle

import numpy as np
import pytest
import reference
import torch
from reference import assert_close, noise
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from audioup import ResizeConv1d, SubPixelConv1d, TransposedConv1d, project, regular, regularity_order, tonal_fraction
from audioup.init import preserve_variance_, weight_norm
from audioup.interpolation import interpolation_filter

one_thread = reference.one_thread
CASES = [(s, p, spare) for s in (2, 3, 4, 8) for p in (1, 2, 3) for spare in (0, 1, 5)]  # stride, order, free taps - 1
every_case = pytest.mark.parametrize(("stride", "order", "spare"), CASES, ids=str)


def bspline(order, stride):
    taps = np.ones(1)
    for _ in range(order):
        taps = np.convolve(taps, np.ones(stride))
    return taps


def shifts(order, stride, length):
    taps = bspline(order, stride)
    return np.stack([np.pad(taps, (j, length - len(taps) - j)) for j in range(length - len(taps) + 1)])


def projected(stride, order, spare, *shape):
    return project(noise(*shape, order * (stride - 1) + 1 + spare), stride, order)


# -------------------------------------------------------------------------------------------------------- what it means


@every_case
def test_moments_are_the_same_in_all_phases(stride, order, spare):
    h = projected(stride, order, spare, 3).numpy()
    t = np.arange(h.shape[-1]) / h.shape[-1]
    for j in range(order):
        moments = np.stack([(t**j * h)[:, r::stride].sum(-1) for r in range(stride)])
        assert np.ptp(moments, axis=0).max() < 1e-12 * np.abs(h).max() * h.shape[-1]
    next_moment = np.stack([(t**order * h)[:, r::stride].sum(-1) for r in range(stride)])
    assert np.ptp(next_moment, axis=0).max() > 1e-6


@every_case
def test_zeros_have_the_multiplicity(stride, order, spare):
    h = projected(stride, order, spare).numpy()
    n = np.arange(len(h)) - len(h) / 2
    for k in range(1, stride):
        wave = np.exp(-2j * np.pi * k / stride * np.arange(len(h)))
        # The j-th derivative of the transform is the transform of (-i n)^j h.
        derivatives = [abs((n**j * h) @ wave) / (np.abs(n) ** j @ np.abs(h)) for j in range(order + 1)]
        assert max(derivatives[:order]) < 1e-12
        assert derivatives[order] > 1e-6


@every_case
def test_factor(stride, order, spare):
    h = projected(stride, order, spare).numpy()
    w, remainder = np.polydiv(h, bspline(order, stride))
    assert len(w) == 1 + spare
    assert np.abs(remainder).max() < 1e-10 * np.abs(h).max()


@every_case
def test_projection_is_the_nearest_kernel(stride, order, spare):
    length = order * (stride - 1) + 1 + spare
    w = noise(2, 3, length)
    basis = shifts(order, stride, length).T
    solution, *_ = np.linalg.lstsq(basis, w.view(6, -1).numpy().T, rcond=None)
    expected = torch.from_numpy((basis @ solution).T).view(2, 3, length)
    assert_close(project(w, stride, order), expected)
    assert_close(project(expected, stride, order), expected)


def test_projection_by_hand():
    assert_close(project(torch.tensor([1.0, 5.0, 1.0], dtype=torch.float64), 2, 1), torch.tensor([2.0, 4.0, 2.0]))
    w = noise(5, 7)
    assert_close(project(w, 1, 3), w)


def test_projection_of_images_is_one_axis_after_the_other():
    w = noise(2, 7, 8)
    rows = project(w.transpose(1, 2), 2, 2).transpose(1, 2)
    assert_close(project(w, (2, 3), 2), project(rows, 3, 2))
    assert regularity_order(project(w, (2, 3), 2), (2, 3)) == 2
    assert regularity_order(project(w, (2, 3), 2), [2, 3]) == 2
    assert regularity_order(project(w, 3, 2), (2, 3)) == 0


def test_projection_gradient_is_its_own_adjoint():
    w = noise(2, 11).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: project(w, 4, 2), w)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(14), 8, 2), "order 2 at stride 8 needs at least 15 taps, got 14"),
        ((torch.ones(8, 3), (2, 3), 2), "order 2 at stride 3 needs at least 5 taps, got 3"),
        ((torch.ones(8), 2, 0), "order must be an integer >= 1, got 0"),
        ((torch.ones(8), 2, True), "order must be an integer >= 1, got True"),
        ((torch.ones(8), 2, 2.0), "order must be an integer >= 1, got 2.0"),
        ((torch.ones(8), 0, 1), "stride must be an integer >= 1, got 0"),
        ((torch.ones(8), (), 1), "stride must be"),
        ((torch.ones(8), (2, 2), 1), "kernel must have one axis per stride"),
    ],
    ids=str,
)
def test_projection_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        project(*arguments)


# ---------------------------------------------------------------------------------------------------------- the measure


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
@pytest.mark.parametrize(
    ("mode", "order"),
    [("nearest", 1), ("linear", 2), ("sinc", 1), *((f"bspline-{p}", p) for p in range(1, 6))],
)
def test_order_of_filters(mode, order, stride):
    # Linear by 2 is (1, 3, 3, 1) / 4, which is B_3.
    expected = 3 if (mode, stride) == ("linear", 2) else order
    assert regularity_order(interpolation_filter(mode, stride), stride) == expected


def test_order_of_keys_cubic_is_one_and_of_noise_none():
    assert regularity_order(interpolation_filter("cubic", 4), 4) == 1
    assert regularity_order(noise(4, 3, 24), 8) == 0
    assert regularity_order(torch.zeros(17), 8) == 2  # what 17 taps can hold


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_order_survives_rounding(stride, order, spare, dtype):
    assert regularity_order(projected(stride, order, spare, 4, 2).to(dtype), stride) == order


def test_tolerance():
    h = projected(4, 2, 4, 3) + 1e-3 * noise(3, 11, seed=1)
    assert regularity_order(h, 4) == 0
    assert regularity_order(h, 4, tolerance=0.1) >= 2


def test_order_refuses_stride_one():
    with pytest.raises(ValueError, match=r"^stride must be above 1"):
        regularity_order(torch.ones(3), 1)


# ------------------------------------------------------------------------------------------------------- the layers
# held

LAYERS = {
    "transposed": lambda: TransposedConv1d(6, 4, 12, 4),
    "grouped": lambda: TransposedConv1d(6, 4, 12, 4, groups=2),
    "subpixel": lambda: SubPixelConv1d(6, 4, 3, 4, init="default"),
    "subpixel-grouped": lambda: SubPixelConv1d(6, 4, 4, 4, groups=2, init="default"),
    "torch-1d": lambda: nn.ConvTranspose1d(6, 4, 12, 4),
    "torch-2d": lambda: nn.ConvTranspose2d(6, 4, (12, 9), (4, 3)),
}
every_layer = pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
orders = pytest.mark.parametrize("order", [1, 2])


def kernel_of(layer):
    return layer.weight if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)) else layer.kernel()


def input_for(layer, dtype=torch.float32):
    return noise(2, 6, 9, 8, dtype=dtype) if isinstance(layer, nn.ConvTranspose2d) else noise(2, 6, 9, dtype=dtype)


@every_layer
@orders
def test_layer_is_held(build, order):
    torch.manual_seed(0)
    layer = build()
    before, bias, output = layer.weight.detach().clone(), layer.bias.detach().clone(), layer(input_for(layer)).shape
    assert regularity_order(kernel_of(layer), layer.stride) == 0
    assert regular(layer, order) is layer
    assert regularity_order(kernel_of(layer), layer.stride) == order
    assert layer.weight.norm().item() == pytest.approx(before.norm().item(), rel=1e-5)
    assert torch.equal(layer.bias, bias)
    assert [(name, value.shape) for name, value in layer.named_parameters()] == [
        ("bias", bias.shape),
        ("parametrizations.weight.original", before.shape),
    ]
    assert layer(input_for(layer)).shape == output


@every_layer
def test_projecting_keeps_a_trained_weight_as_nearly_as_can_be(build):
    layer = build().double()
    before = kernel_of(layer).detach().clone()
    regular(layer, 2, init="project")
    strides = layer.stride if isinstance(layer.stride, tuple) else (layer.stride,)
    assert_close(kernel_of(layer), project(before, strides, 2))


@pytest.mark.parametrize("norm", ["none", "ours", "torch"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("family", ["transposed", "subpixel"])
def test_two_hundred_steps_stay_in_the_space(family, order, norm):
    torch.manual_seed(0)
    layer = TransposedConv1d(4, 3, 12, 4) if family == "transposed" else SubPixelConv1d(4, 3, 3, 4)
    if norm != "none":
        (weight_norm if norm == "ours" else parametrizations.weight_norm)(layer)
    regular(layer, order)
    start = layer.kernel().detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), 1e-2)
    x, target = noise(4, 4, 20, dtype=torch.float32), noise(4, 3, 80, seed=1, dtype=torch.float32)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        losses.append((layer(x) - target).square().mean())
        losses[-1].backward()
        optimizer.step()
    kernel = layer.kernel().detach()
    assert losses[-1] < losses[0] - 0.01
    assert (kernel - start).norm() > 0.3 * start.norm()
    assert regularity_order(kernel, 4) >= order
    assert tonal_fraction(kernel, 4) < -120
    assert tonal_fraction(layer.double().kernel().detach(), 4) < -250


@pytest.mark.parametrize(
    ("dtype", "level_db"), [(torch.float32, -140), (torch.float16, -70), (torch.bfloat16, -54)], ids=str
)
def test_leak_of_a_type_is_as_stated(dtype, level_db):
    torch.manual_seed(0)
    layer = regular(TransposedConv1d(64, 32, 24, 8), 2).to(dtype)
    assert level_db - 15 < tonal_fraction(layer.kernel(), 8) < level_db
    assert tonal_fraction(layer.double().kernel(), 8) < -250


@pytest.mark.parametrize("causal", [False, True], ids=["centred", "causal"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("stride", [2, 3, 4, 8])
def test_held_kernels_are_bspline_resizing(stride, order, causal):
    torch.manual_seed(0)
    length = (order + 1) * stride
    options = {"causal": causal, "padding_mode": "replicate", "dtype": torch.float64}
    held = regular(TransposedConv1d(3, 2, length, stride, **options), order)
    resize = ResizeConv1d(3, 2, length - order * (stride - 1), stride, mode=f"bspline-{order}", **options)
    taps = interpolation_filter(f"bspline-{order}", stride).numpy()
    factors = np.stack([[np.polydiv(h, taps)[0] for h in row] for row in held.kernel().detach().numpy()])
    with torch.no_grad():
        resize.weight.copy_(torch.from_numpy(factors).transpose(0, 1).flip(-1))
        resize.bias.copy_(held.bias)
    x = noise(2, 3, 12)
    assert (resize.kernel_length, resize.origin) == (held.kernel_length, held.origin)
    assert_close(resize(x), held(x))


@every_layer
def test_everywhere(build):
    torch.manual_seed(0)
    layer = regular(build(), 1)
    x = input_for(layer)
    expected = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer.state_dict()))):
        other = twin if isinstance(twin, nn.Module) else regular(build(), 1)
        if other is not twin:
            other.load_state_dict(twin)
        assert torch.equal(other(x), expected)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), expected)
    compiled(x).sum().backward()
    assert layer.parametrizations.weight.original.grad.abs().sum() > 0
    parametrize.remove_parametrizations(layer, "weight")
    assert_close(layer(x), expected)


def test_meta_layer_comes_to_life():
    fresh = regular(TransposedConv1d(4, 2, 12, 4), 2)
    layer = regular(TransposedConv1d(4, 2, 12, 4, device="meta"), 2)
    layer.load_state_dict(fresh.state_dict(), assign=True)
    assert torch.equal(layer.kernel(), fresh.kernel())
    moved = regular(TransposedConv1d(4, 2, 12, 4, device="meta"), 2).to_empty(device="cpu")
    moved.reset_parameters()
    assert regularity_order(moved.kernel(), 4) == 2


def test_data_parallel(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        layer = regular(weight_norm(TransposedConv1d(4, 2, 12, 4)), 2)
        twin = copy.deepcopy(layer)
        x = noise(2, 4, 9, dtype=torch.float32)
        wrapped = nn.parallel.DistributedDataParallel(twin)
        wrapped(x).square().sum().backward()
        layer(x).square().sum().backward()
        for ours, theirs in zip(layer.parameters(), twin.parameters(), strict=True):
            assert_close(theirs.grad, ours.grad)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("build", "order", "error", "message"),
    [
        (lambda: TransposedConv1d(2, 2, 14, 8), 2, ValueError, "order 2 at stride 8 needs at least 15 taps, got 14"),
        (lambda: SubPixelConv1d(2, 2, 1, 8), 2, ValueError, "needs at least 15 taps, got 8"),
        (lambda: nn.ConvTranspose1d(2, 2, 16, 8, dilation=2), 1, ValueError, "layer must not be dilated"),
        (lambda: regular(TransposedConv1d(2, 2, 16, 8)), 1, ValueError, "held at a regularity order already"),
        (lambda: TransposedConv1d(2, 2, 16, 8), 0, ValueError, "order must be an integer >= 1"),
        (lambda: TransposedConv1d(2, 2, 16, 8), True, ValueError, "order must be an integer >= 1"),
        (lambda: ResizeConv1d(2, 2, 9, 8), 1, TypeError, "got ResizeConv1d"),
        (lambda: nn.Conv1d(2, 2, 9), 1, TypeError, "got Conv1d"),
    ],
    ids=["short", "short-subpixel", "dilated", "twice", "zero", "bool", "resize", "conv"],
)
def test_layer_refuses(build, order, error, message):
    with pytest.raises(error, match=message):
        regular(build(), order)


def test_layer_refuses_init_and_the_old_weight_norm():
    with pytest.raises(ValueError, match=r"^init must"):
        regular(TransposedConv1d(2, 2, 16, 8), init="zeros")
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(nn.ConvTranspose1d(2, 2, 16, 8))
    with pytest.raises(ValueError, match=r"remove the old form of weight norm first"):
        regular(old)


# --------------------------------------------------------------------------------------------------- in deep networks


def line_over_signal_db(build, seeds=4):
    """Lines at the product of the strides that all inputs share, over all else, after three stages and rectifiers."""
    lines, rest = 0.0, 0.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        stack = nn.Sequential()
        for _ in range(3):
            layer = build()
            preserve_variance_(layer)
            stack.extend([layer, nn.LeakyReLU(0.1)])
        spectrum = torch.fft.rfft(torch.randn(8, 8, 256))
        spectrum[..., 13:] = 0  # slow: up to 0.05 cycles per frame
        x = torch.fft.irfft(spectrum, n=256)
        with torch.no_grad():
            y = stack(x / x.std()).double()
        locked = torch.fft.fft(y.unflatten(-1, (-1, 64)).mean(-2))[..., 1:] / 64
        shared = (locked.sum(0).abs().square() - locked.abs().square().sum(0)).sum().item() / 56
        lines += shared
        rest += y.square().mean((0, 2)).sum().item() - shared
    return 10 * math.log10(max(lines / rest, 1e-15))


def test_lines_in_stacks_of_three():
    def build(multiple, order=0, init="factor"):
        layer = TransposedConv1d(8, 8, multiple * 4, 4, padding_mode="circular")
        nn.init.normal_(layer.weight)
        return regular(layer, order, init) if order else layer

    free = line_over_signal_db(lambda: build(2))
    projected_1 = line_over_signal_db(lambda: build(2, 1, "project"))
    factor_1 = line_over_signal_db(lambda: build(2, 1))
    projected_2 = line_over_signal_db(lambda: build(3, 2, "project"))
    factor_2 = line_over_signal_db(lambda: build(3, 2))
    assert -10 < free < -2
    assert projected_1 < free - 12
    assert factor_1 < projected_1 - 15
    assert projected_2 < projected_1 - 8
    assert factor_2 < projected_2 - 15


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"^kernel must be of a floating-point type, got torch\.int64"):
        project(torch.tensor([1, 5, 1]), 2, 1)
    with pytest.raises(TypeError, match=r"^kernel must be of a floating-point type"):
        regularity_order(torch.tensor([1, 5, 1]), 2)


@pytest.mark.parametrize(("dtype", "below_db"), [(torch.float32, -130), (torch.float16, -62), (torch.bfloat16, -45)])
def test_a_projected_white_kernel_leaks_more_but_not_much(dtype, below_db):
    torch.manual_seed(0)
    levels = [
        tonal_fraction(project(torch.randn(64, 32, m * s, dtype=dtype), s, p), s).item()
        for s in (2, 4, 8)
        for m in (2, 3)
        for p in (1, 2)
    ]
    assert max(levels) < below_db


@pytest.mark.parametrize("order", [1, 2])
def test_a_normed_held_layer_compiles(order):
    torch.compiler.reset()
    layer, x = regular(weight_norm(TransposedConv1d(3, 2, 12, 4)), order), noise(2, 3, 9, dtype=torch.float32)
    assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


def test_an_order_that_float64_cannot_hold_is_an_error():
    kernel = torch.randn(4, 4, 200, dtype=torch.float64)
    assert tonal_fraction(project(kernel, 8, 8), 8) < -100
    for order in (10, 15, 20):  # of 20 there would be -3 dB of tone, without a word
        with pytest.raises(ValueError, match=f"order {order} at stride 8 and 200 taps is beyond"):
            project(kernel, 8, order)
    assert 8 <= regularity_order(torch.zeros(200), 8) < 10
