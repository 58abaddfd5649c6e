"""A stream gives what the module gives of the whole, as early as it can be known, however the input is cut."""

import copy
import itertools
import pickle
from functools import partial

import pytest
import reference
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import noise
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import weight_norm as old_weight_norm
from vocoder.model import UPSAMPLERS, AddNoise, Generator, GeneratorShape
from vocoder.presets import PRESETS

from audioup import (
    Oversampled,
    ResizeConv1d,
    Snake,
    SnakeBeta,
    SubPixelConv1d,
    TransposedConv1d,
    TransposedConv2d,
    regular,
)
from audioup.fold import fold
from audioup.init import weight_norm
from audioup.streaming import Stream

one_thread = reference.one_thread
LIMIT = {torch.float64: 1e-12, torch.float32: 1e-6}  # of the peak of the whole
FAMILIES = {
    "transposed": TransposedConv1d,
    "subpixel": SubPixelConv1d,
    "resize-nearest": ResizeConv1d,
    "resize-linear": partial(ResizeConv1d, mode="linear"),
    "resize-cubic": partial(ResizeConv1d, mode="cubic"),
    "resize-sinc": partial(ResizeConv1d, mode="sinc", zeros=2, separable=True),
    "resize-bspline": partial(ResizeConv1d, mode="bspline-3"),
}
SHAPES = [(1, 1), (4, 1), (4, 2), (5, 2), (3, 3), (4, 3), (3, 5), (16, 8), (9, 8)]  # kernel_size, stride
TINY_PAIRED = GeneratorShape((4, 2), 16, (3, 5), ((1, 2), (1, 3)), 2)


def streamed(module, x, sizes, **options):
    """Stream ``x`` in chunks of these sizes, over and over, and check after each how many samples have come."""
    stream = Stream(module, **options)
    parts, frames, sizes = [], 0, itertools.cycle(sizes)
    while frames < x.shape[-1]:
        size = next(sizes)
        chunk = x[..., frames : frames + size].clone()
        parts.append(stream(chunk))
        chunk.fill_(torch.nan)  # a caller may use its buffer again
        frames = min(frames + size, x.shape[-1])
        came = sum(part.shape[-1] for part in parts)
        assert came == max(0, stream.stride * frames - stream.latency)
    return torch.cat([*parts, stream.flush()], -1)


def assert_streams(module, x, sizes=(1,), limit=None, **options):
    """Assert that the stream equals the whole, within the limit of the issue, as a share of the whole's peak."""
    whole = copy_in_eval(module)(x).detach()
    y = streamed(module, x, sizes, **options)
    assert y.shape == whole.shape
    assert y.dtype == whole.dtype
    error, peak = (y - whole).abs().max().item(), whole.abs().max().item()
    assert peak > 0
    assert error <= (limit or LIMIT[x.dtype]) * peak, f"{error / peak:.3g} of the peak"


def copy_in_eval(module):
    return fold(module) if any(hasattr(m, "weight_g") for m in module.modules()) else copy.deepcopy(module).eval()


# ---------------------------------------------------------------------------------------------------- single layers


@pytest.mark.parametrize("dtype", LIMIT, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["centred", "causal"])
@pytest.mark.parametrize(("kernel_size", "stride"), SHAPES, ids=str)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_layer(family, kernel_size, stride, causal, dtype):
    for padding_mode, groups in itertools.product(("zeros", "replicate"), (1, 2)):
        options = {"padding_mode": padding_mode, "groups": groups, "causal": causal, "dtype": dtype}
        layer = family(4, 6, kernel_size, stride, **options)
        for frames, sizes in ((1, (1,)), (2, (1,)), (23, (1,)), (23, (0, 3, 0, 1, 7)), (23, (40,))):
            assert_streams(layer, noise(2, 4, frames, dtype=dtype), sizes)
        stream = Stream(layer)
        assert (stream.stride, stream.latency) == (stride, max(0, layer.origin))
        if causal:
            assert stream.latency == 0


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_what_has_come_out_owes_nothing_to_later_frames_and_a_causal_layer_waits_for_none(family):
    for causal, (kernel_size, stride) in itertools.product((False, True), SHAPES):
        layer = family(2, 3, kernel_size, stride, causal=causal, dtype=torch.float64)
        x = noise(1, 2, 20)
        other = x.clone()
        other[..., 12:] = noise(1, 2, 8, seed=1)
        known = stride * 12 - Stream(layer).latency
        assert known > 0
        with torch.no_grad():
            # Other sums beyond may be rounded otherwise.
            assert (layer(x)[..., :known] - layer(other)[..., :known]).abs().max() < 1e-14
        assert known == 12 * stride or not causal


