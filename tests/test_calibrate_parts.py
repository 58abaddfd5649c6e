"""What the calibration is made of: sounds without stride tones, lines of known amplitude, shares with their spread."""

import numpy as np
import pytest
from calibration.depths import modulated_noise
from calibration.lines import draw_speech, planted, short_time_level
from calibration.shares import share_of
from calibration.size import PERIODS, TESTS, Questions, Size, measure_size
from calibration.sounds import SOUNDS, draw_sounds
from numpy.typing import NDArray

RATE = 16000


def harmonics(samples: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    """Return the amplitudes of the sines at all harmonics of whole periods."""
    whole = samples[: len(samples) // period * period].reshape(-1, period).mean(0)
    scale = np.full(period // 2 + 1, 2 / period)
    if period % 2 == 0:
        scale[-1] = 1 / period
    return (np.abs(np.fft.rfft(whole)) * scale)[1:]


@pytest.mark.parametrize("period", [7, 16, 256])
def test_steady_lines_have_amplitude_1_at_every_harmonic_and_start_with_every_clip(period: int) -> None:
    clips = [np.ones(period * 20), np.ones(period * 30 + 3)]
    first, second = planted("steady", clips, RATE, period, np.random.default_rng(0))
    np.testing.assert_allclose(harmonics(first, period), 1, atol=1e-12)
    np.testing.assert_array_equal(second[: len(first)], first)
    assert len(second) == len(clips[1])
    assert abs(first.mean()) < 1e-12


def test_proportional_lines_follow_the_level_with_mean_amplitude_1() -> None:
    rng = np.random.default_rng(0)
    clips = [0.01 * rng.standard_normal(RATE), 0.1 * rng.standard_normal(3 * RATE)]
    quiet, loud = planted("level-proportional", clips, RATE, 16, rng)
    amplitudes = np.concatenate([harmonics(quiet, 16), harmonics(loud, 16)]).reshape(2, 8)
    np.testing.assert_allclose((amplitudes[0] + 3 * amplitudes[1]) / 4, 1, rtol=0.01)
    np.testing.assert_allclose(amplitudes[1] / amplitudes[0], 10, rtol=0.02)
    assert short_time_level(clips[1], RATE)[RATE] == pytest.approx(0.1, rel=0.2)


def test_sign_changing_lines_have_no_mean_but_rms_amplitude_1() -> None:
    (lines,) = planted("sign-changing", [np.zeros(600 * RATE)], RATE, 16, np.random.default_rng(0))
    assert harmonics(lines, 16).max() < 0.05
    within_a_run = np.abs(np.fft.rfft(lines[:32].reshape(2, 16))) / 8
    within_a_run[:, -1] /= 2
    np.testing.assert_allclose(within_a_run[:, 1:], 1, atol=1e-9)
    # Between runs of 75 ms on average half of the signs turn.
    change = np.abs(np.diff(lines[np.arange(0, len(lines) - 16, 16)])) > 1e-9
    assert 600 / 0.075 * 0.9 < change.sum() < 600 / 0.075


def test_modulated_noise_has_the_variance_asked_for() -> None:
    noise = modulated_noise(16 * 400_000, 16, np.array([3, 8]), 0.4, np.random.default_rng(0))
    variance = (noise.reshape(-1, 16) ** 2).mean(0)
    spectrum = np.abs(np.fft.rfft(variance)) / variance.sum()
    depth = 2 * spectrum
    depth[-1] /= 2
    np.testing.assert_allclose(depth[[3, 8]], 0.4, atol=0.005)
    assert np.delete(depth[1:], [2, 7]).max() < 0.005
    assert variance.mean() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_differ_last_as_long_as_asked_and_stay_below_full_scale(name: str) -> None:
    clips = draw_sounds(name, RATE, 12, np.random.default_rng(0))
    assert 12 <= sum(map(len, clips)) / RATE < 18
    assert all(np.isfinite(clip).all() and 0.1 < np.abs(clip).max() < 1 for clip in clips)
    assert all(2 <= len(clip) / RATE <= 6 for clip in clips)
    again = draw_sounds(name, RATE, 12, np.random.default_rng(0))
    np.testing.assert_array_equal(clips[0], again[0])
    assert not np.array_equal(clips[0][:1000], clips[1][:1000])


def test_pink_noise_falls_by_3_db_an_octave() -> None:
    (clip, *_) = draw_sounds("pink noise", RATE, 1, np.random.default_rng(1))
    power = np.abs(np.fft.rfft(clip)) ** 2
    hz = np.fft.rfftfreq(len(clip), 1 / RATE)
    octaves = [power[(hz >= low) & (hz < 2 * low)].mean() for low in (250, 500, 1000, 2000)]
    np.testing.assert_allclose(10 * np.log10(octaves), 10 * np.log10(octaves[0]) - 3.01 * np.arange(4), atol=0.7)


def test_no_two_counted_harmonics_ask_the_same() -> None:
    questions = Questions(RATE)
    hz = [m.blocks.harmonics * RATE / m.period for m in questions.meters]
    counted = np.sort(np.concatenate([f[keep] for f, keep in zip(hz, questions.lines, strict=True)]))
    assert len(PERIODS) >= 30
    assert (min(PERIODS), max(PERIODS)) == (3, 512)
    assert len(counted) > 900
    # Within one period neighbours are at least 31 Hz apart; between periods, more than 4 Hz.
    assert np.diff(counted).min() > 4
    assert [m.strides for m in questions.meters if m.period in (8, 509)] == [(2, 2, 2), (509,)]
    bands = [
        (np.prod(m.strides[row.stage :]), row.image[0] * np.prod(m.strides[row.stage :]) < m.blocks.length)
        for m, keep in zip(questions.meters, questions.images, strict=True)
        for row, counted_too in zip(m.blocks.pairs.rows, keep, strict=True)
        if counted_too
    ]
    assert len(bands) == len(set(bands)) == 31


def test_a_line_in_every_clip_stands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.size.PERIODS", (31, 32))
    rng = np.random.default_rng(0)
    tone = 0.01 * np.cos(np.pi / 2 * np.arange(2 * RATE))  # 4 kHz: a harmonic of 32, not of 31
    clips = [0.05 * rng.standard_normal(2 * RATE) + tone for _ in range(8)]
    rows = [row for row in measure_size("hum", clips, Questions(RATE)) if isinstance(row, Size)]
    assert tuple(row.test for row in rows) == TESTS
    lines = rows[0]
    assert [(one.hz, one.flagged) for one in lines.outstanding] == [(4000, 1)]
    assert 4000 in lines.together_hz
    assert lines.single.at_001.share - lines.typical.at_001.share == pytest.approx(1 / (15 + 15), abs=0.01)
    assert lines.typical.at_01.tests == lines.single.at_01.tests - 8


def test_shares_of_alike_tests_are_as_uncertain_as_their_clusters() -> None:
    rng = np.random.default_rng(0)
    independent = share_of(rng.random((100, 50)) < 0.1)
    assert independent.design_effect == pytest.approx(1, abs=0.4)
    assert independent.interval[0] < 0.1 < independent.interval[1]
    # Fifty copies of one test are one test: 10 of 100.
    copies = share_of(np.repeat(np.arange(100)[:, None] < 10, 50, axis=1))
    assert copies.design_effect == pytest.approx(50, rel=0.02)
    np.testing.assert_allclose(copies.interval, (0.0490, 0.1762), atol=1e-3)  # Clopper & Pearson's for 10 of 100
    none = share_of(np.zeros((10, 10), dtype=bool))
    np.testing.assert_allclose(none.interval, (0, 1 - 0.025 ** (1 / 100)))
    assert share_of(np.ones((10, 10), dtype=bool)).interval[1] == 1


def test_trials_are_single_clips_where_enough_are_long_and_several_elsewhere() -> None:
    rng = np.random.default_rng(0)
    clips = [np.full(length, float(i)) for i, length in enumerate((10, 20, 30))]
    single = draw_speech(clips, 20, 2, rng)
    assert sorted(trial[0][0] for trial in single) == [1, 2]
    assert [len(trial) for trial in single] == [1, 1]
    assert [len(trial[0]) for trial in single] == [20, 20]
    joined = draw_speech(clips, 55, 4, rng)
    assert all(sum(map(len, trial)) == 55 for trial in joined)
    assert all(len({clip[0] for clip in trial}) == len(trial) for trial in joined)
