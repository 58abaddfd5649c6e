"""The response of a kernel: droop and images against sines that are really upsampled, and against closed forms."""

import json
import math

import numpy as np
import pytest
import reference
import torch
from reference import noise

from audioup import ResizeConv1d, filter_response
from audioup.functional import upsample1d, upsample2d
from audioup.interpolation import interpolation_filter
from audioup.response import image_response, passband_droop, phase_power
from audioup.tones import tone_response

one_thread = reference.one_thread
STRIDES = [2, 3, 4, 5, 8]
GRID = np.linspace(0.01, 0.45, 89)


def spectrum_of_a_sine(taps, stride, cycle, frames=400):
    """Amplitudes of an upsampled sine of ``cycle / frames`` cycles per frame; circular, so that nothing leaks."""
    x = torch.cos(2 * torch.pi * cycle / frames * torch.arange(frames, dtype=torch.float64))[None]
    origin = (taps.shape[-1] - stride + 1) // 2
    y = upsample1d(x, taps[None, None], stride, origin, padding_mode="circular")[0]
    return torch.fft.rfft(y).abs() / len(y) * 2


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic", "sinc", "bspline-3"])
def test_images_and_droop_of_real_sines(mode, stride):
    taps = interpolation_filter(mode, stride)
    response = filter_response(taps, stride)
    worst, strongest = 0.0, 0.0
    for cycle in range(4, 181, 2):  # 0.01 to 0.45 of the input rate, on the grid of the measure
        amplitude = spectrum_of_a_sine(taps, stride, cycle)
        passed = amplitude[cycle].item()
        amplitude[cycle] = 0
        if (400 * stride) % 2 == 0:
            amplitude[-1] /= 2
        worst = max(worst, amplitude.max().item() / passed)
        strongest = max(strongest, amplitude.max().item())
    assert response.image_db == pytest.approx(20 * math.log10(worst), abs=1e-6)
    assert response.stop_band_db == pytest.approx(20 * math.log10(strongest), abs=1e-6)
    assert response.droop_quarter_db == pytest.approx(
        20 * math.log10(spectrum_of_a_sine(taps, stride, 100)[100].item()), abs=1e-6
    )
    assert response.droop_edge_db == pytest.approx(
        20 * math.log10(spectrum_of_a_sine(taps, stride, 180)[180].item()), abs=1e-6
    )


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("stride", STRIDES)
def test_bsplines_in_closed_form(stride, order):
    def gain(f):  # of s ones at f cycles per frame, to the power p
        return np.abs(np.sin(np.pi * f) / (stride * np.sin(np.pi * f / stride))) ** order

    response = filter_response(interpolation_filter(f"bspline-{order}", stride), stride)
    assert response.droop_quarter_db == pytest.approx(20 * math.log10(gain(0.25)))
    assert response.droop_edge_db == pytest.approx(20 * math.log10(gain(0.45)))
    assert response.image_db == pytest.approx(20 * math.log10((gain(1 - GRID) / gain(GRID)).max()))


def test_channels_are_summed_as_powers():
    kernel = noise(3, 2, 11)
    response = filter_response(kernel, 4)
    angle = 2 * np.pi * 0.25 / 4 * np.arange(11)
    transform = kernel.numpy() @ np.stack([np.exp(-1j * angle), np.ones(11)], axis=1)
    quarter, constant = (np.abs(transform) ** 2).sum((0, 1))
    assert response.droop_quarter_db == pytest.approx(10 * math.log10(quarter / constant))
    assert filter_response(kernel.float() * 7, 4).image_db == pytest.approx(response.image_db, abs=1e-4)


@pytest.mark.parametrize(
    ("mode", "stride", "delay", "reach"),
    [("nearest", 4, 0, (0, 0)), ("bspline-2", 4, -0.5, (1, 1)), ("bspline-2", 3, 0, (1, 1)), ("sinc", 2, 0, (6, 6))],
)
def test_delay_and_reach(mode, stride, delay, reach):
    response = filter_response(interpolation_filter(mode, stride), stride)
    assert (response.delay, response.context) == (delay, reach)


def test_layer_and_json():
    response = filter_response(ResizeConv1d(3, 2, 5, 4).kernel(), 4)
    assert json.loads(json.dumps(response.to_dict()))["image_db"] == response.image_db