@pytest.mark.parametrize(
    ("latency", "layer"),
    [
        (2, nn.Conv1d(4, 6, 5, padding=2)),
        (6, nn.Conv1d(4, 6, 5, padding="same", dilation=3, groups=2)),
        (2, nn.Conv1d(4, 6, 4, padding="same")),
        (3, nn.Conv1d(4, 6, 4)),
        (1, nn.Conv1d(4, 6, 4, padding=2, padding_mode="replicate")),
        (0, nn.Conv1d(4, 6, 1)),
        (4, nn.ConvTranspose1d(4, 6, 16, 8, padding=4)),
        (5, nn.ConvTranspose1d(4, 6, 7, 3, padding=5, output_padding=2, groups=2)),
        (11, nn.ConvTranspose1d(4, 6, 3, 2, padding=7, dilation=2)),  # crops more than the kernel adds
        (3, nn.ConvTranspose1d(4, 6, 2, 5)),  # the last 3 of every 5 samples, but for the end, where they are not
        (0, nn.ConvTranspose1d(4, 6, 9, 1)),
        (3, nn.ConstantPad1d((-3, 0), 0.0)),
        (5, nn.ConstantPad1d((0, -5), 0.0)),
        (0, nn.ZeroPad1d((0, 3))),
        (0, nn.ReplicationPad1d((0, 3))),
        (2, nn.ReplicationPad1d((-2, 3))),
    ],
    ids=lambda value: str(value),
)
def test_every_layer_of_torch(latency, layer):
    stream = Stream(layer)
    assert stream.latency == latency
    for sizes in ((1,), (5, 0, 2), (40,)):
        assert_streams(layer, noise(2, 4, 24, dtype=torch.float32), sizes)
        assert_streams(copy.deepcopy(layer).double(), noise(2, 4, 24), sizes)


def test_a_pad_puts_its_samples_first_so_its_latency_is_negative():
    for layer in (nn.ConstantPad1d((4, 2), 1.5), nn.ReplicationPad1d((4, 2)), nn.Conv1d(1, 1, 3, padding=3)):
        stream, x = Stream(layer), noise(1, 1, 6, dtype=torch.float32)
        parts = [stream(x[..., :0]), *(stream(frame) for frame in x.split(1, -1)), stream.flush()]
        assert stream.latency == (-4 if not isinstance(layer, nn.Conv1d) else -1)
        assert [part.shape[-1] for part in parts][:3] == [0, 1 - stream.latency, 1]
        assert (torch.cat(parts, -1) - layer(x)).abs().max() <= 1e-6 * layer(x).abs().max()


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_oversampled_activations(factor, padding_mode):
    layer = Oversampled(nn.LeakyReLU(0.1), factor, zeros=2, padding_mode=padding_mode)
    stream = Stream(layer)
    assert stream.latency == (0 if factor == 1 else layer.left + layer.right)
    for frames, sizes in ((1, (1,)), (30, (1,)), (30, (4, 0, 3))):
        assert_streams(layer, noise(2, 3, frames, dtype=torch.float32), sizes)
        assert_streams(layer, noise(2, 3, frames), sizes)


# --------------------------------------------------------------------------------------------------------- stacks


class CausalConv(nn.Conv1d):
    """Pads in its forward, as many vocoders' do."""

    def forward(self, x):
        return super().forward(F.pad(x, (self.dilation[0] * (self.kernel_size[0] - 1), 0)))


