"""Costs and reach of a generator, against what real modules compute, hold, depend on and wait for."""

import math
from itertools import pairwise, product

import pytest
import torch
from reference import noise, one_thread  # noqa: F401
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from vocoder.model import UPSAMPLERS, Generator, GeneratorShape

from audioup import TransposedConv1d, regularity_order
from audioup.costs import LAYERS, GeneratorSizes, Taps, overlap
from audioup.functional import context
from audioup.plan import plan
from audioup.streaming import Stream

STRIDES = (5, 4, 2)
SIZES = {"channels": 16, "n_mels": 6, "block_kernels": (3, 4), "dilations": (1, 3)}


def one(strides=STRIDES, kernel_sizes=None, sample_rate=16000, **options):
    """Plan one schedule of a small generator."""
    return plan(sample_rate, math.prod(strides), strides, kernel_sizes, **{**SIZES, **options}).schedules[0]


def layer_of(schedule, name):
    (found,) = [layer for layer in schedule.layers if layer.name == name]
    return found


def shape(strides=STRIDES, kernel_sizes=None, **options):
    sizes = {**SIZES, **options}
    dilations = (sizes["dilations"],) * len(sizes["block_kernels"])
    return GeneratorShape(strides, sizes["channels"], sizes["block_kernels"], dilations, 2, kernel_sizes)


