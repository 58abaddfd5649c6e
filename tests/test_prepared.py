"""What an evaluated layer keeps of its weight: never stale, never in the way, and worth keeping."""

import copy
import pickle
from functools import partial

import pytest
import reference
import torch
from conversions import old_weight_norm
from reference import assert_close, noise
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from audioup import ResizeConv1d, ResizeConv2d, SubPixelConv1d, SubPixelConv2d, TransposedConv1d, regular
from audioup.init import weight_norm

one_thread = reference.one_thread
LAYERS = {
    "transposed": partial(TransposedConv1d, 3, 4, 8, 4),
    "subpixel": partial(SubPixelConv1d, 3, 4, 3, 4, init="default"),
    "resize": partial(ResizeConv1d, 3, 4, 5, 4),
    "normed": lambda **options: weight_norm(ResizeConv1d(3, 4, 5, 4, mode="linear", **options)),
    "regular": lambda **options: regular(weight_norm(TransposedConv1d(3, 4, 8, 4, **options))),
    "old norm": lambda **options: old_weight_norm(ResizeConv1d(3, 4, 5, 4, **options)),
}
every_layer = pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
both_engines = pytest.mark.parametrize("engine", ["transposed", "polyphase"])


def weights(layer):
    return list(layer.parameters())


def optimizer_step(layer):
    optimizer = torch.optim.AdamW(layer.parameters(), 0.1)
    with torch.enable_grad():
        layer(noise(3, 7, dtype=weights(layer)[0].dtype)).square().sum().backward()
    optimizer.step()


@torch.no_grad()
def in_place(layer):
    for weight in weights(layer):
        weight.mul_(2)


def behind_the_version_counter(layer):
    for weight in weights(layer):
        weight.data.mul_(2)


def one_tap(layer):
    weights(layer)[-1].data.view(-1)[-1] += 1


def new_storage(layer):
    for weight in weights(layer):
        weight.data = weight.data * 2


def new_parameters(layer):
    for module in layer.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(weight.detach() * 2))


def state_dict(layer):
    layer.load_state_dict({name: 2 * value for name, value in layer.state_dict().items()})


def assigned_state_dict(layer):
    layer.load_state_dict({name: 2 * value for name, value in layer.state_dict().items()}, assign=True)