class Arithmetic(nn.Module):
    """Two paths of different lags, a crop, a gain per channel, changes in place, a scalar."""

    def __init__(self):
        super().__init__()
        self.slow, self.quick = nn.Conv1d(4, 4, 9, padding=4), nn.Conv1d(4, 4, 3, padding=2)
        self.gain = nn.Parameter(torch.rand(4, 1))

    def forward(self, x):
        y = self.slow(x)
        y += torch.tanh(self.quick(x)[..., :-2]) * self.gain.exp()
        y = F.leaky_relu(y, 0.1, True) / 3 - x
        return sum([y, 2 * x, x.abs().clamp(max=1)])


STACKS = {
    "dilated": lambda: nn.Sequential(nn.Conv1d(4, 8, 3, dilation=4, padding=4), nn.ELU(), TransposedConv1d(8, 4, 8, 4)),
    "causal": lambda: nn.Sequential(
        nn.ConstantPad1d((6, 0), 0.0), nn.Conv1d(4, 4, 7), nn.PReLU(4), ResizeConv1d(4, 4, 5, 4, causal=True)
    ),
    "causal in its forward": lambda: nn.Sequential(CausalConv(4, 4, 3, dilation=2), nn.GELU(), CausalConv(4, 4, 2)),
    "snakes": lambda: nn.Sequential(
        nn.Conv1d(4, 4, 3, padding="same"), Snake(4), SubPixelConv1d(4, 4, 3, 2), Oversampled(SnakeBeta(4))
    ),
    "weight norm": lambda: nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(4, 4, 5, padding=2)), nn.ReLU(inplace=True),
        weight_norm(ResizeConv1d(4, 4, 4, 3, mode="cubic", padding_mode="replicate")),
        parametrizations.weight_norm(nn.ConvTranspose1d(4, 4, 4, 2, padding=1)),
    ),
    "old weight norm": lambda: nn.Sequential(
        old_weight_norm(nn.Conv1d(4, 4, 5, padding=2)), nn.Tanh(), old_weight_norm(nn.ConvTranspose1d(4, 4, 4, 2))
    ),
    "regular": lambda: nn.Sequential(
        regular(weight_norm(TransposedConv1d(4, 4, 12, 4)), order=2), regular(SubPixelConv1d(4, 4, 3, 2), order=1)
    ),
    "folded": lambda: fold(nn.Sequential(
        TransposedConv1d(4, 4, 4, 1), TransposedConv1d(4, 4, 7, 3, causal=True),
        SubPixelConv1d(4, 2, 2, 3, padding_mode="replicate"),
    )),
    "arithmetic": Arithmetic,
    "shared": lambda: nn.Sequential(*[nn.Conv1d(4, 4, 3, padding=1)] * 3),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), nn.Conv1d(4, 4, 3, padding=1)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("dtype", LIMIT, ids=str)
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_stacks(stack, dtype):
    module = stack().to(dtype)
    for sizes in ((1,), (2, 0, 5), (17,)):
        assert_streams(module, noise(2, 4, 31, dtype=dtype), sizes)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any),
    frames=st.integers(1, 40),
    name=st.sampled_from(sorted(set(STACKS) - {"old weight norm"})),
)
def test_any_split(sizes, frames, name):
    module, x = STACKS[name](), noise(4, frames, dtype=torch.float32)  # without a batch
    if name != "causal":  # torch's PReLU takes time for channels there
        assert_streams(module, x, sizes)
    assert_streams(module, x.unsqueeze(0), sizes)


# ----------------------------------------------------------------------------------------------- whole generators


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_every_generator_of_the_recipe(upsampler):
    torch.manual_seed(0)
    mel = noise(1, 20, 24)
    for shape in (PRESETS["tiny"].generator, TINY_PAIRED):
        module = Generator(20, shape, upsampler)
        for sizes in ((1,), (5, 0, 3)):
            assert_streams(module.double(), mel, sizes)
        # In float32 a random generator, whose output is quiet, is off by up to 1.5e-6 of its peak itself.
        assert_streams(module.float(), mel.float(), (3,), limit=3e-6)


