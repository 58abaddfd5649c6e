"""Calls are named by module, seen once each, and changed only where asked; nothing is left behind."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from networks import Shuffle
from reference import one_thread  # noqa: F401
from torch import nn

from audioup.tracing import Call, Trace, Watch, tensors

X = torch.randn(1, 8, 5, generator=torch.Generator().manual_seed(0))


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_calls_are_named_by_the_innermost_module_and_counted():
    model = nn.Sequential(Shuffle(8, 2, 2), nn.Sequential(nn.ReLU(), nn.ReLU()))
    with torch.no_grad(), Trace(model, X) as trace:
        model(X)
    calls = [record.call for record in trace.records if not record.whole]
    assert calls == [
        Call("0.conv", "conv1d", 0),
        Call("0", "view", 0),
        Call("0", "permute", 0),
        Call("0", "reshape", 0),
        Call("1.0", "relu", 0),
        Call("1.1", "relu", 0),
    ]
    assert [record.call.module for record in trace.records if record.whole] == ["0.conv", "0", "1.0", "1.1", "1", ""]
    with torch.no_grad(), Watch(model) as watch:
        first = watch._name("relu"), watch._name("relu")
    assert first == (Call("", "relu", 0), Call("", "relu", 1))


def test_a_tensor_has_one_number_wherever_it_goes_in_or_out():
    model = nn.Sequential(nn.ConvTranspose1d(8, 2, 4, 2, 1), nn.Identity())
    with torch.no_grad(), Trace(model, X) as trace:
        y = model(X)
        trace.finish(X, y)
    (convolution, module, identity, whole, run) = trace.records
    number, shape = convolution.outputs[0]
    assert (convolution.inputs[0], shape) == ((0, (1, 8, 5)), (1, 2, 10))
    assert module.outputs == identity.outputs == whole.outputs == run.outputs == ((number, shape),)
    assert run.inputs == ((0, (1, 8, 5)),)


def test_what_is_written_in_place_is_an_output():
    class Writes(nn.Module):
        def forward(self, x):
            y = torch.zeros(1, 8, 10)
            y[..., ::2] = x
            return y

    model = Writes()
    with Trace(model, X) as trace:
        model(X)
    zeros, written, _ = trace.records
    assert written.call.function == "__setitem__"
    assert written.outputs == zeros.outputs


def test_one_call_is_changed_and_the_others_are_not():
    model = nn.Sequential(nn.ReLU(), nn.ReLU())
    with Watch(model, {Call("1", "relu", 0): lambda function, *given, **named: function(*given, **named) + 1}) as watch:
        y = model(X)
    torch.testing.assert_close(y, F.relu(X) + 1)
    assert watch.times["1", "relu"] == 1
    assert torch.equal(model(X), F.relu(X))


def test_hooks_go_also_after_an_error():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(4, 4))
    model[0].register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), Watch(model):
        model(X)
    assert hooks(model) == 1
    with Watch(model), Watch(model):
        assert hooks(model) == 13
    assert hooks(model) == 1


def test_tensors_are_found_in_whatever_holds_them():
    @dataclass
    class Frame:
        codes: torch.Tensor
        scale: None = None

    a, b, c = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    assert [len(one) for one in tensors({"x": [a, (b, 3)], "y": Frame(c)})] == [1, 2, 3]
    assert list(tensors(None)) == []
