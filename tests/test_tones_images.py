"""Checkerboards from weights, against what a constant image really becomes."""

import math

import pytest
import torch
from reference import assert_close, noise

from audioup import tonal_fraction, tone_response
from audioup.functional import upsample2d


@pytest.mark.parametrize("stride", [(2, 2), (2, 3), (4, 1), (1, 5), (3, 4)], ids=str)
def test_lines_are_those_of_a_constant_image(stride):
    kernel = noise(2, 3, 5, 7)
    power = torch.zeros(stride, dtype=torch.float64)
    for i in range(2):
        x = torch.zeros(2, 12, 12, dtype=torch.float64)
        x[i] = 1
        y = upsample2d(x, kernel, stride, 0)
        period = y[:, 6 * stride[0] :, 6 * stride[1] :][:, : stride[0], : stride[1]]
        power += (torch.fft.fft2(period) / math.prod(stride)).abs().square().sum(0)
    response = tone_response(kernel, stride)
    level = 10 * torch.log10(power / power[0, 0])[:, : stride[1] // 2 + 1]
    assert response.shape == (stride[0], stride[1] // 2 + 1)
    assert response[0, 0] == 0
    assert (response - level).abs().max() < 1e-9
    share = 10 * torch.log10(1 - power[0, 0] / power.sum())
    assert tonal_fraction(kernel, stride).item() == pytest.approx(share.item(), abs=1e-9)


def test_levels_of_the_axes_add():
    down, across = noise(6), noise(9)
    rows, columns = tone_response(down, 3), tone_response(across, 4)
    response = tone_response(torch.outer(down, across), (3, 4))
    assert (response[1:2, 0] - rows).abs().max() < 1e-9
    assert (response[0, 1:] - columns).abs().max() < 1e-9
    assert (response[1, 1:] - rows - columns).abs().max() < 1e-9
    # Overlap 2, 1 in one direction is 4, 2, 2, 1 in two.
    checkerboard = tone_response(torch.ones(3, 3), (2, 2))
    assert checkerboard.flatten().tolist() == pytest.approx([0, -9.5424, -9.5424, -19.0849], abs=1e-4)


def test_a_stride_of_one_axis_is_that_of_sound():
    kernel = noise(2, 3, 9)
    assert_close(tone_response(kernel.unsqueeze(-2), (1, 4))[0, 1:], tone_response(kernel, 4))
    assert_close(tonal_fraction(kernel.unsqueeze(-1), (4, 1)), tonal_fraction(kernel, 4))


@pytest.mark.parametrize("measure", [tone_response, tonal_fraction])
def test_measure_refuses_an_image_of_one_axis(measure):
    with pytest.raises(ValueError, match=r"^kernel must .* \(\.\.\., L_h, L_w\), got shape \(4,\)"):
        measure(torch.ones(4), (2, 2))
    with pytest.raises(ValueError, match=r"^stride must"):
        measure(torch.ones(4, 4), (2, 0))