def test_where_the_latency_of_a_generator_comes_from():
    stream = Stream(Generator(80, PRESETS["tiny"].generator, "transposed"))
    assert stream.stride == 256
    # 3 frames of the first convolution; half a frame of each upsampler; the blocks with kernel 7, dilations 1 and 3.
    expected = {"conv_pre": 3 * 256, "ups.0": 4 * 32, "ups.1": 4 * 4, "ups.2": 2, "conv_post": 3}
    for block, rate in (("1", 32), ("3", 4), ("5", 1)):
        expected |= {f"resblocks.{block}.convs.0": 3 * rate, f"resblocks.{block}.convs.1": 9 * rate}
    assert stream.latencies == expected
    assert stream.latency == sum(expected.values()) == 1361


def test_noise_is_streamed_where_it_is_declared():
    torch.manual_seed(0)
    module = Generator(8, TINY_PAIRED, "resize-linear", noise=0.1)
    with pytest.raises(TypeError, match=r"(?s)noises\.0.*`pointwise`"):
        Stream(module)
    mel = noise(1, 8, 30, dtype=torch.float32)
    with torch.no_grad():
        silent = copy.deepcopy(module)
        for part in silent.noises:
            part.gain.zero_()
    assert_streams(silent, mel, (3,), pointwise=(AddNoise,))
    assert streamed(module, mel, (3,), pointwise=(AddNoise,)).shape == (1, 1, 240)


# ---------------------------------------------------------------------------------------------- state, and errors


def test_reset_and_flush_begin_anew():
    module, x = STACKS["dilated"](), noise(1, 4, 9, dtype=torch.float32)
    stream = Stream(module)
    first = torch.cat([stream(x), stream.flush()], -1)
    stream(noise(3, 4, 5, seed=1, dtype=torch.float32))
    stream.reset()
    assert torch.equal(torch.cat([stream(x), stream.flush()], -1), first)
    assert torch.equal(torch.cat([stream(x), stream.flush()], -1), first)


def test_the_module_is_left_as_it_is_and_the_weights_are_those_of_the_beginning():
    module = nn.Sequential(nn.Dropout(0.5), nn.Conv1d(4, 4, 3, padding=1), nn.ReLU(inplace=True))
    x, before = noise(1, 4, 9, dtype=torch.float32), pickle.dumps(module.state_dict())
    stream = Stream(module)
    y = torch.cat([stream(x), stream.flush()], -1)
    assert module.training
    assert all(part.training for part in module)
    assert module[2].inplace
    assert pickle.dumps(module.state_dict()) == before
    assert not y.requires_grad
    with torch.no_grad():
        module[1].weight.zero_()
    assert torch.equal(torch.cat([stream(x), stream.flush()], -1), y)


def test_a_chunk_is_never_written_to():
    chunk = noise(1, 4, 9, dtype=torch.float32)
    before = chunk.clone()
    for module in (nn.ReLU(inplace=True), nn.Sequential(nn.ReLU(inplace=True), nn.Conv1d(4, 4, 3))):
        Stream(module)(chunk)
        assert torch.equal(chunk, before)


class Doubled(nn.Module):
    def forward(self, x):
        return x.mul_(2)


class ReluOfTheChunk(nn.Module):
    def forward(self, x):
        return F.relu(x, inplace=True)


@pytest.mark.parametrize(
    "module",
    [Doubled(), ReluOfTheChunk(), Oversampled(torch.relu_, factor=1)],
    ids=lambda module: type(module).__name__,
)
def test_functions_in_place_do_not_write_to_a_chunk(module):
    chunk = noise(1, 4, 9, dtype=torch.float32)
    before = chunk.clone()
    for options in ({}, {"pointwise": (type(module),)}):
        y = Stream(module, **options)(chunk)
        assert torch.equal(chunk, before)
        assert torch.equal(y, module(before.clone()))


@pytest.mark.parametrize(
    "module", [nn.Dropout(), nn.Identity(), nn.Sequential(), nn.ZeroPad1d((0, 2))], ids=lambda module: str(module)
)
def test_what_comes_out_does_not_change_with_the_memory_of_the_chunk(module):
    for shape in ((1, 4, 9), (4, 9)):
        chunk = noise(*shape, dtype=torch.float32)
        before, y = chunk.clone(), Stream(module)(chunk)
        chunk.fill_(torch.nan)
        assert torch.equal(y, before)


