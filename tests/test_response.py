"""The response of a kernel: droop and images against sines that are really upsampled, and against closed forms."""

import json
import math

import numpy as np
import pytest
import reference
import torch
from reference import noise

from audioup import ResizeConv1d, filter_response
from audioup.functional import upsample1d
from audioup.interpolation import interpolation_filter

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