@pytest.mark.parametrize(
    ("kernel", "stride", "message"),
    [
        (torch.ones(4), 1, "stride must be at least 2"),
        (torch.ones(4), 0, "stride must be an integer"),
        (torch.ones(4), True, "stride must be an integer"),
        (torch.zeros(2, 4), 2, "kernel must hold taps other than zero"),
        (torch.ones(2, 0), 2, "kernel must hold taps other than zero"),
        (torch.tensor(1.0), 2, "kernel must hold taps other than zero"),
    ],
    ids=str,
)
def test_refusals(kernel, stride, message):
    with pytest.raises(ValueError, match=message):
        filter_response(kernel, stride)


# ------------------------------------------------------------------------------------ single sines, phases, images


def channel_spectra(x, kernel, stride):
    """|DFT| of what a kernel makes of one signal fed to each input channel in turn, root sum of squares."""
    power = 0.0
    axes = x.dim()
    for i in range(kernel.shape[0]):
        each = torch.zeros(kernel.shape[0], *x.shape, dtype=torch.float64)
        each[i] = x
        upsample = upsample1d if axes == 1 else upsample2d
        y = upsample(each, kernel, stride, 0 if axes == 1 else (0, 0), padding_mode="circular")
        power = power + torch.fft.fftn(y, dim=tuple(range(-axes, 0))).abs().square().sum(0)
    return power.sqrt()


@pytest.mark.parametrize("stride", range(1, 10))
def test_each_image_is_that_of_a_real_sine(stride):
    kernel, frames = noise(2, 3, 2 * stride + 1, seed=stride), 40
    for cycle in (1, 7, 19):
        x = torch.cos(2 * torch.pi * cycle / frames * torch.arange(frames, dtype=torch.float64))
        spectrum = channel_spectra(x, kernel, stride)
        # All lines of the output but the sine itself, ascending: nothing else is left.
        at = [c for k in range(stride) for c in (k * frames - cycle, k * frames + cycle)]
        copies = sorted(c for c in at if c > cycle and c <= stride * frames / 2)
        expected = 20 * torch.log10(spectrum[copies] / spectrum[cycle])
        found = image_response(kernel, stride, torch.tensor([cycle / frames], dtype=torch.float64))
        assert found.shape == (1, stride - 1)
        assert len(copies) == stride - 1
        if stride > 1:
            assert (found[0] - expected).abs().max() < 1e-9
        droop = spectrum[cycle] / channel_spectra(torch.ones(frames, dtype=torch.float64), kernel, stride)[0] * 2
        level = passband_droop(kernel, stride, torch.tensor([cycle / frames], dtype=torch.float64))
        assert level.item() == pytest.approx(20 * math.log10(droop), abs=1e-9)


@pytest.mark.parametrize("stride", [(2, 2), (3, 2), (1, 4)], ids=str)
def test_each_image_is_that_of_a_real_wave(stride):
    kernel, size = noise(2, 2, 5, 6), (10, 12)
    for cycle in ((1, 2), (3, -5), (0, 1)):
        m = [torch.arange(n, dtype=torch.float64) * c / n for n, c in zip(size, cycle, strict=True)]
        spectrum = channel_spectra(torch.cos(2 * torch.pi * (m[0][:, None] + m[1])), kernel, stride)
        frequency = torch.tensor([[c / n for c, n in zip(cycle, size, strict=True)]], dtype=torch.float64)
        found = image_response(kernel, stride, frequency)
        assert found.shape == (1, *stride)
        for k in range(stride[0]):
            for j in range(stride[1]):
                copy = spectrum[k * size[0] + cycle[0], (j * size[1] + cycle[1]) % (stride[1] * size[1])]
                level = 20 * math.log10(copy / spectrum[cycle])
                assert found[0, k, j].item() == pytest.approx(level, abs=1e-9)
        constant = channel_spectra(torch.ones(size, dtype=torch.float64), kernel, stride)[0, 0]
        droop = passband_droop(kernel, stride, frequency).item()
        assert droop == pytest.approx(20 * math.log10(2 * spectrum[cycle] / constant), abs=1e-9)


def test_images_of_a_constant_are_the_lines():
    kernel = noise(2, 3, 17)
    images, lines = image_response(kernel, 8, torch.zeros(1))[0], tone_response(kernel, 8)
    assert (images - lines[[0, 0, 1, 1, 2, 2, 3]]).abs().max() < 1e-9
    # Equal phase gains: none, though rounding leaves a remainder of the transform.
    assert image_response(torch.ones(24), 8, torch.zeros(1)).tolist() == [[-math.inf] * 7]


