"""What is read of a module is what it does, or it is refused."""

import random
import re
import types

import pytest
import torch
import torch.nn.functional as F
from reference import noise
from torch import nn

from audioup import Oversampled, TransposedConv1d
from audioup.streaming import Stream

REFUSED = re.compile("cannot be streamed|changes its input in place")


def written(forward, **parts):
    """Make a module of a forward, as a user would write it."""
    module = type("Written", (nn.Module,), {"forward": forward})()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def error_of(stream, module, x):
    """Largest difference between the stream, in chunks of 2, and the whole, as a share of its peak."""
    with torch.no_grad():
        whole = module(x.clone())
    y = torch.cat([*map(stream, x.split(2, -1)), stream.flush()], -1)
    assert y.shape == whole.shape
    return ((y - whole).abs().max() / whole.abs().max()).item()


def by_type(self, x):
    return self.conv(x) if isinstance(x, torch.Tensor) else x


def by_attribute(self, x):
    return x if hasattr(x, "mask") else self.conv(x)


def by_length_of_tensors(self, x):
    return 2 * x if isinstance(x, torch.Tensor) and x.shape[-1] > 6 else x


def shortcut(self, x):
    same = self.same(x)
    return self.act(x) + same


def contiguous(self, x):
    y = self.conv(x)
    z = y.contiguous()
    z += 1
    return y


def part_of_time(self, x):
    y = self.conv(x)
    part = y[..., 1:]
    part += 1
    return y


def detached(self, x):
    y = self.conv(x)
    y.detach().relu_()
    return y


def power(self, x):
    y = self.conv(x)
    z = y
    z **= 2
    return y


def frozen(self, x):
    return self.conv(x) + torch.randn(1)


def frozen_by_python(self, x):
    return self.conv(x) + random.random()


class Standardised(nn.Conv1d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight / weight.std(), bias)


class Forgetful(nn.Conv1d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, torch.cat([0 * weight[..., :1], weight[..., 1:]], -1), bias)


class Longer(nn.ConvTranspose1d):
    def _output_padding(self, *args, **options):
        return [1]


class Louder(TransposedConv1d):
    def forward(self, x):
        return 2 * super().forward(x)


class Replaced(TransposedConv1d):
    def forward(self, x):
        return F.conv_transpose1d(x, 3 * self.weight, self.bias, self.stride)


def patched(layer):
    layer.forward = types.MethodType(lambda self, x: 2 * type(self).forward(self, x), layer)
    return layer


def conv():
    return nn.Conv1d(4, 4, 3, padding=1)


ESCAPES = {
    "a branch on the type": lambda: written(by_type, conv=conv()),
    "a branch on an attribute": lambda: written(by_attribute, conv=conv()),
    "a branch on length, unseen": lambda: written(by_length_of_tensors),
    "a shortcut changed in place": lambda: written(shortcut, same=nn.Identity(), act=nn.ELU(inplace=True)),
    "a view by contiguous changed": lambda: written(contiguous, conv=conv()),
    "a slice changed": lambda: written(part_of_time, conv=conv()),
    "a detached view changed": lambda: written(detached, conv=conv()),
    "a power in place": lambda: written(power, conv=conv()),
    "a constant drawn once": lambda: written(frozen, conv=conv()),
    "a constant drawn once by Python": lambda: written(frozen_by_python, conv=conv()),
    "a convolution's own weight": lambda: Standardised(4, 4, 3, padding=1),
    "an old tap": lambda: nn.Sequential(nn.ConstantPad1d((20, 0), 0.0), Forgetful(4, 4, 2, dilation=20)),
    "a transposed one's own length": lambda: Longer(4, 4, 4, 2),
    "a subclass of the library's layer": lambda: Louder(4, 4, 4, 2),
    "another forward of the library's layer": lambda: Replaced(4, 4, 4, 2),
    "a patched convolution": lambda: patched(conv()),
    "a patched layer of the library": lambda: patched(TransposedConv1d(4, 4, 4, 2)),
    "a softmax over time": lambda: Oversampled(nn.Softmax(-1)),
    "a module that does not run": lambda: nn.Sequential(conv(), nn.Conv1d(8, 4, 3)),
}


@pytest.mark.parametrize("module", ESCAPES.values(), ids=ESCAPES)
def test_what_tracing_does_not_see_is_refused_or_streamed_right(module):
    torch.manual_seed(0)
    module = module().eval()
    try:
        stream = Stream(module)
    except (TypeError, ValueError) as refusal:
        message = str(refusal)
    else:
        message = None
    if message is not None:
        assert REFUSED.search(message)
    else:
        assert error_of(stream, module, noise(1, 4, 40, dtype=torch.float32)) <= 1e-6


@pytest.mark.parametrize("name", ["a branch on the type", "a detached view changed", "a constant drawn once"])
def test_the_refusal_names_the_module(name):
    with pytest.raises(TypeError, match=r"^Written cannot be streamed: what was read of it does not sound like it"):
        Stream(ESCAPES[name]())


class Gain(nn.Module):
    def forward(self, x, gain=1.0, other=None):
        return x * gain if other is None else x * gain + other


class Hiss(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


def test_pointwise_modules_are_given_all_their_arguments():
    for forward in (
        lambda self, x: self.gain(x, 0.5),
        lambda self, x: self.gain(self.conv(x), gain=3.0),
        lambda self, x: self.gain(x, self.level, other=self.conv(x)),
        lambda self, x: self.gain(x=x, gain=self.level),
    ):
        module = written(forward, gain=Gain(), conv=conv(), level=nn.Parameter(torch.rand(4, 1)))
        stream = Stream(module, pointwise=(Gain,))
        assert error_of(stream, module, noise(1, 4, 20, dtype=torch.float32)) <= 1e-6
    module = written(lambda self, x: self.up(x, output_size=[41]), up=nn.ConvTranspose1d(4, 4, 3, 2))
    with pytest.raises(TypeError, match=r"^up is given more than the signal"):
        Stream(module)
    module = written(lambda self, x: self.conv(input=x), conv=conv())
    assert error_of(Stream(module), module, noise(1, 4, 20, dtype=torch.float32)) <= 1e-6


def test_declared_noise_is_streamed_but_none_that_was_drawn_once():
    stream, x = Stream(nn.Sequential(nn.Conv1d(4, 4, 1), Hiss()), (Hiss,)), torch.zeros(1, 4, 400)
    assert 0.9 < (stream(x) - stream(x)).std() / 2**0.5 < 1.1
    with pytest.raises(TypeError, match="does not sound like it"):
        Stream(nn.Sequential(written(frozen, conv=conv()), Hiss()), pointwise=(Hiss,))
    with pytest.raises(TypeError, match="does not sound like it"):  # a mean over time is not pointwise
        Stream(nn.Sequential(conv(), nn.Softmax(-1), Hiss()), pointwise=(Hiss, nn.Softmax))


def test_reading_leaves_the_random_state_and_the_weights_alone():
    module = nn.Sequential(conv(), Hiss(), nn.BatchNorm1d(4))
    state, weights = torch.get_rng_state(), {key: value.clone() for key, value in module.state_dict().items()}
    Stream(module, pointwise=(Hiss, nn.BatchNorm1d))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_every_type_is_taken(dtype):
    module = nn.Sequential(nn.Conv1d(4, 8, 7, padding=3), nn.GELU(), TransposedConv1d(8, 1, 8, 4), nn.Tanh()).to(dtype)
    stream, x = Stream(module), noise(1, 4, 30, dtype=dtype)
    assert error_of(stream, module, x) <= (1e-12 if dtype == torch.float64 else 0.03)
