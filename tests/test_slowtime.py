"""The test for locked lines, against a slow reference and against what was put in."""

import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from sounds import RATE, comb, dbfs, found, line_at, sine, white

from audioup import measure_tones

# --- the statistic, block by block, bin by bin, taper by taper ---


def reference_segments(clip, rate, period):
    """Cut a clip into lists of blocks: each list of at most 20 s, as equal as whole blocks allow, longer ones first."""
    length = max(4, math.ceil(0.064 * rate / period)) * period
    blocks = [clip[start : start + length] for start in range(0, len(clip) - length + 1, length)]
    pieces = min(math.ceil(len(blocks) * length / rate / 20), len(blocks) // 12)
    least, longer = divmod(len(blocks), pieces)
    segments = []
    for piece in range(pieces):
        size = least + (piece < longer)
        segments.append(blocks[:size])
        blocks = blocks[size:]
    assert not blocks
    return segments


def reference_line(clips, rate, period, k):
    """Return (p-value, amplitude, floor amplitude) of harmonic ``k`` by the formulas of Thomson's test over blocks."""
    periods = max(4, math.ceil(0.064 * rate / period))
    length = periods * period
    window = scipy.signal.windows.hann(length, sym=False)
    nyquist = 2 * k == period
    sides = 1 if nyquist else 2
    faintest = 10 ** (-110 / 20) / sides

    def dft(block, bin_number):
        return np.sum(block * window * np.exp(-2j * np.pi * bin_number * np.arange(length) / length)) / window.sum()

    widest = min(10, max(2, periods // 2 - 1))
    beside = [k * periods + sign * distance for distance in range(2, widest + 1) for sign in (-1, 1)]
    all_z, all_noise, all_u, all_y = [], [], [], []
    for clip in clips:
        for segment in reference_segments(clip, rate, period):
            z = [dft(block, k * periods) for block in segment]
            noise = [np.mean([abs(dft(block, bin_number)) ** 2 for bin_number in beside]) for block in segment]
            limited = [a / math.sqrt(abs(a) ** 2 + b + faintest**2) for a, b in zip(z, noise, strict=True)]
            duration_s = len(segment) * length / rate
            bandwidth = min(max(4, 1.0 * duration_s), len(segment) / 3)
            for taper in scipy.signal.windows.dpss(len(segment), bandwidth, int(min(2 * bandwidth - 1, 40))):
                all_u.append(sum(taper))
                all_y.append(sum(weight * c for weight, c in zip(taper, limited, strict=True)))
            all_z += z
            all_noise += noise
    u, y = np.array(all_u), np.array(all_y)
    mu = np.sum(u * y) / np.sum(u**2)
    freedom = len(u) - 1
    f = freedom * abs(mu) ** 2 * np.sum(u**2) / np.sum(abs(y - mu * u) ** 2)
    p_value = scipy.stats.f.sf(f, 1, freedom) if nyquist else (1 + f / freedom) ** -freedom
    return p_value, sides * abs(np.mean(all_z)), sides * math.sqrt(np.mean(all_noise))


CONFIGURATIONS = {
    "period 5": (5, 8000, [1.5], 0.05),
    "period 8": (8, 8000, [5.3], 0.05),
    "period 32, three clips": (32, 8000, [1.0, 2.7, 1.3], 0.05),
    "period 256": (256, 16000, [1.7], 0.05),
    "period 257, two clips": (257, 16000, [0.9, 1.4], 0.05),
    "three segments": (8, 4000, [45.0], 0.05),
    "a long and a short clip": (6, 4000, [25.1, 0.9], 0.05),
    "long blocks": (1024, 4000, [13.5], 0.05),
    "blocks so long that twelve take more than 20 s": (256, 400, [66.0], 0.05),
    "as faint as the limiter": (32, 8000, [1.3], 2e-5),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_statistic_equals_its_slow_reference(name):
    period, rate, seconds, amplitude = CONFIGURATIONS[name]
    rng = np.random.default_rng(period)
    clips = []
    for seed, duration_s in enumerate(seconds):
        clip = white(duration_s, amplitude, seed, rate)
        # Loud and quiet moments, and tones of every strength, so that each part of the formula counts.
        clip *= 0.2 + np.sin(np.linspace(0, 5, len(clip))) ** 2
        tones = [math.cos(2 * math.pi * k * 3 / period) * 0.2 for k in range(period)]
        clips.append(clip + amplitude * np.resize(tones, len(clip)) * rng.uniform(0.1, 1))
    lines = measure_tones(clips, rate, (period,)).lines
    assert len(lines) == period // 2
    every = max(1, len(lines) // 16)  # the reference is slow: about 16 lines of each report, the highest always
    for k in range(len(lines), 0, -every):
        line = lines[k - 1]
        p_value, level, floor = reference_line(clips, rate, period, k)
        assert line.p_value == pytest.approx(p_value, rel=1e-9, abs=1e-250)
        assert 10 ** (line.level_dbfs / 20) == pytest.approx(level, rel=1e-9)
        assert 10 ** (line.floor_dbfs / 20) == pytest.approx(floor, rel=1e-9)


# --- the level ---


@pytest.mark.parametrize(
    ("frequency_hz", "stages"),
    [
        (62.5, (0,)),
        (187.5, (0,)),
        (500.0, (1, 0)),
        (2000.0, (1, 0)),
        (4000.0, (2, 1, 0)),
        (7937.5, (0,)),
    ],
)
@pytest.mark.parametrize("amplitude", [0.5, 0.003])
def test_locked_sine_has_its_level_frequency_and_stages(frequency_hz, stages, amplitude):
    x = white(4, 1e-4) + sine(frequency_hz, amplitude, 4 * RATE)
    report = measure_tones(x, RATE, (8, 8, 4))
    line = report.strongest
    assert line.detected
    assert report.verdict == "tones"
    assert line.frequency_hz == frequency_hz
    assert line.stages == stages
    assert line.level_dbfs == pytest.approx(dbfs(amplitude), abs=0.2)
    assert line.interval_dbfs[0] <= dbfs(amplitude) <= line.interval_dbfs[1]
    assert line.interval_dbfs[1] - line.interval_dbfs[0] < 1
    assert line.level_db == pytest.approx(dbfs(amplitude / math.sqrt(2) / np.sqrt(np.mean(x**2))), abs=0.2)
    # Hann noise power in one block of 1024 samples, as the amplitude of a sine: 2 sqrt(1.5 / 1024) of the noise's RMS.
    assert line.floor_dbfs == pytest.approx(dbfs(1e-4 * 2 * math.sqrt(1.5 / 1024)), abs=1)


def test_nyquist_line_has_the_amplitude_of_the_alternating_sequence():
    x = white(4, 1e-4) + 0.02 * np.cos(np.pi * np.arange(4 * RATE))
    line = measure_tones(x, RATE, (8, 8, 4)).strongest
    assert line.frequency_hz == 8000
    assert line.stages == (2, 1, 0)
    assert line.level_dbfs == pytest.approx(dbfs(0.02), abs=0.05)
    assert line.interval_dbfs[0] <= dbfs(0.02) <= line.interval_dbfs[1]
    # The RMS of an alternating sequence is its amplitude, not 3 dB less.
    assert line.level_db == pytest.approx(0, abs=0.05)


def test_stages_with_a_factor_of_one_are_never_named():
    report = measure_tones(white(2), RATE, (1, 4, 1, 2, 1))
    assert [(line.frequency_hz, line.stages) for line in report.lines] == [
        (2000, (1,)),
        (4000, (1,)),
        (6000, (1,)),
        (8000, (3, 1)),
    ]


def test_quieter_sound_has_quieter_lines_and_is_otherwise_the_same():
    x = white(3, 0.05) + sine(500, 0.01, 3 * RATE)
    loud, quiet = (measure_tones(y, RATE, (8, 8, 4)) for y in (x, 0.1 * x))
    for a, b in zip(loud.lines, quiet.lines, strict=True):
        assert b.level_dbfs == pytest.approx(a.level_dbfs - 20, abs=1e-9)
        assert b.interval_dbfs[1] == pytest.approx(a.interval_dbfs[1] - 20, abs=1e-9)
        assert b.floor_dbfs == pytest.approx(a.floor_dbfs - 20, abs=1e-9)
        assert b.level_db == pytest.approx(a.level_db, abs=1e-9)
        assert b.p_value == pytest.approx(a.p_value, rel=1e-3)
        assert b.detected == a.detected


@pytest.mark.parametrize("period", [8, 256])
def test_offset_changes_neither_levels_nor_significance(period):
    x = white(3, 0.05) + sine(2000, 0.01, 3 * RATE)
    plain, offset = (measure_tones(y, RATE, (period,)) for y in (x, x + 0.5))
    for a, b in zip(plain.lines, offset.lines, strict=True):
        assert b.level_dbfs == pytest.approx(a.level_dbfs, abs=1e-6)
        assert b.floor_dbfs == pytest.approx(a.floor_dbfs, abs=1e-6)
        assert b.p_value == pytest.approx(a.p_value, rel=1e-6)


def covered(report, amplitude):
    return [line.interval_dbfs[0] <= dbfs(amplitude) <= line.interval_dbfs[1] for line in report.lines]


@pytest.mark.parametrize("amplitude", [1e-3, 1e-2])
def test_interval_covers_the_truth(amplitude):
    rng = np.random.default_rng(1)
    hits = []
    for seed in range(2):
        x = white(4, 0.05, seed) + comb(256, amplitude, 4 * RATE, rng)
        hits += covered(measure_tones(x, RATE, (256,)), amplitude)[:-1]
    assert 0.93 <= np.mean(hits) <= 1


def test_interval_covers_the_truth_at_nyquist():
    alternating = 0.003 * np.cos(np.pi * np.arange(RATE))
    hits = [covered(measure_tones(white(1, 0.05, seed) + alternating, RATE, (2,)), 0.003)[0] for seed in range(100)]
    assert 0.89 <= np.mean(hits) <= 0.99


def test_interval_is_no_wider_than_the_noise_makes_it():
    squares = []
    for seed in range(6):
        for line in measure_tones(white(4, 0.05, seed), RATE, (256,)).lines[:-1]:
            squares.append((10 ** (line.interval_dbfs[1] / 20) - 10 ** (line.level_dbfs / 20)) ** 2)
    # Seven tapers leave 12 degrees of freedom; the mean over 62 Hann blocks has this variance, as a sine's amplitude.
    variance = 4 * 0.05**2 * 1.5 / 1024 / 62
    # The lower bound is tight, the upper one leaves room for a mean that weighs the blocks.
    assert 0.94 <= np.mean(squares) / variance / scipy.stats.f.ppf(0.95, 2, 12) <= 1.3


def test_interval_covers_the_truth_in_sound_that_starts_or_ends_loudly():
    # The padding of a generator often leaves a burst at its edges.
    hits = []
    for seed, loud in enumerate((slice(0, 1024), slice(-2048, None))):
        x = white(10, 0.001, seed)
        x[loud] *= 300
        hits += covered(measure_tones(x + comb(256, 0.003, len(x), np.random.default_rng(seed)), RATE, (256,)), 0.003)
    assert np.mean(hits) >= 0.88


def test_interval_covers_the_truth_beside_sound_that_changes_slowly():
    # Blocks that follow each other are alike here, so that their plain variance says too little.
    hits = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n = np.arange(16 * RATE)
        x = white(16, 1e-4, seed) + comb(32, 0.01, len(n), rng)
        for k in range(1, 16):
            slow = np.interp(n, np.arange(0, len(n) + RATE, RATE // 2), 0.02 * rng.standard_normal(34))
            x += slow * np.cos(2 * np.pi * k / 32 * n)
        hits += covered(measure_tones(x, RATE, (32,)), 0.01)[:-1]
    assert np.mean(hits) >= 0.88


def test_clean_verdict_bounds_the_tones_that_were_missed():
    bounds = []
    for seed in range(20):
        x = white(2, 0.05, seed) + comb(32, 10 ** (-70 / 20), 2 * RATE, np.random.default_rng(seed))
        report = measure_tones(x, RATE, (32,))
        if not found(report):
            bound = float(report.verdict.removeprefix("clean below ").removesuffix(" dBFS"))
            assert 0 <= bound - max(line.interval_dbfs[1] for line in report.lines) <= 0.1
            bounds.append(bound)
    assert len(bounds) >= 15
    assert min(bounds) > -70
    assert max(bounds) < -40


# --- false alarms and power ---


def speech_like(seconds, seed):
    """Draw a harmonic complex of drifting pitch, in syllables, with breath noise."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    knots = np.linspace(0, samples, round(6 * seconds))
    pitch_hz = np.interp(np.arange(samples), knots, rng.uniform(90, 220, len(knots)))
    loudness = np.interp(np.arange(samples), knots, rng.uniform(0, 1, len(knots)) ** 3)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE
    voice = sum(np.sin(h * phase + rng.uniform(0, 6)) / h for h in range(1, 30))
    return loudness * (0.2 * voice + 0.02 * rng.standard_normal(samples)) + 1e-4 * rng.standard_normal(samples)


@pytest.mark.parametrize("make", [white, speech_like], ids=["white noise", "speech-like"])
def test_false_alarms_are_as_rare_as_the_p_value_says(make):
    reports = [measure_tones(make(3, seed=seed), RATE, (256,)) for seed in range(20)]
    p_values = np.array([line.p_value for report in reports for line in report.lines])
    low, high = scipy.stats.binom.interval(0.999, len(p_values), 0.01)
    assert low <= np.count_nonzero(p_values < 0.01) <= high
    assert np.mean(p_values < 0.5) == pytest.approx(0.5, abs=0.04)
    assert sum(report.verdict == "tones" for report in reports) <= 1


def test_false_alarms_at_nyquist_are_as_rare_as_the_p_value_says():
    p_values = np.array([measure_tones(white(1, seed=seed), RATE, (2,)).lines[0].p_value for seed in range(250)])
    for level in (0.01, 0.1, 0.5):
        low, high = scipy.stats.binom.interval(0.999, len(p_values), level)
        assert low <= np.count_nonzero(p_values < level) <= high


def test_power_is_that_of_an_ideal_test_in_white_noise():
    # A tone 10 dB above the noise of the mean over all blocks: noncentral F tells how often an ideal test finds it.
    blocks = 10 * RATE // 1024
    amplitude = 2 * math.sqrt(10 * 0.05**2 * 1.5 / 1024 / blocks)
    rng = np.random.default_rng(0)
    p_values = []
    for seed in range(3):
        x = white(10, 0.05, seed) + comb(256, amplitude, 10 * RATE, rng)
        p_values += [line.p_value for line in measure_tones(x, RATE, (256,)).lines[:-1]]
    tapers = 18
    ideal = scipy.stats.ncf.sf(scipy.stats.f.isf(0.001, 2, 2 * tapers - 2), 2, 2 * tapers - 2, 2 * 10)
    assert 0.6 < ideal < 0.9
    assert ideal - 0.15 <= np.mean(np.array(p_values) < 0.001) <= ideal + 0.05


def test_faint_tone_in_the_pauses_of_loud_sound_is_found():
    x = speech_like(8, 3)
    x[RATE : 4 * RATE] *= 1e-3
    tone = 10 ** (-70 / 20)
    report = measure_tones(x + sine(500, tone, len(x)), RATE, (8, 8, 4))
    assert line_at(report, 500).p_value < 1e-6
    assert line_at(report, 500).detected
    assert not line_at(measure_tones(x, RATE, (8, 8, 4)), 500).detected


def test_tone_shifted_by_one_sample_is_still_a_tone():
    x = white(3, 0.01) + sine(2000, 0.01, 3 * RATE)
    here, later = (measure_tones(y, RATE, (8, 8, 4)) for y in (x, x[1:]))
    assert found(here) == found(later) == [2000]
    assert later.strongest.level_dbfs == pytest.approx(here.strongest.level_dbfs, abs=0.1)


@pytest.mark.parametrize("off_hz", [3.0, -3.0, 7.8, 31.25])
def test_steady_tone_beside_a_harmonic_is_not_on_it(off_hz):
    x = white(10, 0.001) + sine(2000 + off_hz, 0.03, 10 * RATE)
    report = measure_tones(x, RATE, (8, 8, 4))
    assert not found(report)


@pytest.mark.parametrize("period", [8, 256])
@pytest.mark.parametrize("side", [-1, 1])
def test_steady_tone_one_bin_beside_a_harmonic_is_not_on_it(period, side):
    # It turns by a whole circle from block to block, so in slow time it stands as still as a locked one.
    x = white(10, 0.001) + sine(2000 + side * RATE / 1024, 0.03, 10 * RATE)
    assert not found(measure_tones(x, RATE, (period,)))


def test_tone_whose_phase_drifts_is_not_locked():
    rng = np.random.default_rng(0)
    drift = np.cumsum(rng.standard_normal(10 * RATE)) * math.sqrt(8 / RATE)
    x = white(10, 0.001) + 0.03 * np.sin(np.pi / 4 * np.arange(10 * RATE) + drift)
    report = measure_tones(x, RATE, (8, 8, 4))
    assert line_at(report, 2000).floor_dbfs > -60
    assert 2000 not in found(report)
