"""Advice follows from the figures: which layer it names, and when it has nothing to say."""

import numpy as np
import pytest
import torch
from torch import nn

from audioup import ResizeConv1d, TransposedConv1d, inspect_model, measure_tones, probe, regular
from audioup.advice import advise

RATE = 16000


def sung(frequency: float, strides=(8, 4), seconds: int = 4):
    n = np.arange(seconds * RATE)
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(n))
    return measure_tones(noise + 0.05 * np.cos(2 * np.pi * frequency / RATE * n), RATE, strides)


def texts(*given):
    return [advice.text for advice in advise(*given)]


def model_with_a_tone_in(which: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [TransposedConv1d(8, 8, 16, 8), TransposedConv1d(8, 1, 8, 4)]
    return nn.Sequential(*(layer if n == which else regular(layer) for n, layer in enumerate(layers)))


@pytest.mark.parametrize("which", [0, 1])
def test_the_layer_that_the_probe_convicts_is_named(which: int) -> None:
    x = 1 + 0.1 * torch.randn(1, 8, 1500, generator=torch.Generator().manual_seed(1))
    model = model_with_a_tone_in(which)
    first, *rest = advise(inspect_model(model), probe(model, x, RATE, seconds=1))
    assert f"when layer {which} alone is held at order 1" in first.text
    assert first.code == f"audioup.convert(model, to=\"regular-1\", where=lambda name: name == '{which}')"
    assert rest[0].text.startswith(f"1 of 2 layers make tone of a constant, most layer {which},")


def test_layers_of_order_1_need_something_else() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(regular(TransposedConv1d(8, 8, 16, 8)), nn.ReLU(), regular(TransposedConv1d(8, 1, 16, 8)))
    x = torch.randn(1, 8, 1500, generator=torch.Generator().manual_seed(1))
    (advice, *rest) = advise(inspect_model(model), probe(model, x, RATE, seconds=1))
    assert "is made by layers that are of order 1 already" in advice.text
    assert "StrideToneLoss" in advice.text
    assert not any("make tone of a constant" in one.text for one in rest)


@pytest.mark.parametrize(("frequency", "stages"), [(2000, "0 (stride 8)"), (4000, "1 (stride 4), 0 (stride 8)")])
def test_a_line_in_a_recording_is_laid_at_the_series_of_its_stages(frequency: float, stages: str) -> None:
    (text,) = texts(None, None, [sung(frequency)])
    assert text.endswith(f"at {frequency} Hz, lies on the series of stage {stages}, the likeliest first.")


def test_of_the_layers_on_the_series_the_loudest_is_named() -> None:
    inspection = inspect_model(model_with_a_tone_in(0))
    first, second, *_ = advise(inspection, None, [sung(4000)])
    assert "stage 1 (stride 4), 0 (stride 8)" in first.text
    assert second.text.startswith("Of these, layer 0 makes most tone of a constant")
    assert second.code.endswith("name == '0')")


def test_a_clean_recording_needs_nothing() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(4 * RATE)
    assert texts(None, None, [measure_tones(noise, RATE, (8, 4))]) == ["Nothing was found that a swap would mend."]


def test_too_short_a_recording_needs_more() -> None:
    assert texts(None, None, [measure_tones(np.random.default_rng(0).standard_normal(900) / 9, RATE, (8,))]) == [
        "Take longer or louder sound: not testable: 0.06 s is less than 12 blocks of 64 ms."
    ]


def test_weights_alone_tell_of_overlap_bias_and_droop() -> None:
    torch.manual_seed(0)
    shuffle = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2))
    dull = ResizeConv1d(1, 1, 33, 4)
    dull.weight.data.fill_(1 / 33)
    model = nn.Sequential(nn.ConvTranspose1d(2, 2, 7, 4), nn.ConvTranspose1d(2, 1, 2, 4), shuffle, dull)
    found = "\n".join(texts(inspect_model(model), None))
    for words in (
        "Layer 0: a kernel of 7 taps at stride 4 overlaps unevenly",
        "Layer 1: a kernel of 2 taps leaves gaps at stride 4",
        "Layer 2.0: a bias for every phase makes lines on silence",
        "Layer 3 is dull: it takes",
        "Weights tell what a constant gets.",
    ):
        assert words in found


def test_lines_that_change_sign_are_no_matter_of_order() -> None:
    rng = np.random.default_rng(0)
    n = np.arange(8 * RATE)
    sign = np.repeat(rng.choice([-1, 1], len(n) // 2000), 2000)
    report = measure_tones(0.01 * rng.standard_normal(len(n)) + 0.05 * sign * np.cos(np.pi / 4 * n), RATE, (8,))
    assert report.verdict == "tones that change sign"
    (text,) = texts(None, None, [report])
    assert text.startswith("Some lines change their sign with the content")
