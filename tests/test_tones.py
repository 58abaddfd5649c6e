"""Tones from weights, against what a constant really becomes."""

import math

import numpy as np
import pytest
import torch
from reference import assert_close, noise

from audioup import measure_tones, project, rectified_tones, tonal_fraction, tone_response
from audioup.functional import upsample1d, upsample2d

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


@pytest.mark.parametrize(
    ("stride", "size", "level"),
    [
        (2, 3, -9.54),
        (3, 4, -12.04),
        (3, 5, -13.98),
        (4, 5, -13.98),
        (4, 6, -12.55),
        (4, 7, -16.90),
        (8, 10, -14.67),
    ],
)
def test_strongest_line_of_kernels_of_ones(stride, size, level):
    assert tone_response(torch.ones(size), stride).max().item() == pytest.approx(level, abs=0.005)
    image = tone_response(torch.ones(size, size), (stride, stride)).flatten()[1:]
    assert image.max().item() == pytest.approx(level, abs=0.005)


@pytest.mark.parametrize("multiple", [1, 2, 3])
@pytest.mark.parametrize("stride", range(2, 9))
def test_no_line_where_the_size_is_a_multiple_of_the_stride(stride, multiple):
    size = multiple * stride
    assert tone_response(torch.ones(size), stride).max() < -300
    assert tone_response(torch.ones(size, size), (stride, stride)).flatten()[1:].max() < -300
    assert tonal_fraction(torch.ones(size, size), (stride, stride)) < -300


def three_stages():
    """The kernel, 8 times the rate, of three transposed convolutions of three ones and stride 2."""
    ones = np.ones(3)

    def stretched(kernel, by):
        zeros = np.zeros(by * (len(kernel) - 1) + 1)
        zeros[::by] = kernel
        return zeros

    return np.convolve(np.convolve(stretched(ones, 4), stretched(ones, 2)), ones)


def test_two_stages_of_ones():
    # The later stage makes 1/3 at half the output rate. The earlier makes 1/3 at half its own, a quarter of that of the
    # output, of which the later lets |1 + 2 cos(pi / 2)| / 3 = 1/3 through.
    kernel = torch.tensor(np.convolve([1.0, 0, 1, 0, 1], np.ones(3)))
    expected = [20 * math.log10(1 / 9), 20 * math.log10(1 / 3)]
    assert tone_response(kernel, 4).tolist() == pytest.approx(expected, abs=1e-9)


def test_three_stages_of_ones_from_weights_and_from_sound():
    # Kernels of three ones at strides 2, 2, 2 on 4 kHz: lines at 4, 8, 12 and 16 kHz of the 32 kHz output.
    weights = tone_response(torch.tensor(three_stages()), 8)

    def gain(cycles):  # of three ones
        return abs(1 + 2 * math.cos(2 * math.pi * cycles)) / 3

    by_hand = [gain(k / 2) * gain(k / 4) * gain(k / 8) for k in (1, 2, 3, 4)]
    assert weights.tolist() == pytest.approx([20 * math.log10(g) for g in by_hand], abs=1e-9)
    sound = torch.full((1, 5000), 0.01, dtype=torch.float64)
    for _ in range(3):
        sound = upsample1d(sound, torch.ones(1, 1, 3, dtype=torch.float64), 2, 1, padding_mode="replicate")
    dc = sound.mean().item()
    report = measure_tones(sound + 1e-4 * noise(1, sound.shape[1]), 32000, (2, 2, 2))
    assert [line.frequency_hz for line in report.lines] == [4000, 8000, 12000, 16000]
    assert all(line.detected for line in report.lines)
    # A sine has twice its two-sided amplitude, except at Nyquist.
    sines = [line.level_dbfs - 20 * math.log10(2 * dc if line.frequency_hz < 16000 else dc) for line in report.lines]
    assert sines == pytest.approx(weights.tolist(), abs=0.01)


# ------------------------------------------------------------------------------------------- channels that correlate


@pytest.mark.parametrize("stride", [4, (2, 3)], ids=str)
def test_correlation_weighs_as_inputs_drawn_with_it(stride):
    strides = stride if isinstance(stride, tuple) else (stride,)
    kernel = noise(3, 2, *(2 * s + 1 for s in strides))
    inputs = noise(5, 3, seed=1)
    # Exact: the mean over five constants is what their own correlation gives.
    lines, whole = 0.0, 0.0
    for v in inputs:
        frames = [6] * len(strides)
        x = v.view(3, *[1] * len(strides)).expand(3, *frames).contiguous()
        y = upsample1d(x, kernel, stride, 0) if len(strides) == 1 else upsample2d(x, kernel, stride, 0)
        period = y[(slice(None), *(slice(3 * s, 4 * s) for s in strides))].flatten(1)
        whole += period.square().mean(1).sum().item()
        lines += (period - period.mean(1, keepdim=True)).square().mean(1).sum().item()
    found = tonal_fraction(kernel, stride, inputs.T @ inputs / 5)
    assert found.item() == pytest.approx(10 * math.log10(lines / whole), abs=1e-9)
    assert_close(tonal_fraction(kernel, stride, torch.eye(3)), tonal_fraction(kernel, stride))


def test_correlation_by_hand():
    # Channels that fill each other's gaps: nothing is tone when they agree, all when they are opposite.
    kernel = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert tonal_fraction(kernel, 2, torch.ones(2, 2)).item() == -math.inf
    assert tonal_fraction(kernel, 2, torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).item() == 0
    half = torch.tensor([[1.0, 0.5], [0.5, 1.0]])  # of sum and difference, 3 to 1
    assert tonal_fraction(kernel, 2, half).item() == pytest.approx(10 * math.log10(1 / 4))
    assert tonal_fraction(kernel, 2, torch.zeros(2, 2)).item() == -math.inf


@pytest.mark.parametrize(
    ("kernel", "correlation", "message"),
    [
        (torch.ones(2, 1, 4), torch.ones(3, 3), r"correlation must have shape \(2, 2\) for this kernel, got \(3, 3\)"),
        (torch.ones(2, 1, 4), torch.ones(2), r"correlation must have shape \(2, 2\)"),
        (torch.ones(2, 1, 4), torch.tensor([[1.0, 0.5], [0.4, 1.0]]), "correlation must be symmetric"),
        (torch.ones(2, 1, 4), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "correlation must be positive semidefinite"),
        (torch.ones(2, 1, 4), torch.full((2, 2), math.nan), "correlation must be finite"),
        (torch.ones(2, 4), torch.eye(2), r"kernel must have shape \(in_channels, out_channels, L\) beside"),
    ],
    ids=str,
)
def test_correlation_refused(kernel, correlation, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        tonal_fraction(kernel, 2, correlation)


def test_correlation_estimated_in_float32_is_taken():
    channels = noise(4, 3, seed=2, dtype=torch.float32)
    low_rank = channels @ channels.T  # rank 3 of 4: its smallest eigenvalue is a rounding error, of either sign
    assert tonal_fraction(noise(4, 2, 7), 3, low_rank).isfinite()


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