def average(layer):
    averaged = torch.optim.swa_utils.AveragedModel(layer, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    in_place(layer)
    averaged.update_parameters(layer)
    for mine, other in zip(layer.parameters(), averaged.parameters(), strict=True):
        mine.data.copy_(other.data)


class Doubled(nn.Module):
    """A parametrisation without parameters, whose state no version counter sees."""

    factor = 2.0

    def forward(self, weight):
        return self.factor * weight


def parametrise(layer):
    nn.utils.parametrize.register_parametrization(layer, "weight", Doubled())


def parametrise_and_turn(layer):
    parametrise(layer)
    with torch.no_grad():
        layer(noise(3, 9))
    layer.parametrizations.weight[-1].factor = 3.0


def unparametrise(layer):
    parametrise(layer)
    with torch.no_grad():
        layer(noise(3, 9))
    nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    in_place(layer)


def from_outside(layer):
    weight = layer.weight.detach()
    del layer.weight
    for factor in (2, 3):  # a network that writes the weights of another
        layer.weight = factor * weight
        with torch.no_grad():
            layer(noise(3, 9))


CHANGES = (
    optimizer_step,
    in_place,
    behind_the_version_counter,
    one_tap,
    new_storage,
    new_parameters,
    state_dict,
    assigned_state_dict,
    average,
)


@every_layer
@both_engines
@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_changed_weight_is_never_served_stale(build, engine, change):
    torch.manual_seed(0)
    layer, x = build(engine=engine, dtype=torch.float64).eval(), noise(2, 3, 9)
    with torch.no_grad():
        before = layer(x)
        assert torch.equal(layer(x), before)
        change(layer)
        after = layer(x)
    assert (after - before).abs().max() > 1e-3
    other = build(engine=engine, dtype=torch.float64)
    other.load_state_dict(layer.state_dict())
    assert_close(after, other(x))


@both_engines
@pytest.mark.parametrize(
    "build", [LAYERS["resize"], partial(ResizeConv2d, 3, 4, 3, 2), partial(SubPixelConv2d, 3, 4, 3, 2)]
)
def test_the_kernel_is_made_once(build, engine, monkeypatch):
    layer = build(engine=engine).eval()
    made = []
    kernel = type(layer).kernel
    monkeypatch.setattr(type(layer), "kernel", lambda self: made.append(1) or kernel(self))
    x = noise(2, 3, *[9] * layer.axes, dtype=torch.float32)
    with torch.no_grad():
        outputs = [layer(x) for _ in range(3)]
        assert len(made) == 1
        assert torch.equal(outputs[0], outputs[2])
        in_place(layer)
        layer(x)
        layer(x)
        assert len(made) == 2
    layer(x)  # with gradients
    layer(x)
    assert len(made) == 4
    layer.train()
    with torch.no_grad():
        layer(x)
        layer(x)
    assert len(made) == 6


@both_engines
@pytest.mark.parametrize("change", [parametrise, parametrise_and_turn, unparametrise, from_outside])
@pytest.mark.parametrize("build", [LAYERS["transposed"], LAYERS["subpixel"], LAYERS["resize"]])
def test_another_way_to_the_weight_is_another_weight(build, change, engine):
    layer, x = build(engine=engine, dtype=torch.float64).eval(), noise(2, 3, 9)
    with torch.no_grad():
        before = layer(x)
        change(layer)
        after = layer(x)
    assert (after - before).abs().max() > 1e-3
    assert_close(after, layer(x))  # with gradients nothing is kept


@both_engines
def test_a_weight_shared_for_a_while_is_not_kept(engine):
    teacher, layer = (TransposedConv1d(3, 4, 8, 4, engine=engine, dtype=torch.float64).eval() for _ in range(2))
    x = noise(2, 3, 9)
    layer.load_state_dict(teacher.state_dict(), assign=True)
    with torch.no_grad():
        layer(x)
        layer.load_state_dict({name: value.clone() for name, value in layer.state_dict().items()}, assign=True)
        before = layer(x)
        in_place(teacher)
        assert torch.equal(layer(x), before)


def test_a_kernel_that_is_the_weight_is_not_kept_and_nothing_is_in_training():
    x = noise(2, 3, 9, dtype=torch.float32)
    with torch.no_grad():
        for name, engine, kept in (("transposed", "auto", 0), ("transposed", "polyphase", 1), ("resize", "auto", 1)):
            layer = LAYERS[name](engine=engine).eval()
            layer(x)
            assert len(layer._prepared._kept[1]) == kept
            layer.train()
            assert len(layer._prepared._kept[1]) == 0


@every_layer
def test_a_fake_pass_leaves_nothing_behind(build):
    layer, x = build().eval(), noise(2, 3, 9, dtype=torch.float32)
    with torch.no_grad():
        with FakeTensorMode(allow_non_fake_inputs=True):
            for _ in range(2):
                assert layer(torch.empty(2, 3, 9)).shape == (2, 4, 36)
        expected = layer(x)
    assert_close(layer(x), expected)


@every_layer
def test_gradients_flow_whatever_is_kept(build):
    layer, x = build(dtype=torch.float64).eval(), noise(2, 3, 9)
    with torch.no_grad():
        kept = layer(x)
    y = layer(x)
    assert_close(y, kept)
    y.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


@every_layer
@both_engines
def test_what_inference_mode_keeps_serves_elsewhere(build, engine):
    layer, x = build(engine=engine, dtype=torch.float64).eval().requires_grad_(False), noise(2, 3, 9)
    with torch.inference_mode():
        first = layer(x)
    with torch.no_grad():
        second = layer(x)
    x.requires_grad_()
    third = layer(x)
    third.sum().backward()
    assert_close(second, first.clone())
    assert_close(third, first.clone())


@every_layer
def test_another_type_is_another_weight(build):
    layer, x = build(engine="polyphase", dtype=torch.float64).eval(), noise(2, 3, 9)
    with torch.no_grad():
        exact = layer(x)
        assert_close(layer.float()(x.float()), exact)
        assert layer(x.float()).dtype == torch.float32
        assert_close(layer.bfloat16()(x.bfloat16()), exact)


def test_autocast_and_what_is_kept_leave_each_other_alone():
    layer, x = LAYERS["resize"]().eval(), noise(2, 3, 9, dtype=torch.float32)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        assert layer(x).dtype == torch.float32
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16


@pytest.mark.parametrize("build", [LAYERS["transposed"], LAYERS["subpixel"], LAYERS["resize"]])
def test_copies_and_pickles_begin_empty(build):
    layer, x = build().eval(), noise(2, 3, 9, dtype=torch.float32)
    before = pickle.dumps(layer)
    with torch.no_grad():
        expected = layer(x)
        assert pickle.dumps(layer) == before
        for twin in (copy.deepcopy(layer), pickle.loads(before)):
            assert torch.equal(twin(x), expected)
            in_place(twin)
            assert torch.equal(layer(x), expected)
            assert not torch.equal(twin(x), expected)
    assert list(layer.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("build", [LAYERS["resize"], LAYERS["transposed"], LAYERS["normed"]])
def test_function_transforms(build):
    layer, x = build(dtype=torch.float64).eval(), noise(2, 3, 9)
    doubled = {name: 2 * value.detach() for name, value in layer.named_parameters()}
    stacked = {name: torch.stack([value.detach(), 2 * value.detach()]) for name, value in layer.named_parameters()}
    with torch.no_grad():
        expected = layer(x)
        for _ in range(2):  # before and after something is kept by the other way
            double = torch.func.functional_call(layer, doubled, (x,))
            assert (double - expected).abs().max() > 0.01
            assert_close(layer(x), expected)
            both = torch.func.vmap(lambda values: torch.func.functional_call(layer, values, (x,)))(stacked)
            assert_close(both, torch.stack([expected, double]))
            assert_close(torch.func.vmap(layer)(x.unsqueeze(1)).squeeze(1), expected)
            _, along = torch.func.jvp(layer, (x,), (x,))
            assert_close(layer(x), expected)
        assert_close(along, expected - layer(0 * x))
    gradient = torch.func.grad(lambda x: layer(x).sum())(x)
    assert gradient.shape == x.shape
    with torch.no_grad():
        assert_close(layer(x), expected)


@every_layer
def test_graphs_compute_the_kernel_from_the_weight(build):
    torch.compiler.reset()
    if build is LAYERS["old norm"]:
        pytest.skip("torch exports no forward pre-hooks that set attributes")
    layer, x = build().eval(), noise(2, 3, 9, dtype=torch.float32)
    with torch.no_grad():
        expected = layer(x)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert_close(compiled(x), expected)
        exported = torch.export.export(layer, (x,))
        assert_close(exported.module()(x), expected)
        assert any("weight" in name for name in exported.state_dict)
        in_place(layer)
        assert_close(compiled(x), layer(x))