def test_after_a_long_chunk_only_what_is_needed_is_kept():
    modules = (nn.Conv1d(4, 4, 3), TransposedConv1d(4, 4, 4, 2), Oversampled(nn.ReLU()), nn.ConvTranspose1d(4, 4, 2, 5))
    for module in modules:
        stream = Stream(module)
        stream(torch.zeros(1, 4, 4000))
        kept = [getattr(step, name) for _, _, step in stream._steps for name in ("_buffer", "_held", "_edge")]
        assert 0 < sum(x.untyped_storage().nbytes() for x in kept if x is not None) < 1000


class Nonempty(nn.Module):
    def forward(self, x):
        if not x.numel():
            raise ValueError("x is empty")
        return torch.cat([x, -x], 1)


def test_pointwise_types_may_change_the_channels_and_are_not_run_on_nothing():
    module = nn.Sequential(nn.Conv1d(4, 4, 5), Nonempty(), nn.Conv1d(8, 2, 3, padding=1))
    assert_streams(module, noise(2, 4, 9, dtype=torch.float32), (0, 2), pointwise=(Nonempty,))
    for module in (
        nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.GLU(1), nn.Conv1d(4, 2, 3, padding=1)),
        nn.Sequential(nn.Tanh(), nn.GLU(1)),
        nn.Sequential(nn.GLU(1), nn.Conv1d(2, 2, 5, padding=2), nn.GLU(1)),
    ):
        for sizes in ((1,), (0, 2)):
            assert_streams(module, noise(2, 4, 9, dtype=torch.float32), sizes, pointwise=(nn.GLU,))


def test_a_pad_after_a_layer_that_waits_has_nothing_to_pad_until_that_has_given_something():
    stream = Stream(nn.Sequential(nn.Conv1d(4, 4, 6), nn.ConstantPad1d((4, 1), 0.0)))
    parts = [stream(frame) for frame in noise(1, 4, 9, dtype=torch.float32).split(1, -1)]
    assert stream.latency == 1
    assert [part.shape[-1] for part in parts] == [0, 0, 0, 0, 0, 5, 1, 1, 1]


class Interrupted(nn.Module):
    at_once = False

    def forward(self, x):
        if self.at_once:
            raise KeyboardInterrupt
        return x + 0


def test_an_interrupt_leaves_nothing_of_the_signal():
    x = noise(1, 4, 9, dtype=torch.float32)
    module = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), Interrupted())
    stream = Stream(module, pointwise=(Interrupted,))
    stream(x)
    Interrupted.at_once = True
    with pytest.raises(KeyboardInterrupt):
        stream(x)
    Interrupted.at_once = False
    with pytest.raises(ValueError, match="no frame has been streamed"):
        stream.flush()
    assert (torch.cat([stream(x), stream.flush()], -1) - module(x)).abs().max() <= 1e-6


def test_before_the_first_frame_the_kind_may_change():
    module = STACKS["dilated"]()
    stream, x = Stream(module), noise(3, 4, 9, dtype=torch.float32)
    for empty in (torch.zeros(1, 4, 0), torch.zeros(4, 0), torch.zeros(2, 4, 0)):
        assert stream(empty).shape[-1] == 0
    y = torch.cat([stream(x), stream.flush()], -1)
    assert (y - module(x)).abs().max() <= 1e-6 * module(x).abs().max()


def test_nan_spreads_as_far_as_in_the_whole():
    for module in (STACKS["dilated"](), SubPixelConv1d(4, 2, 3, 2), Arithmetic()):
        x = noise(1, 4, 30, dtype=torch.float32)
        x[0, 1, 15] = torch.nan
        with torch.no_grad():
            whole = module(x)
        assert 0 < whole.isnan().sum() < whole.numel()
        assert torch.equal(streamed(module, x, (4,)).isnan(), whole.isnan())


