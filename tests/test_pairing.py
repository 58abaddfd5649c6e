"""Bins and their images: what an interpolator copies is found, what is unrelated is not."""

import numpy as np
import pytest
import scipy.stats
import torch
from sounds import RATE, sine, white

from audioup import measure_tones
from audioup.functional import upsample1d
from audioup.interpolation import interpolation_filter
from audioup.pairing import Pairs


def upsampled(mode, stride, seconds=6, seed=0, **options):
    """Upsample white noise by an interpolation filter."""
    slow = torch.from_numpy(white(seconds, 0.05, seed, RATE // stride))
    taps = interpolation_filter(mode, stride, **options).double()
    origin = (len(taps) - stride + 1) // 2
    return upsample1d(slow.view(1, 1, -1), taps.view(1, 1, -1), stride, origin).flatten().numpy()


def test_copies_of_nearest_are_found_and_named():
    report = measure_tones(upsampled("nearest", 4) + white(6, 1e-4, 9), RATE, (4,))
    lower, upper = report.images
    assert (lower.stage, upper.stage) == (0, 0)
    for image in report.images:
        assert image.detected
        assert image.coherence > 0.95
        assert image.p_value < 1e-12
        assert image.decoy_coherence < 0.05
    # 4 kHz is the rate it starts from: bins at 0.01 to 0.45 of it, mirrored below and shifted above.
    assert lower.source_hz == pytest.approx((62.5, 1770), abs=30)
    assert lower.band_hz == pytest.approx((4000 - 62.5, 4000 - 1770), abs=30)
    assert upper.band_hz == pytest.approx((4000 + 62.5, 4000 + 1770), abs=30)
    assert "is an image of" in str(report)


def test_images_of_each_stage_are_told_apart():
    x = upsampled("nearest", 2) + white(6, 1e-4, 9)
    found = {image.stage for image in measure_tones(x, RATE, (8, 2)).images if image.detected}
    assert found == {1}


def test_coherence_falls_with_what_lies_over_the_image():
    copy = upsampled("nearest", 4)
    coherences = []
    for amplitude in (1e-4, 0.02, 0.1, 1):
        images = measure_tones(copy + white(6, amplitude, 9), RATE, (4,)).images
        coherences.append(images[0].coherence)
    assert coherences == sorted(coherences, reverse=True)
    assert coherences[0] > 0.95
    assert coherences[-1] < 0.1


def test_a_sharp_filter_leaves_no_image():
    x = upsampled("sinc", 4, zeros=32) + white(6, 1e-3, 9)
    assert not any(image.detected for image in measure_tones(x, RATE, (4,)).images)


@pytest.mark.parametrize("strides", [(4, 2, 2), (8, 8, 4)])
def test_two_stride_tones_are_no_image(strides):
    # With a product of 256 every fourth bin holds a tone, and a main lobe covers them all.
    apart = RATE / np.prod(strides)
    x = white(6, 0.01) + sum(sine(apart * k, 0.01, 6 * RATE, phase=k) for k in range(1, int(np.prod(strides) // 2)))
    assert not any(image.p_value < 1e-4 for image in measure_tones(x, RATE, strides).images)


def test_images_hide_neither_in_loud_moments_nor_behind_them():
    loud = 1 + 30 * (np.arange(6 * RATE) % (2 * RATE) < RATE // 8)
    assert not any(image.p_value < 1e-3 for image in measure_tones(white(6) * loud, RATE, (8, 4)).images)
    copy = upsampled("nearest", 4) * loud + white(6, 1e-4, 9)
    assert all(image.coherence > 0.9 for image in measure_tones(copy, RATE, (4,)).images)


def test_chance_is_as_rare_as_the_p_value_says():
    p_values = []
    for seed in range(40):
        for image in measure_tones(white(3, seed=seed), RATE, (8, 8, 4)).images:
            p_values += [image.p_value, image.decoy_p_value]
    assert len(p_values) >= 300
    for level in (0.01, 0.1, 0.5):
        low, high = scipy.stats.binom.interval(0.999, len(p_values), level)
        assert low <= np.count_nonzero(np.array(p_values) < level) <= high


@pytest.mark.parametrize(("length", "strides"), [(1024, (8, 8, 4)), (3072, (8, 8, 2, 2)), (1024, (2,)), (2048, (512,))])
def test_pairs_are_disjoint_within_the_spectrum_and_far_from_stride_tones(length, strides):
    pairs = Pairs(length, strides)
    harmonic = length // int(np.prod(strides))
    source, image = pairs._source, pairs._image
    assert source.min(initial=4) >= 4
    for other in (image, pairs._decoy):
        assert ((other - source) >= 8).all()
        assert (other <= length // 2 - 4).all()
    assert (np.abs(pairs._decoy - image) >= 8).all()
    assert ((pairs._decoy - image) % harmonic != 0).all()
    for row in pairs.rows:
        assert np.diff(source[row.columns]).min(initial=4) >= 4


def test_bins_are_the_ones_that_hold_source_and_image():
    n = 2 * np.pi * np.arange(1024) / 1024
    pairs = Pairs(1024, (4,))
    lower, upper = pairs.rows
    for row, mirrored in ((lower, True), (upper, False)):
        source = row.source[0]  # its image: 256 - source, of opposite phase, and 256 + source
        image = 256 - source if mirrored else 256 + source
        assert row.image[0] == image
        wave = np.cos(source * n + 0.7) + 0.1 * np.cos(image * n + (-0.7 if mirrored else 0.7) + 0.4)
        frames = np.stack([wave, -wave])  # whose mean is none
        assert pairs.sequences(frames)[0][:, row.columns.start] == pytest.approx([np.exp(0.4j)] * 2, abs=1e-4)
