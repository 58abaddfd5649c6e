"""A stream gives what the module gives of the whole, as early as it can be known, however the input is cut."""

import copy
import pickle

import pytest
import reference
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import noise
from streams import LIMIT, assert_streams, streamed
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
    regular,
)
from audioup.fold import fold
from audioup.init import weight_norm
from audioup.streaming import Stream

one_thread = reference.one_thread

TINY_PAIRED = GeneratorShape((4, 2), 16, (3, 5), ((1, 2), (1, 3)), 2)


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
