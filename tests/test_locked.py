"""The test of the locked mean: its size, whatever the noise, and what it finds."""

import numpy as np
import pytest
import reference
import torch
from reference import noise
from scipy.stats import binom, f, ttest_1samp

from audioup.locked import fit_locked

one_thread = reference.one_thread


def circular(trials, units, seed):
    return noise(trials * units, 1, 64, 1, seed=seed).view(trials, units, 1, 64, 1)


def sign_following(trials, units, seed):
    """Every signal holds the same line, with a sign of its own: no mean, but one phase only."""
    line = torch.cos(2 * torch.pi * torch.arange(64, dtype=torch.float64) / 8 + 0.7).view(1, 1, 1, 64, 1)
    return circular(trials, units, seed) + 10 * noise(trials, units, 1, 1, 1, seed=seed + 1) * line


def beside_a_harmonic(trials, units, seed):
    """Every signal holds a strong sine between harmonics, at any phase."""
    at = 2 * torch.pi * torch.arange(64, dtype=torch.float64) * 10.3 / 64
    phase = 2 * torch.pi * torch.from_numpy(np.random.default_rng(seed).random((trials, units, 1, 1, 1)))
    return circular(trials, units, seed) + 30 * torch.cos(at.view(64, 1) + phase)


@pytest.mark.parametrize("units", [16, 40])
@pytest.mark.parametrize("kind", [circular, sign_following, beside_a_harmonic])
def test_one_in_a_hundred_p_values_is_below_one_in_a_hundred(kind, units):
    trials = 1500
    p = np.array([fit_locked(signals, (8, 1), (0, 0)).p_value[1:] for signals in kind(trials, units, seed=units)])
    assert p.shape == (trials, 4)
    for k in range(4):  # one harmonic at a time: Nyquist and the others have each their own distribution
        low, high = binom.interval(0.999, trials, 0.01)
        assert low <= (p[:, k] < 0.01).sum() <= high
    assert 0.48 < np.median(p) < 0.52


def test_p_value_and_interval_against_a_plain_hotelling():
    signals = noise(20, 1, 30, 1) + 0.1
    fit = fit_locked(signals, (6, 1), (0, 0))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(30) / 30)
    wave = np.exp(-2j * np.pi * np.arange(30) * 2 / 6)
    z = (signals.numpy()[:, 0, :, 0] * window) @ wave / window.sum()
    parts = np.stack([z.real, z.imag])
    covariance, mean = np.cov(parts), parts.mean(1)
    t = 20 * mean @ np.linalg.inv(covariance) @ mean
    assert fit.harmonic[2].tolist() == [2, 0]
    assert fit.p_value[2] == pytest.approx(f.sf(t * 18 / 38, 2, 18))
    assert fit.level[2] == pytest.approx(np.sqrt(2) * np.hypot(*mean))
    axis = np.linalg.eigvalsh(covariance)[1] / 20
    assert fit.radius[2] == pytest.approx(np.sqrt(2 * axis * f.ppf(0.95, 2, 18) * 38 / 18))
    assert fit.chance[2] == pytest.approx(2 * np.trace(covariance) / 20)

    # Nyquist is real: Student's test.
    alternating = (signals.numpy()[:, 0, :, 0] * window) @ (-1.0) ** np.arange(30) / window.sum()
    assert fit.harmonic[3].tolist() == [3, 0]
    assert fit.p_value[3] == pytest.approx(ttest_1samp(alternating, 0).pvalue)
    assert fit.level[3] == pytest.approx(abs(alternating.mean()))
    interval = ttest_1samp(alternating, 0).confidence_interval(0.95)
    assert fit.radius[3] == pytest.approx((interval.high - interval.low) / 2)


def test_interval_holds_the_true_level_19_times_in_20():
    line = 0.3 * torch.cos(2 * torch.pi * torch.arange(64, dtype=torch.float64) / 8).view(64, 1)
    fits = [fit_locked(signals + line, (8, 1), (0, 0)) for signals in circular(1000, 16, seed=5)]
    held = np.mean([abs(fit.level[1] - 0.3 / np.sqrt(2)) <= fit.radius[1] for fit in fits])
    assert 0.95 <= held <= 0.995  # the ellipse is wider than the interval of its radius alone
    excess = np.mean([fit.level[1] ** 2 - fit.chance[1] for fit in fits])
    assert excess == pytest.approx(0.045, abs=0.0015)  # three errors; chance adds 0.003


def test_every_distinct_harmonic_once():
    for period in ((1, 5), (6, 1), (4, 4), (3, 4), (2, 6), (5, 5)):
        fit = fit_locked(noise(3, 1, *period), period, (0, 0))
        seen = {tuple(k) for k in fit.harmonic.tolist()}
        conjugates = {(-k % period[0], -j % period[1]) for k, j in seen}
        assert len(seen | conjugates) == period[0] * period[1]
        assert len(seen) == len(fit.level)
        assert all(a == b or b not in seen for a, b in ((k, (-k[0] % period[0], -k[1] % period[1])) for k in seen))
        assert fit.harmonic[0].tolist() == [0, 0]


def test_power_is_shared_out_among_the_harmonics():
    # Signals that are nothing but one period: all their power is locked, in the constant and the lines.
    pattern = noise(2, 6, 4)
    fit = fit_locked(pattern.repeat(16, 1, 3, 5), (6, 4), (0, 0))
    assert (fit.level**2).sum() == pytest.approx(fit.power)
    assert fit.power == pytest.approx(pattern.square().mean((1, 2)).sum().item())
    assert fit.p_value.max() < 1e-9


def test_channels_are_tested_together():
    # One channel of eight holds the line; eight channels that are the same count as one.
    signals = noise(16, 8, 64, 1)
    signals[:, 3] += 2 * torch.cos(torch.pi / 2 * torch.arange(64)).view(64, 1)
    assert fit_locked(signals, (4, 1), (0, 0)).p_value[1] < 1e-6
    alone = noise(16, 1, 64, 1, seed=3)
    fit, copies = (fit_locked(x, (8, 1), (0, 0)) for x in (alone, alone.expand(-1, 8, -1, -1)))
    assert copies.p_value == pytest.approx(np.minimum(1, 8 * fit.p_value))
    assert copies.level**2 == pytest.approx(8 * fit.level**2)


def test_few_signals_are_cut_into_pieces():
    assert [fit_locked(noise(n, 1, 400, 1), (4, 1), (0, 0)).units for n in (1, 2, 5, 15, 16, 17)] == [
        16,
        16,
        20,
        30,
        16,
        17,
    ]
    assert fit_locked(noise(1, 1, 40, 1), (4, 1), (0, 0)).units == 2  # pieces hold four periods
    assert fit_locked(noise(1, 1, 400, 1), (400, 1), (0, 0)).units == 1


def test_margin_is_left_out_in_whole_periods_at_the_start():
    signals = noise(16, 1, 40, 30)
    signals[..., :8, :] = signals[..., :, :4] = signals[..., 36:, :] = signals[..., :, 28:] = 1e6
    fit = fit_locked(signals, (4, 2), (5, 3))
    inside = fit_locked(signals[..., 8:32, 4:26], (4, 2), (0, 0))
    assert fit.power < 10
    assert fit.level == pytest.approx(inside.level)
    with pytest.raises(ValueError, match=r"^a period of \(4, 2\) must fit into \(40, 30\) samples less a margin"):
        fit_locked(signals, (4, 2), (19, 0))
