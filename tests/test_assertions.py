"""The assertion passes what is certified to be clean and says in three ways why it does not pass the rest."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import reference
import torch
from torch import nn

from audioup import TransposedConv1d, measure_tones, regular
from audioup.assertions import assert_tone_free

one_thread = reference.one_thread
RATE, STRIDES = 16000, (8, 8, 4)


def hiss(seconds: float = 3.0, level: float = 1e-3, seed: int = 0) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(int(seconds * RATE))


def whine(hz: float, dbfs: float, seconds: float = 3.0) -> np.ndarray:
    return 10 ** (dbfs / 20) * np.cos(2 * np.pi * hz / RATE * np.arange(int(seconds * RATE)))


def test_a_bound_below_the_level_passes_and_is_returned() -> None:
    report = assert_tone_free(hiss(), below_db=-60, sample_rate=RATE, strides=STRIDES)
    assert report == measure_tones(hiss(), RATE, STRIDES)
    assert max(line.interval_dbfs[1] for line in report.lines) < -60
    clips = [torch.from_numpy(hiss(seed=seed)) for seed in (0, 1)]
    assert assert_tone_free(clips, below_db=-60, sample_rate=RATE, strides=STRIDES).clips == 2


def test_a_tone_below_the_level_passes() -> None:
    report = assert_tone_free(hiss() + whine(4000, -70), below_db=-60, sample_rate=RATE, strides=STRIDES)
    assert report.strongest is not None
    assert report.strongest.level_dbfs == pytest.approx(-70, abs=0.5)


@pytest.mark.parametrize(("hz", "stage"), [(187.5, 0), (1000, 1), (4000, 2)])
def test_a_tone_is_named_with_its_stage(hz: float, stage: int) -> None:
    message = rf"^a tone at {hz:g} Hz, -40\.\d dBFS, of stage {stage} of strides 8, 8, 4: not below -60 dBFS$"
    with pytest.raises(AssertionError, match=message):
        assert_tone_free(hiss() + whine(hz, -40.05), below_db=-60, sample_rate=RATE, strides=STRIDES)


def test_the_loudest_of_several_is_named() -> None:
    sound = hiss() + whine(1000, -40.05) + whine(2000, -50) + whine(3000, -65)
    with pytest.raises(AssertionError, match=r"a tone at 1000 Hz, .* not below -60 dBFS \(and 1 more\)$"):
        assert_tone_free(sound, below_db=-60, sample_rate=RATE, strides=STRIDES)


def test_what_cannot_be_bounded_fails_though_nothing_was_found() -> None:
    with pytest.raises(
        AssertionError, match=r"no tone found at or above -90 dBFS, but .* bound at .* Hz is -\d+\.\d dB"
    ):
        assert_tone_free(hiss(), below_db=-90, sample_rate=RATE, strides=STRIDES)
    bound = max(line.interval_dbfs[1] for line in measure_tones(hiss(), RATE, STRIDES).lines)
    with pytest.raises(AssertionError, match=f"is {bound:.1f} dBFS on 3.0 s"):
        assert_tone_free(hiss(), below_db=bound, sample_rate=RATE, strides=STRIDES)
    assert_tone_free(hiss(), below_db=math.nextafter(bound, 0), sample_rate=RATE, strides=STRIDES)


@pytest.mark.parametrize("sound", [np.zeros(3 * RATE), hiss(0.5)], ids=["silence", "short"])
def test_what_cannot_be_tested_fails(sound: np.ndarray) -> None:
    with pytest.raises(AssertionError, match=r"^not testable: .*; nothing is certified$"):
        assert_tone_free(sound, below_db=-10, sample_rate=RATE, strides=STRIDES)


def generator(order: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [TransposedConv1d(2, 2, 16, 8), TransposedConv1d(2, 1, 8, 4)]
    for layer in layers:
        nn.init.constant_(layer.bias, 0.0)
        if order:
            regular(layer, order)
    return nn.Sequential(OrderedDict(zip(("first", "second"), layers, strict=True)))


def test_a_model_is_named_with_its_layer() -> None:
    inputs = 1 + 0.01 * torch.randn(1, 2, 2000, generator=torch.Generator().manual_seed(0))
    with pytest.raises(
        AssertionError, match=r"^a tone at .* of stage 0, first \(conv_transpose1d, stride 8\): not below -60"
    ):
        assert_tone_free(generator(0), below_db=-60, sample_rate=RATE, inputs=inputs)
    with pytest.raises(AssertionError, match="no tone found at or above -160 dBFS"):
        assert_tone_free(generator(1), below_db=-160, sample_rate=RATE, inputs=0.01 * (inputs - 1))
    assert assert_tone_free(generator(1), below_db=-150, sample_rate=RATE, inputs=0.01 * (inputs - 1)).strides == (8, 4)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, "sound takes the strides", {}),
        (TypeError, "sound takes the strides .* no inputs", {"strides": STRIDES, "inputs": torch.zeros(1, 2, 9)}),
        (ValueError, "below_db must be finite, got nan", {"strides": STRIDES, "below_db": math.nan}),
    ],
)
def test_wrong_arguments_of_sound(error: type[Exception], message: str, options: dict) -> None:
    with pytest.raises(error, match=message):
        assert_tone_free(hiss(), **{"below_db": -60, "sample_rate": RATE, **options})


@pytest.mark.parametrize("options", [{}, {"inputs": torch.zeros(1, 2, 9), "strides": STRIDES}])
def test_wrong_arguments_of_a_model(options: dict) -> None:
    with pytest.raises(TypeError, match="a model takes inputs"):
        assert_tone_free(generator(0), below_db=-60, sample_rate=RATE, **options)