def test_chunks_that_do_not_fit():
    stream = Stream(nn.Sequential(nn.Tanh(), nn.Conv1d(4, 2, 3)))
    with pytest.raises(ValueError, match="no frame has been streamed"):
        stream.flush()
    with pytest.raises(TypeError, match="chunk must be a tensor, got list"):
        stream([1.0])
    with pytest.raises(ValueError, match=r"got \(1, 4, 2, 2\)"):
        stream(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match="1 takes 4 channels, got 3"):
        stream(torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match=r"1 holds torch.float32 on cpu, got torch.float64"):
        stream(torch.zeros(1, 4, 5, dtype=torch.float64))
    stream(torch.zeros(1, 4, 0))
    with pytest.raises(ValueError, match="no frame has been streamed"):
        stream.flush()
    stream(torch.zeros(1, 4, 1))
    for other in (torch.zeros(2, 4, 1), torch.zeros(4, 1), torch.zeros(1, 5, 1), torch.zeros(1, 4, 1).double()):
        with pytest.raises(ValueError, match=r"those before were \(1, 4, n\) of torch.float32"):
            stream(other)
    with pytest.raises(ValueError, match="1 needs more frames than were streamed"):
        stream.flush()
    # After an error there is nothing left of the signal.
    assert stream(torch.zeros(2, 4, 3)).shape == (2, 2, 1)


class ByLength(nn.Module):
    def forward(self, x):
        return x if x.shape[-1] > 3 else 2 * x


class Aliased(nn.Module):
    def forward(self, x):
        y = x
        y += 1
        return x + y


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 5)

    def forward(self, x):
        return self.a(x) + self.b(x)


class OverTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.window = nn.Parameter(torch.rand(9))

    def forward(self, x):
        return x * self.window


class Two(nn.Module):
    def forward(self, x):
        return x, x


def hooked():
    layer = nn.Conv1d(4, 4, 3)
    layer.register_forward_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("error", "words", "module"),
    [
        (TypeError, "^1 cannot be streamed; what can be", nn.Sequential(nn.Conv1d(4, 4, 3), nn.LSTM(4, 4))),
        (TypeError, "^Softmax cannot", nn.Softmax(1)),
        (TypeError, "^0 cannot", nn.Sequential(nn.Conv2d(4, 4, 3))),
        (TypeError, "^TransposedConv2d cannot|^ConvTranspose2d cannot", TransposedConv2d(4, 4, 4, 2)),
        (TypeError, "^ReflectionPad1d cannot", nn.ReflectionPad1d(2)),
        (TypeError, "^0.1 cannot be streamed: .*control flow", nn.Sequential(nn.Sequential(nn.Tanh(), ByLength()))),
        (TypeError, "module must return one tensor", Two()),
        (TypeError, "module must be a torch.nn.Module, got function", F.relu),
        (ValueError, "^0 has stride 2: only", nn.Sequential(nn.Conv1d(4, 4, 3, stride=2))),
        (ValueError, "^0 has padding_mode 'reflect'", nn.Sequential(nn.Conv1d(4, 4, 3, padding_mode="reflect"))),
        (ValueError, "^SubPixelConv1d has padding_mode 'circ", SubPixelConv1d(4, 4, 3, 2, padding_mode="circular")),
        (ValueError, "^Oversampled has padding_mode 'reflect'", Oversampled(nn.ReLU(), padding_mode="reflect")),
        (ValueError, r"add in Branches joins signals of 1 T \+ -4 and 1 T \+ -2 samples", Branches()),
        (ValueError, "iadd in Aliased changes its input in place", Aliased()),
        (ValueError, r"mul in OverTime combines the signal with a tensor of shape \(9,\)", OverTime()),
        (ValueError, "Conv1d has forward hooks", hooked()),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_streamed(error, words, module):
    with pytest.raises(error, match=words):
        Stream(module)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_another_library_s_activation_is_refused_by_its_path():
    from bigvgan.bigvgan import BigVGAN
    from bigvgan.env import AttrDict

    sizes = {"num_mels": 8, "upsample_rates": [4], "upsample_kernel_sizes": [8], "upsample_initial_channel": 16}
    blocks = {"resblock": "1", "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}
    model = BigVGAN(AttrDict({**sizes, **blocks, "activation": "snakebeta", "snake_logscale": True}))
    with pytest.raises(TypeError, match=r"^resblocks\.0\.activations\.0\.upsample cannot be streamed"):
        Stream(model)
