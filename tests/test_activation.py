"""Oversampled is two filters around an activation, without delay; it aliases less. Snake is BigVGAN's."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import reference
import torch
from reference import assert_close, noise
from torch import nn

from audioup import Oversampled, Snake, SnakeBeta
from audioup.interpolation import interpolation_filter

one_thread = reference.one_thread
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
FACTORS = range(1, 6)
LEAKY = partial(nn.functional.leaky_relu, negative_slope=0.1)

every_padding_mode = pytest.mark.parametrize("padding_mode", PADDING_MODES)
every_factor = pytest.mark.parametrize("factor", FACTORS, ids=lambda factor: f"factor{factor}")
every_snake = pytest.mark.parametrize("family", [Snake, SnakeBeta])


def oversampled(x, activation, factor, zeros, rolloff, padding_mode):
    """`between` two windowed sincs."""
    if factor == 1:
        return activation(x)
    return between(interpolation_filter("sinc", factor, zeros, rolloff).numpy(), x, activation, factor, padding_mode)


def between(taps, x, activation, factor, padding_mode):
    """Stretch, convolve, bend, correlate and decimate a signal of shape (channels, frames), all of it."""
    frames, far = x.shape[1], len(taps) // factor + 2
    wide = np.stack([reference.extended(x, m, padding_mode) for m in range(-far, frames + far)], axis=1)
    y = np.zeros_like(x)
    for channel in range(len(x)):
        # z[n] = sum_m x[m] a[n - s m + c] is entry n + s far + c of the whole convolution.
        whole = np.convolve(reference.stretch(wide[channel], factor), taps)
        z = np.zeros((len(x), len(whole)))
        z[channel] = whole
        bent = activation(z)[channel]
        for t in range(frames):
            # a[n - s t + c] is a[0] at n = s t - c: entry s (t + far).
            y[channel, t] = bent[factor * (t + far) :][: len(taps)] @ taps / factor
    return y


def as_numpy(activation):
    return lambda z: activation(torch.from_numpy(z)[None])[0].detach().numpy()


# --------------------------------------------------------------------------------------------------------- Oversampled


@every_factor
@every_padding_mode
def test_oversampled_is_stretch_convolve_bend_and_decimate(factor, padding_mode):
    for zeros in range(1, 5):
        for rolloff in (1.0, 0.7):
            layer = Oversampled(LEAKY, factor, zeros=zeros, rolloff=rolloff, padding_mode=padding_mode)
            x = noise(2, 3, 11)
            y = layer(x)
            for row, expected in zip(y, x, strict=True):
                assert_close(row, oversampled(expected.numpy(), as_numpy(LEAKY), factor, zeros, rolloff, padding_mode))
            assert_close(layer(x[1]), y[1])


@every_factor
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
@pytest.mark.parametrize("frames", [1, 2])
def test_short_inputs(frames, padding_mode, factor):
    x = noise(2, frames)
    layer = Oversampled(LEAKY, factor, padding_mode=padding_mode)
    assert_close(layer(x), oversampled(x.numpy(), as_numpy(LEAKY), factor, 3, 1.0, padding_mode))


def test_options_by_default():
    x = noise(2, 20)
    assert torch.equal(Oversampled(LEAKY)(x), Oversampled(LEAKY, 2, zeros=3, rolloff=1.0, padding_mode="replicate")(x))
    assert len(interpolation_filter("sinc", 2, 3)) == 12


@every_factor
def test_slow_sine_comes_out_in_phase(factor):
    x = torch.sin(2 * torch.pi * 0.03 * torch.arange(200, dtype=torch.float64) + 0.3)[None]
    y = Oversampled(nn.Identity(), factor, zeros=6)(x)
    inside = slice(20, -20)
    turned = (torch.polar(torch.ones(200), -2 * torch.pi * 0.03 * torch.arange(200)).to(torch.complex128))[inside]
    window = torch.hann_window(160, periodic=False, dtype=torch.float64)
    phase = ((y[0, inside] * window * turned).sum() / (x[0, inside] * window * turned).sum()).angle()
    # A delay of a hundredth of a sample would be 0.0019.
    assert abs(phase.item()) < 1e-6
    assert (y - x)[0, inside].abs().max() < 2e-3


@every_factor
@pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "circular"])
def test_constant_stays_constant(factor, padding_mode):
    x = torch.tensor([[1.5], [-0.5]], dtype=torch.float64).expand(2, 16)
    for zeros in range(1, 5):
        assert_close(Oversampled(LEAKY, factor, zeros=zeros, padding_mode=padding_mode)(x), LEAKY(x))


def test_factor_one_is_the_activation():
    x = noise(2, 3, 9)
    assert torch.equal(Oversampled(torch.tanh, 1)(x), torch.tanh(x))


@every_padding_mode
@pytest.mark.parametrize("factor", [2, 3])
def test_gradients(factor, padding_mode):
    layer = Oversampled(SnakeBeta(2, 1.3, dtype=torch.float64), factor, zeros=2, padding_mode=padding_mode)
    values = (noise(1, 2, 6), *layer.parameters())
    x, alpha, beta = (value.detach().clone().requires_grad_() for value in values)

    def apply(alpha, beta, x):
        return torch.func.functional_call(layer, {"activation.alpha": alpha, "activation.beta": beta}, x)

    assert torch.autograd.gradcheck(apply, (alpha, beta, x))


def test_every_channel_has_its_own_activation():
    alphas = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    snake = Snake(3, dtype=torch.float64)
    snake.load_state_dict({"alpha": alphas})
    x = noise(2, 3, 12)
    y = Oversampled(snake, 2)(x)
    for batch in range(2):
        for channel, alpha in enumerate(alphas):
            one = Snake(1, alpha.item(), dtype=torch.float64)
            assert_close(y[batch, channel], Oversampled(one, 2)(x[batch, channel][None])[0])
    assert_close(y[0], oversampled(x[0].numpy(), as_numpy(snake), 2, 3, 1.0, "replicate"))


@every_padding_mode
@pytest.mark.parametrize(("factor", "length"), [(2, 2), (2, 5), (2, 12), (3, 3), (3, 7), (3, 12), (4, 17)], ids=str)
def test_given_taps_are_taken_as_they_are(factor, length, padding_mode):
    taps, x = noise(length, seed=1), noise(2, 3, 11)
    y = Oversampled(LEAKY, factor, taps=taps, padding_mode=padding_mode)(x)
    for row, expected in zip(y, x, strict=True):
        assert_close(row, between(taps.numpy(), expected.numpy(), as_numpy(LEAKY), factor, padding_mode))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_windowed_sinc_as_given_taps(factor):
    x = noise(2, 3, 30)
    assert torch.equal(
        Oversampled(LEAKY, factor, taps=interpolation_filter("sinc", factor, 3))(x), Oversampled(LEAKY, factor)(x)
    )


@pytest.mark.parametrize(("factor", "length"), [(2, 12), (2, 11), (3, 12), (4, 9)], ids=str)
def test_a_constant_becomes_another_without_a_tone(factor, length):
    taps, value = noise(length, seed=2), 0.7
    gains = torch.stack([taps[r::factor].sum() for r in range(factor)])
    assert gains.diff().abs().max() > 0.5  # phases that ripple
    y = Oversampled(torch.exp, factor, taps=taps)(torch.full((1, 9), value, dtype=torch.float64))
    assert_close(y, (gains * (gains * value).exp()).mean().expand(1, 9))


def test_an_even_symmetric_filter_at_factor_two_keeps_a_constant_as_a_plain_gain_does():
    half = noise(6, seed=3)
    taps = torch.cat([half, half.flip(0)])
    y = Oversampled(LEAKY, 2, taps=taps / half.sum())(torch.full((1, 9), -1.5, dtype=torch.float64))
    assert_close(y, LEAKY(torch.full((1, 9), -1.5, dtype=torch.float64)))


def test_given_taps_are_copied_and_exact_again_after_a_coarser_type():
    taps, x = noise(12), noise(2, 3, 30)
    layer = Oversampled(nn.LeakyReLU(0.1), taps=taps)
    expected = layer(x)
    taps.zero_()
    assert torch.equal(layer.half().double()(x), expected)
    assert list(layer.state_dict()) == []
    assert "factor=2, given taps, padding_mode='replicate'" in repr(layer)


@pytest.mark.parametrize(
    "taps",
    [torch.ones(1), torch.ones(1, 12), torch.ones(()), torch.tensor([1.0, float("nan")]), torch.ones(12).to("meta")],
    ids=["short", "two axes", "no axis", "nan", "meta"],
)
def test_taps_that_are_no_filter_are_refused(taps):
    with pytest.raises(ValueError, match=r"^taps must be finite numbers, at least factor = 2, in one axis"):
        Oversampled(LEAKY, 2, taps=taps)


@pytest.mark.parametrize("options", [{"factor": 1}, {"zeros": 4}, {"rolloff": 0.9}], ids=str)
def test_taps_beside_options_that_say_nothing_are_refused(options):
    with pytest.raises(ValueError, match=r"^taps take the place of the windowed sinc"):
        Oversampled(LEAKY, taps=torch.ones(12), **options)


def test_taps_that_are_no_tensor_are_refused():
    with pytest.raises(TypeError, match=r"^taps must be a tensor, got list"):
        Oversampled(LEAKY, taps=[0.5, 1.0, 0.5])


# Sines of 1 at prime bins of 1024 frames, periodic: all that is new lies on exact bins.
BINS = [53, 79, 97, 127, 151, 181, 211, 233, 263, 293, 317, 347, 379, 401, 431, 461]
ALIASING = [
    # Median over the bins, measured: 14.1, 23.7, 14.1, 23.7, 18.2, 34.6 dB; asserted 1 dB and more below.
    pytest.param(LEAKY, 2, 13, id="leaky-relu-2"),
    pytest.param(LEAKY, 4, 22, id="leaky-relu-4"),
    pytest.param(torch.relu, 2, 13, id="relu-2"),
    pytest.param(torch.relu, 4, 22, id="relu-4"),
    pytest.param(Snake(1, 2.0, dtype=torch.float64), 2, 17, id="snake-2"),
    pytest.param(Snake(1, 2.0, dtype=torch.float64), 4, 33, id="snake-4"),
]


def aliases_db(layer):
    """Power that is not at a harmonic below Nyquist, relative to the fundamental, in dB for every bin."""
    phase = 2 * torch.pi * torch.tensor(BINS, dtype=torch.float64)[:, None] * torch.arange(1024) / 1024
    with torch.no_grad():
        power = torch.fft.rfft(layer(torch.sin(phase + 0.3)[:, None])[:, 0]).abs().square()
    levels = []
    for row, first in zip(power, BINS, strict=True):
        harmonic = torch.zeros(513, dtype=torch.bool)
        harmonic[::first] = True
        levels.append(10 * torch.log10(row[~harmonic].sum() / row[first]).item())
    return np.array(levels)


@pytest.mark.parametrize(("activation", "factor", "improvement"), ALIASING)
def test_aliases_are_weaker(activation, factor, improvement):
    over = Oversampled(activation, factor, zeros=6, padding_mode="circular")
    gained = aliases_db(activation) - aliases_db(over)
    assert np.median(gained) > improvement


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@every_factor
def test_types_agree_with_float64(factor, dtype):
    x = noise(2, 3, 30, dtype=dtype)
    layer = Oversampled(SnakeBeta(3, 0.7, dtype=dtype), factor)
    exact = Oversampled(SnakeBeta(3, 0.7, dtype=torch.float64), factor)
    exact.load_state_dict(layer.state_dict())
    y = layer(x)
    assert y.dtype == dtype
    assert_close(y, exact(x.double()))


def test_filters_are_exact_again_after_a_coarser_type():
    x = noise(2, 3, 30)
    layer = Oversampled(nn.LeakyReLU(0.1), 3).bfloat16().double()
    assert_close(layer(x), Oversampled(LEAKY, 3)(x))


def test_autocast_decides_the_type():
    x = noise(2, 3, 30, dtype=torch.float32)
    layer = Oversampled(SnakeBeta(3), 2)
    expected = copy.deepcopy(layer).double()(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert_close(y, expected)


def test_compiles_to_one_graph():
    layer, x = Oversampled(SnakeBeta(3), 2), noise(2, 3, 30, dtype=torch.float32)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), layer(x))


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"]
)
def test_copies_compute_the_same_and_share_nothing(duplicate):
    layer, x = Oversampled(SnakeBeta(3, 0.7), 3, rolloff=0.9), noise(2, 3, 30, dtype=torch.float32)
    twin, expected = duplicate(layer), layer(x).detach().clone()
    assert torch.equal(twin(x), expected)
    nn.init.constant_(layer.activation.alpha, 2.0)
    assert torch.equal(twin(x), expected)
    assert not torch.equal(layer(x), expected)


def test_state_dict_holds_only_what_is_learned():
    assert list(Oversampled(SnakeBeta(3)).state_dict()) == ["activation.alpha", "activation.beta"]
    assert list(Oversampled(nn.ReLU()).state_dict()) == []


@pytest.mark.parametrize("built", ["by argument", "by context"])
def test_meta_layer_comes_to_life(built):
    fresh, x = Oversampled(SnakeBeta(3, 0.7)), noise(2, 3, 30, dtype=torch.float32)
    if built == "by argument":
        layer = Oversampled(SnakeBeta(3, device="meta"))
    else:
        with torch.device("meta"):
            layer = Oversampled(SnakeBeta(3))
    assert all(value.is_meta for value in layer.parameters())
    layer.to_empty(device="cpu")
    layer.load_state_dict(fresh.state_dict())
    assert not any(value.is_meta for value in (*layer.parameters(), *layer.buffers()))
    assert torch.equal(layer(x), fresh(x))


def test_repr_shows_the_options():
    text = repr(Oversampled(nn.ReLU(), 3, zeros=4, rolloff=0.9, padding_mode="zeros"))
    assert "factor=3, zeros=4, rolloff=0.9, padding_mode='zeros'" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("factor", "zeros") for value in (0, -1, 2.0, True, None)),
        *(("rolloff", value) for value in (0, -0.5, 1.01, float("nan"))),
        *(("padding_mode", value) for value in ("same", "", None)),
    ],
    ids=str,
)
def test_oversampled_refuses(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must"):
        Oversampled(nn.ReLU(), **{name: value})


@every_factor
@pytest.mark.parametrize("shape", [(), (5,), (1, 1, 2, 5), (2, 0), (1, 2, 0), (0, 2, 5), (1, 0, 5)], ids=str)
def test_oversampled_refuses_inputs_that_do_not_fit(shape, factor):
    with pytest.raises(ValueError, match=r"^x must have shape"):
        Oversampled(nn.ReLU(), factor)(torch.zeros(shape))


@pytest.mark.parametrize(("padding_mode", "extra"), [("reflect", 1), ("circular", 0)])
def test_oversampled_refuses_inputs_too_short_to_extend(padding_mode, extra):
    # 12 taps at factor 2 look 3 frames either way, and two filters twice as far.
    layer = Oversampled(nn.ReLU(), 2, padding_mode=padding_mode)
    shortest = 6 + extra
    assert layer(torch.zeros(2, shortest)).shape == (2, shortest)
    with pytest.raises(ValueError, match=rf"^padding_mode '{padding_mode}' needs x of more than {shortest - 1} frames"):
        layer(torch.zeros(2, shortest - 1))


# --------------------------------------------------------------------------------------------------------------- Snake


def set_parameters(layer, *values):
    for parameter, value in zip(layer.parameters(), values, strict=True):
        nn.init.constant_(parameter, 0)
        parameter.data += torch.as_tensor(value)


@pytest.mark.parametrize("log_scale", [False, True], ids=["plain", "log"])
@pytest.mark.parametrize("shape", [(2, 3, 7), (3, 7), (3, 3), (2, 3, 4, 5)], ids=str)
def test_snake_is_bigvgans_formula(shape, log_scale):
    alpha, beta = np.array([0.5, 1.0, 3.0]), np.array([2.0, 0.3, 0.1])
    x = noise(*shape)
    along = (3, *[1] * max(1, len(shape) - 2))
    a, b = (np.exp(value) if log_scale else value for value in (alpha.reshape(along), beta.reshape(along)))
    snake, snake_beta = (family(3, log_scale=log_scale, dtype=torch.float64) for family in (Snake, SnakeBeta))
    set_parameters(snake, alpha)
    set_parameters(snake_beta, alpha, beta)
    assert_close(snake(x), x.numpy() + 1 / (a + 1e-9) * np.sin(a * x.numpy()) ** 2)
    assert_close(snake_beta(x), x.numpy() + 1 / (b + 1e-9) * np.sin(a * x.numpy()) ** 2)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
@every_snake
def test_scales_agree_at_the_start(family, alpha):
    x = noise(2, 3, 20)
    plain, log = (family(3, alpha, log_scale, dtype=torch.float64) for log_scale in (False, True))
    assert_close(log(x), plain(x))
    assert_close(plain(x), Snake(3, alpha, dtype=torch.float64)(x))
    assert plain.alpha[0].item() == pytest.approx(alpha)
    assert log.alpha[0].item() == pytest.approx(np.log(alpha))


@every_snake
def test_alpha_of_zero_is_the_identity_with_finite_gradients(family):
    layer, x = family(3), noise(2, 3, 20, dtype=torch.float32).requires_grad_()
    for value in layer.parameters():
        nn.init.zeros_(value)
    y = layer(x)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert all(value.grad.isfinite().all() for value in layer.parameters())


@every_snake
@pytest.mark.parametrize("log_scale", [False, True], ids=["plain", "log"])
def test_snake_gradients(family, log_scale):
    layer = family(2, 0.8, log_scale, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in (noise(2, 2, 4), *layer.parameters())]

    def apply(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    assert torch.autograd.gradcheck(apply, values)


@pytest.mark.parametrize(("family", "names"), [(Snake, ["alpha"]), (SnakeBeta, ["alpha", "beta"])])
def test_snake_parameters(family, names):
    layer = family(5, dtype=torch.float64)
    assert [name for name, _ in layer.named_parameters()] == names == list(layer.state_dict())
    for value in layer.parameters():
        assert value.shape == (5,)
        assert value.dtype == torch.float64
        assert value.requires_grad
    assert all(value.is_meta for value in family(5, device="meta").parameters())


def test_alpha_and_beta_share_nothing():
    layer = SnakeBeta(3)
    nn.init.zeros_(layer.alpha)
    assert layer.beta.tolist() == [1, 1, 1]


@every_snake
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("channels", value) for value in (0, -1, 2.0, True, None)),
        *(("alpha", value) for value in (0, 0.0, -1.0, float("nan"), float("inf"))),
    ],
    ids=str,
)
def test_snake_refuses(family, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must"):
        family(**({"channels": 2} | {name: value}))


@every_snake
@pytest.mark.parametrize("shape", [(3,), (), (2, 1, 5), (2, 4, 5), (2, 3), (1, 2, 3)], ids=str)
def test_snake_refuses_other_channels(family, shape):
    with pytest.raises(ValueError, match=r"^x must have shape \(batch, 3, T\)"):
        family(3)(torch.zeros(shape))


@every_snake
def test_alpha_of_zero_is_the_identity_in_half_precision(family):
    layer, x = family(2, dtype=torch.float16), noise(2, 5, dtype=torch.float16)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(layer(x), x)


def test_oversampled_refuses_what_cannot_be_called():
    with pytest.raises(TypeError, match=r"^activation must be a function"):
        Oversampled(None)
