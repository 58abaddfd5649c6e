"""Tones from weights, against what a constant really becomes."""

import math

import pytest
import torch
from reference import assert_close, noise

from audioup import project, rectified_tones, tonal_fraction, tone_response
from audioup.functional import upsample1d

STRIDES = range(1, 10)


def lines_of_a_constant(kernel, stride):
    """|G_k|^2, k = 0 .. stride - 1, summed over channels: one period of what each input channel makes of ones."""
    inputs, _, length = kernel.shape
    frames = 2 * (length // stride) + 5
    power = torch.zeros(stride, dtype=torch.float64)
    for i in range(inputs):
        x = torch.zeros(inputs, frames, dtype=torch.float64)
        x[i] = 1
        y = upsample1d(x, kernel, stride, (length - stride + 1) // 2)
        period = y[:, frames // 2 * stride :][:, :stride]
        for k in range(stride):
            wave = torch.polar(
                torch.ones(stride, dtype=torch.float64),
                torch.arange(stride, dtype=torch.float64) * (-2 * math.pi * k / stride),
            )
            power[k] += ((period * wave).sum(-1) / stride).abs().square().sum()
    return power


@pytest.mark.parametrize("channels", [(1, 1), (1, 3), (3, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_lines_are_those_of_a_constant_through_the_operator(stride, channels):
    for length in (1, 2, stride, stride + 1, 2 * stride, 17):
        kernel = noise(*channels, length, seed=length)
        power = lines_of_a_constant(kernel, stride)
        level = 10 * torch.log10(power / power[0])
        response = tone_response(kernel, stride)
        assert response.shape == (stride // 2,)
        assert response.dtype == torch.float64
        if stride > 1:
            assert (response - level[1 : stride // 2 + 1]).abs().max() < 1e-7
            share = 10 * math.log10(power[1:].sum() / power.sum())
            assert tonal_fraction(kernel, stride).item() == pytest.approx(share, abs=1e-7)
        else:
            assert tonal_fraction(kernel, stride).item() == -math.inf


def test_channels_add_as_root_sum_of_squares():
    # Lines of amplitude 3 and 4 beside means of 1 and 1: 5 / sqrt(2), also when their signs are opposite.
    kernel = torch.tensor([[[4.0, -2.0]], [[-3.0, 5.0]]])
    assert_close(tone_response(kernel, 2), torch.tensor([20 * math.log10(5 / 2**0.5)], dtype=torch.float64))
    assert_close(tonal_fraction(kernel, 2), torch.tensor(10 * math.log10(25 / 27), dtype=torch.float64))


@pytest.mark.parametrize("shape", [(6,), (1, 6), (1, 1, 6), (1, 1, 1, 6)], ids=str)
def test_leading_axes_are_channels(shape):
    taps = noise(6)
    assert_close(tone_response(taps.view(shape), 4), tone_response(taps, 4))


@pytest.mark.parametrize(
    ("size", "stride", "level"),
    [
        (3, 2, 20 * math.log10(1 / 3)),  # overlap 2 1 2 1
        (4, 2, -math.inf),  # overlap 2 2 2 2
        (2, 2, -math.inf),
        (5, 2, 20 * math.log10(1 / 5)),  # overlap 3 2 3 2
        (1, 2, 0.0),  # overlap 1 0 1 0
        (6, 4, 20 * math.log10(2**0.5 / 6)),  # overlap 2 2 1 1: |1 + 1i - 1i ... | = sqrt 2 against 6
    ],
)
def test_kernels_of_ones_by_hand(size, stride, level):
    response = tone_response(torch.ones(size), stride)
    assert response[0].item() == pytest.approx(level, abs=1e-9)


def test_articles_example_is_9_54_db_below():
    assert tone_response(torch.ones(3), 2).tolist() == [pytest.approx(-9.5424, abs=5e-5)]
    assert tonal_fraction(torch.ones(3), 2).item() == pytest.approx(-10, abs=1e-12)
    assert tone_response(torch.ones(4), 2).tolist() == [-math.inf]
    assert tonal_fraction(torch.ones(4), 2).item() == -math.inf


def test_only_tone_is_zero_db():
    assert tonal_fraction(torch.tensor([1.0, -1.0]), 2).item() == 0
    assert tone_response(torch.tensor([1.0, -1.0]), 2).tolist() == [math.inf]


def test_kernel_of_zeros_has_no_line():
    assert tonal_fraction(torch.zeros(2, 4), 4).item() == -math.inf
    assert tone_response(torch.zeros(2, 4), 4).tolist() == [-math.inf, -math.inf]


def test_level_ignores_scale_and_rotation_of_phases():
    kernel = noise(2, 2, 12)
    expected = tone_response(kernel, 4)
    assert_close(tone_response(-3 * kernel, 4), expected)
    # One tap more at the front turns the phases: the DFT's magnitude stays.
    assert_close(tone_response(torch.nn.functional.pad(kernel, (1, 0)), 4), expected)


def test_measured_in_float64_whatever_the_kernel():
    kernel = noise(2, 2, 9, dtype=torch.float16)
    assert torch.equal(tone_response(kernel, 3), tone_response(kernel.double(), 3))
    assert tonal_fraction(kernel, 3).dtype == torch.float64


@pytest.mark.parametrize("measure", [tone_response, tonal_fraction])
@pytest.mark.parametrize("stride", [0, -1, 2.0, True, None], ids=repr)
def test_measure_refuses_stride(measure, stride):
    with pytest.raises(ValueError, match=r"^stride must"):
        measure(torch.ones(4), stride)


@pytest.mark.parametrize("measure", [tone_response, tonal_fraction])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (0, 2, 4)], ids=str)
def test_measure_refuses_an_empty_kernel(measure, shape):
    with pytest.raises(ValueError, match=r"^kernel must"):
        measure(torch.ones(shape), 2)


# ------------------------------------------------------------------------------------ what a rectifier makes of it


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("stride", [2, 3, 4, 8])
def test_rectified_lines_are_as_predicted(stride, slope):
    # A Gaussian moving average of three frames, through an order-1 kernel, then a leaky rectifier; two channels in.
    torch.manual_seed(stride)
    kernel = project(noise(2, 3, 2 * stride + 1, seed=stride), stride, 1)
    average = torch.tensor([0.5, 1.0, 0.8], dtype=torch.float64)
    correlation = torch.stack([average[: 3 - lag] @ average[lag:] for lag in range(3)])
    frames = 400_000
    x = torch.nn.functional.conv1d(torch.randn(2, 1, frames + 2, dtype=torch.float64), average[None, None])[:, 0]
    y = torch.nn.functional.leaky_relu(upsample1d(x, kernel, stride, stride // 2 + 1), slope)
    means = y.unflatten(-1, (-1, stride)).mean(-2)
    measured = torch.fft.fft(means).abs()[:, 1 : stride // 2 + 1] / stride
    predicted = rectified_tones(kernel, stride, correlation, slope)
    assert predicted.shape == (3, stride // 2)
    assert (measured - predicted).abs().max() < 0.02 * predicted.max()
    assert predicted.max() > 0.005


def test_rectified_lines_by_hand():
    kernel = torch.tensor([[[3.0, 0.0, 4.0, 0.0]]])  # sigma 5 and 0 for white noise, 7 and 0 for a constant
    scale = 1 / math.sqrt(2 * math.pi) / 2
    assert rectified_tones(kernel, 2, torch.ones(1)).item() == pytest.approx(5 * scale)
    assert rectified_tones(kernel, 2, torch.ones(5)).item() == pytest.approx(7 * scale)
    assert rectified_tones(kernel, 2, torch.tensor([1.0, -1.0])).item() == pytest.approx(1 * scale)
    assert rectified_tones(kernel, 2, torch.ones(1), 1.0).item() == 0  # no rectifier


def test_equal_phases_make_no_rectified_line():
    kernel = noise(2, 3, 5).repeat_interleave(4, -1)
    assert rectified_tones(kernel, 4, torch.tensor([1.0, 0.5])).max() < 1e-15


@pytest.mark.parametrize(
    ("kernel", "stride", "correlation", "message"),
    [
        (torch.ones(3, 4), 2, torch.ones(1), "kernel must have shape"),
        (torch.ones(1, 1, 0), 2, torch.ones(1), "kernel must have shape"),
        (torch.ones(1, 1, 4), 2, torch.ones(1, 1), "autocorrelation must have shape"),
        (torch.ones(1, 1, 4), 2, torch.ones(0), "autocorrelation must have shape"),
        (torch.ones(1, 1, 4), 2, torch.tensor([1.0, -3.0]), "autocorrelation is none of a signal"),
        (torch.ones(1, 1, 4), 0, torch.ones(1), "stride must"),
    ],
    ids=str,
)
def test_rectified_lines_refuse(kernel, stride, correlation, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        rectified_tones(kernel, stride, correlation)
