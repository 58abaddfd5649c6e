"""The metrics of the comparison, against closed forms and known sounds."""

import math

import numpy as np
import pytest
import torch
from comparison.quality import Quality, compare_voices, find_voice, means, mel_cepstral_distortion


def voiced(seconds: float, hz: float = 150.0) -> np.ndarray:
    """Return a buzz of 20 partials at 16 kHz."""
    n = np.arange(int(16000 * seconds))
    return 0.1 * sum(np.sin(2 * np.pi * k * hz / 16000 * n) / k for k in range(1, 21))


@pytest.mark.parametrize("m", [1, 5, 13])
def test_mcd_is_the_rms_of_a_ripple_in_db(m):
    bands = np.arange(80)
    ripple = 0.3 * np.cos(np.pi * m * (bands + 0.5) / 80)[:, None] * np.ones(7)
    expected = 20 / math.log(10) * 0.3 / math.sqrt(2)
    assert mel_cepstral_distortion(np.zeros((80, 7)), ripple) == pytest.approx(expected, rel=1e-12)


def test_mcd_leaves_out_level_and_fine_ripple():
    bands = np.arange(80)[:, None]
    assert mel_cepstral_distortion(np.zeros((80, 3)), np.full((80, 3), 2.0)) == pytest.approx(0, abs=1e-12)
    fine = np.cos(np.pi * 14 * (bands + 0.5) / 80)
    assert mel_cepstral_distortion(np.zeros((80, 1)), fine) == pytest.approx(0, abs=1e-12)


def test_voices_are_compared_frame_by_frame():
    real = np.array([0.9, 0.9, 0.1, 0.1]), np.array([True, True, False, False])
    other = np.array([0.9, 0.1, 0.1, 0.1]), np.array([True, False, False, True])
    found = compare_voices(real, other)
    assert found["periodicity_error"] == pytest.approx(0.4)
    assert found["voicing_f1"] == pytest.approx(0.5)  # 1 hit, 1 miss, 1 false alarm
    unvoiced = np.zeros(4), np.zeros(4, bool)
    assert math.isnan(compare_voices(unvoiced, unvoiced)["voicing_f1"])


def test_a_buzz_is_voiced_and_its_absence_is_not():
    breath = 0.003 * np.random.default_rng(0).standard_normal(8000)
    sound = np.concatenate([voiced(0.5) + breath, np.zeros(8000)])
    periodicity, is_voiced = find_voice(sound, "tiny")
    assert len(periodicity) == 1 + (16000 - 1024) // 160
    assert is_voiced[:40].all()
    assert not is_voiced[-30:].any()
    assert (periodicity[-30:] == 0).all()


def test_a_recording_is_as_good_as_itself():
    rng = np.random.default_rng(0)
    envelope = np.sin(np.pi * np.arange(32000) / 4000) ** 2
    sound = torch.from_numpy(voiced(2.0) * envelope + 0.003 * rng.standard_normal(32000)).float()
    quality = Quality(16000, 256, "tiny")
    same = quality.clip("a", sound, sound)
    assert same["mel_l1"] == same["mcd_db"] == same["periodicity_error"] == 0
    assert same["multi_resolution_stft"] == pytest.approx(0, abs=1e-6)
    assert same["stoi"] == pytest.approx(1, abs=1e-6)
    assert same["voicing_f1"] == 1
    assert same["pesq_wb"] == pytest.approx(4.64, abs=0.01)
    assert same["visqol"] > 4
    noisy = quality.clip("a", sound, sound + 0.05 * torch.randn(32000, generator=torch.Generator().manual_seed(0)))
    assert noisy["pesq_wb"] < 2.5
    assert noisy["visqol"] < same["visqol"] - 0.5
    assert noisy["mcd_db"] > 3
    assert quality.alone(sound) == {key: same[key] for key in same if key.startswith("dnsmos")}


def test_metrics_of_clips_that_are_too_short_or_silent_are_not_defined():
    quality = Quality(16000, 256, "tiny")
    buzz = torch.from_numpy(voiced(0.64)).float()
    assert math.isnan(quality.clip("short", buzz[:9984], buzz[:9984])["visqol"])
    silent = quality.clip("silent", torch.from_numpy(voiced(1.0)).float(), torch.zeros(16000))
    assert math.isnan(silent["pesq_wb"])
    assert math.isnan(silent["visqol"])
    assert silent["mel_l1"] > 1


def test_means_leave_out_what_is_not_defined():
    nan = float("nan")
    found = means([{"a": 1.0, "b": nan}, {"a": 3.0, "b": 5.0}])
    assert found == {"a": 2.0, "b": 5.0}
    assert math.isnan(means([{"a": nan}])["a"])