def flops(module, channels, frames):
    """Count flops of the convolutions of one call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, channels, frames))
    return sum(n for operation, n in counter.get_flop_counts()["Global"].items() if "conv" in str(operation))


def multiply_adds_a_frame(module, channels):
    # What one frame more adds: nothing of the edges. A multiply-add is two flops.
    return (flops(module, channels, 41) - flops(module, channels, 40)) / 2


def parameters(module):
    # The gains of weight norm, "original0", are multiplied out before use.
    return sum(p.numel() for name, p in module.named_parameters() if not name.endswith("original0"))


def reached(module, channels, frames=61):
    """Return the frames before and after the middle one that the samples of the middle one depend on."""
    x = noise(1, channels, frames).requires_grad_()
    y = module.double()(x)
    hop, middle = y.shape[-1] // frames, frames // 2
    # Squares, weighted at random: no derivative that counts is zero by chance or cancels.
    part = y[..., hop * middle : hop * (middle + 1)]
    (slope,) = torch.autograd.grad((part.square() * noise(*part.shape, seed=1).abs()).sum(), x)
    touched = slope.abs().sum((0, 1)).nonzero().flatten()
    return middle - touched.min().item(), touched.max().item() - middle


# --- costs ---


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("stride", [2, 3, 5, 8])
def test_layers_cost_what_the_real_ones_compute(name, stride):
    real = UPSAMPLERS[name](16, 8, stride).eval()
    planned = layer_of(one((stride,), sample_rate=stride), name)  # one frame a second
    assert planned.upsamplers.multiply_adds == multiply_adds_a_frame(real, 16)
    assert planned.upsamplers.parameters == parameters(real)
    assert planned.kernel_lengths == (real.kernel_length,)
    assert planned.delay_samples == real.delay
    assert list(LAYERS) == [layer.name for layer in one((stride,)).layers]


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "subpixel"])
@pytest.mark.parametrize("stride", [2, 3, 4, 5, 7, 8])
def test_the_order_is_that_of_a_random_kernel(name, stride):
    torch.manual_seed(stride)
    kernel = UPSAMPLERS[name](6, 4, stride).kernel()
    assert layer_of(one((stride,)), name).order == regularity_order(kernel, stride)


def test_a_sub_pixel_kernel_is_of_order_1_at_first_only():
    layer = UPSAMPLERS["subpixel"](6, 4, 4)
    assert regularity_order(layer.kernel(), 4) == 1
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    assert layer_of(one((4,)), "subpixel").order == regularity_order(layer.kernel(), 4) == 0


@pytest.mark.parametrize(("kernel_size", "stride"), [(16, 8), (7, 4), (4, 4), (3, 2), (11, 5), (21, 3)])
def test_a_transposed_convolution_costs_what_torch_computes(kernel_size, stride):
    (stage,) = one((stride,), (kernel_size,), sample_rate=stride).stages
    real = nn.ConvTranspose1d(16, 8, kernel_size, stride)
    assert stage.multiply_adds == flops(real, 16, 10) / 2 / 10
    assert stage.parameters == parameters(real)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("strides", [(5, 4, 2), (3, 3), (8, 2)])
def test_a_generator_costs_what_the_recipes_computes(name, strides):
    real = Generator(6, shape(strides), name).eval()
    whole = layer_of(one(strides, sample_rate=math.prod(strides)), name).generator
    assert whole.multiply_adds == multiply_adds_a_frame(real, 6)
    assert whole.parameters == parameters(real)


def test_own_kernels_cost_what_the_recipes_generator_computes():
    schedule = one(STRIDES, (11, 4, 7), sample_rate=40)
    real = Generator(6, shape(kernel_sizes=(11, 4, 7)), "transposed").eval()
    whole = schedule.layers[0].generator
    assert (whole.multiply_adds, whole.parameters) == (multiply_adds_a_frame(real, 6), parameters(real))
    stages = schedule.stages
    branches = real.resblocks[:2], real.resblocks[2:4], real.resblocks[4:]
    for stage, up, blocks in zip(stages, real.ups, branches, strict=True):
        assert stage.parameters == parameters(up)
        assert stage.block_parameters == sum(map(parameters, blocks))
    ups = schedule.layers[0].upsamplers
    assert sum(stage.multiply_adds for stage in stages) == ups.multiply_adds
    ends = 7 * 6 * 16 + 7 * 2 * 40  # multiply-adds of the first and the last convolution for a frame
    assert whole.multiply_adds == ups.multiply_adds + sum(stage.block_multiply_adds for stage in stages) + ends


@pytest.mark.parametrize(
    ("strides", "channels", "n_mels", "millions"),
    [
        ((8, 8, 2, 2), 512, 80, 13.92),  # HiFi-GAN V1 and V2, table 1 of Kong et al. (2020)
        ((8, 8, 2, 2), 128, 80, 0.92),
        ((4, 4, 2, 2, 2, 2), 1536, 100, 112),  # BigVGAN, table 2 of Lee et al. (2023), whose activations add little
    ],
)
def test_published_sizes(strides, channels, n_mels, millions):
    (schedule,) = plan(22050, 256, strides, channels=channels, n_mels=n_mels).schedules
    counted = schedule.layers[0].generator.parameters / 1e6
    assert counted == pytest.approx(millions, abs=0.5 if millions > 100 else 0.01)


def test_a_second_is_as_many_frames_as_the_rate_has():
    slow, fast = one(sample_rate=40), one(sample_rate=22050)
    for a, b in zip(slow.layers, fast.layers, strict=True):
        assert b.upsamplers.multiply_adds == pytest.approx(a.upsamplers.multiply_adds * 22050 / 40, rel=1e-15)
        assert b.generator.parameters == a.generator.parameters


# --- how far it looks ---


@pytest.mark.parametrize("causal", [False, True])
def test_one_layer_looks_as_far_as_the_operator(causal):
    for length, stride in product(range(1, 30), range(2, 10)):
        origin = 0 if causal else (length - stride + 1) // 2
        sizes = GeneratorSizes((stride,), (Taps(length, length),), 2, 1, (), (), causal)
        assert sizes.context(whole=False) == context(length, stride, origin), (length, stride)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("strides", "kernel_sizes"),
    [((5, 4, 2), (10, 8, 4)), ((5, 4, 2), (11, 7, 3)), ((4, 3), (3, 9)), ((2, 3, 2), (9, 6, 5)), ((4, 6), (8, 2))],
)
def test_a_stack_looks_as_far_as_a_real_one(strides, kernel_sizes, causal):
    schedule = one(strides, kernel_sizes, causal=causal)
    widths = [16 >> stage for stage in range(len(strides) + 1)]
    layers = [
        TransposedConv1d(i, o, k, s, causal=causal)
        for (i, o), k, s in zip(pairwise(widths), kernel_sizes, strides, strict=True)
    ]
    stack = nn.Sequential(*layers)
    extent = schedule.layers[0].upsamplers
    assert extent.context == reached(stack, 16)
    assert extent.look_ahead_samples == Stream(stack.float()).latency
    delay = 0.0
    for layer in layers:
        delay = layer.stride * delay + layer.delay
    assert schedule.layers[0].delay_samples == delay


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("strides", [(5, 4, 2), (3, 3)])
def test_a_generator_looks_as_far_as_the_recipes(name, strides):
    torch.manual_seed(0)
    generator = Generator(6, shape(strides), name).eval()
    extent = layer_of(one(strides), name).generator
    assert extent.look_ahead_samples == Stream(generator).latency
    assert extent.context == reached(generator, 6, 121)
    frames = sum(extent.context) + 1
    assert extent.field_ms == pytest.approx(1000 * frames * math.prod(strides) / 16000)
    assert extent.look_ahead_ms == pytest.approx(1000 * extent.look_ahead_samples / 16000)


def test_a_causal_generator_waits_for_nothing():
    for layer in one(causal=True).layers:
        for extent in (layer.upsamplers, layer.generator):
            assert extent.look_ahead_samples == extent.context[1] == 0
        # Of symmetric kernels: half of what each is longer than its stride, at the rates of the stages.
        rates = (8, 2, 1)
        late = [(n - s) / 2 * rate for n, s, rate in zip(layer.kernel_lengths, STRIDES, rates, strict=True)]
        assert layer.delay_samples == sum(late)


# --- overlap ---


@pytest.mark.parametrize("stride", range(2, 9))
def test_overlap_is_what_a_kernel_of_ones_makes_of_ones(stride):
    for kernel_size in range(1, 30):
        weight, frames = torch.ones(1, 1, kernel_size), 40
        meeting = torch.nn.functional.conv_transpose1d(torch.ones(1, 1, frames), weight, stride=stride)
        inside = meeting[0, 0, 20 * stride : 21 * stride]
        kind, (least, most) = overlap(kernel_size, stride)
        assert (least, most) == (inside.min(), inside.max())
        assert kind == ("gap" if least == 0 else "even" if least == most else "uneven")