def test_where_nothing_passes():
    difference = torch.tensor([1.0, -1.0])
    assert image_response(difference, 2, torch.zeros(1)).tolist() == [[math.inf]]
    # 1, 0, 1 at stride 2 has zeros at f = 0.5 and at the copy, 1 - f, which is the same frequency.
    assert math.isnan(image_response(torch.tensor([1.0, 0.0, 1.0]), 2, torch.tensor([0.5])).item())
    assert passband_droop(torch.tensor([1.0, 0.0, 1.0]), 2, torch.tensor([0.5])).item() == -math.inf
    assert passband_droop(difference, 2, torch.tensor([0.25])).item() == math.inf


@pytest.mark.parametrize("stride", [2, 5, (2, 3)], ids=str)
def test_phase_power_is_the_variance_of_white_noise(stride):
    strides = stride if isinstance(stride, tuple) else (stride,)
    kernel, frames = noise(2, 3, *(2 * s + 1 for s in strides)), 6
    upsample = upsample1d if len(strides) == 1 else upsample2d
    # Exactly: every input sample alone, each of unit variance, is squared and summed.
    variance = 0.0
    for channel in range(2):
        for place in range(frames ** len(strides)):
            x = torch.zeros(2, frames ** len(strides), dtype=torch.float64)
            x[channel, place] = 1
            x = x.view(2, *[frames] * len(strides))
            origin = 0 if len(strides) == 1 else (0, 0)
            variance = variance + upsample(x, kernel, stride, origin, padding_mode="circular").square().sum(0)
    expected = 10 * math.log10(variance.max() / variance.min())
    assert phase_power(kernel, stride).item() == pytest.approx(expected, abs=1e-9)
    assert expected > 0.5


def test_phase_power_sees_what_phase_gains_do_not():
    # Both phases have the gain 2, of one tap and of two.
    kernel = torch.tensor([1.0, 2.0, 1.0, 0.0])
    assert tone_response(kernel, 2).item() == -math.inf
    assert phase_power(kernel, 2).item() == pytest.approx(10 * math.log10(4 / 2))
    assert filter_response(kernel, 2).phase_power_db == pytest.approx(10 * math.log10(2))
    assert phase_power(torch.ones(6), 3).item() == 0


def test_phase_without_taps():
    assert phase_power(torch.ones(2), 3).item() == math.inf
    assert phase_power(torch.ones(2, 1), (2, 2)).item() == math.inf
    response = filter_response(torch.ones(2), 3)
    assert response.phase_power_db == math.inf
    assert response.to_dict()["phase_power_db"] is None


def test_outer_products_add():
    down, across = noise(5), noise(7, seed=1)
    image, frequency = torch.outer(down, across), torch.tensor([[0.1, 0.3]])
    rows, columns = passband_droop(down, 2, frequency[:, 0]), passband_droop(across, 3, frequency[:, 1])
    assert (passband_droop(image, (2, 3), frequency) - rows - columns).abs().max() < 1e-9
    sum_of_both = phase_power(down, 2) + phase_power(across, 3)
    assert phase_power(image, (2, 3)).item() == pytest.approx(sum_of_both.item())


@pytest.mark.parametrize("measure", [image_response, passband_droop])
@pytest.mark.parametrize(
    ("stride", "frequency", "message"),
    [
        (2, torch.tensor([0.6]), "frequency must be from 0 to 0.5"),
        (2, torch.tensor([-0.1]), "frequency must be from 0 to 0.5"),
        (2, torch.tensor([math.nan]), "frequency must be from 0 to 0.5"),
        (2, torch.tensor(0.1), r"frequency must have shape \(F,\), got \(\)"),
        ((2, 2), torch.tensor([0.1, 0.1]), r"frequency must have shape \(F, 2\), got \(2,\)"),
        ((2, 2), torch.tensor([[0.1, -0.6]]), "frequency must be from -0.5 to 0.5"),
        (0, torch.tensor([0.1]), "stride must"),
        ((2, 2, 2), torch.tensor([0.1]), "stride must be one integer or a pair"),
    ],
    ids=str,
)
def test_sines_refused(measure, stride, frequency, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        measure(torch.ones(1, 4, 4), stride, frequency)


@pytest.mark.parametrize("measure", [lambda k: phase_power(k, 2), lambda k: image_response(k, 2, torch.zeros(1))])
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)], ids=str)
def test_kernels_refused(measure, shape):
    with pytest.raises(ValueError, match=r"^kernel must hold taps other than zero"):
        measure(torch.zeros(shape))
