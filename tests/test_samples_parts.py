"""Parts of the listening page: loudness, tones alone, what is chosen, what is escaped."""

import io
import json
import math
import re

import numpy as np
import pytest
import soundfile
from listened import HOSTILE, PERIOD, STRIDES, spoken
from listening.loudness import amplified, common_gain, loudness, matching_gains, peak_dbfs
from listening.page import data_script, flac, render_page, render_readme
from listening.tones import measure, residual_gain, wave
from listening.vocoders import choose_excerpts
from sounds import RATE, sine, white

from audioup import measure_tones

# --- loudness ---


def test_loudness_of_a_sine_is_what_the_standard_says():
    # BS.1770: a full-scale sine of 997 Hz in one channel reads -3.01 LKFS.
    assert loudness(sine(997, 1.0, 5 * 48000, rate=48000), 48000) == pytest.approx(-3.01, abs=0.05)
    assert loudness(sine(997, 0.1, 3200), RATE) == pytest.approx(-23.01, abs=0.3)  # 200 ms: one block


def test_all_sounds_come_out_equally_loud():
    # As loud as can be, the quiet end of the last passes the gate of -70 LUFS and lets the middle pass the other one.
    steps = np.repeat([1, 10 ** (-18 / 20), 10 ** (-62 / 20)], np.array([1, 3, 20]) * RATE) * sine(997, 1.0, 24 * RATE)
    sounds = [spoken(2.5, 130, 1), white(2.5, 1e-4), 3e-4 * spoken(2.5, 200, 2), white(0.3, 0.2), sine(500, 0.9, 6400)]
    sounds.append(steps)
    lufs, gains = matching_gains(sounds, RATE, -23)
    assert lufs == -23
    for sound, gain in zip(sounds, gains, strict=True):
        stored, _ = soundfile.read(io.BytesIO(flac(amplified(sound, gain), RATE)))
        assert loudness(stored, RATE) == pytest.approx(-23, abs=0.1)


def test_what_would_clip_lowers_all():
    click = white(2.0, 1e-3)
    click[8000::4000] = 0.9
    sounds = [click, spoken(2.0, 120, 0)]
    lufs, gains = matching_gains(sounds, RATE, -12)
    assert lufs < -13
    peaks = [peak_dbfs(amplified(sound, gain)) for sound, gain in zip(sounds, gains, strict=True)]
    assert max(peaks) == pytest.approx(-1, abs=0.01)
    for sound, gain in zip(sounds, gains, strict=True):
        assert loudness(amplified(sound, gain), RATE) == pytest.approx(lufs, abs=0.01)


def test_silence_gets_no_gain_and_one_gain_for_all():
    assert matching_gains([np.zeros(RATE), white(1.0)], RATE, -23)[1][0] == 0
    assert common_gain([np.zeros(RATE), np.full(10, 1e-4)], 40) == 40
    assert common_gain([np.zeros(RATE), np.full(10, 0.05)], 40) == 25.0  # -26.02 + 25 = -1.02
    assert common_gain([np.full(10, 0.95)], 40) == -0.6


def test_what_would_clip_is_refused():
    with pytest.raises(ValueError, match=r"below full scale, got a peak of 1\.01"):
        flac(np.array([0.0, 1.01]), RATE)


# --- tones alone ---


def test_a_known_line_is_all_of_the_residual():
    rng, k, amplitude, phase = np.random.default_rng(0), 32, 0.003, 0.7
    n = np.arange(4 * RATE)
    line = amplitude * np.cos(2 * np.pi * k * n / PERIOD + phase)
    clips = [0.02 * rng.standard_normal(len(n)) + line for _ in range(4)]
    tones = measure(clips, RATE, STRIDES)
    assert [harmonic for harmonic, _, _ in tones.residual] == [k]
    assert tones.residual[0][1] == pytest.approx(amplitude, rel=0.03)
    assert tones.residual[0][2] == pytest.approx(phase, abs=0.03)
    np.testing.assert_allclose(wave(tones.residual, PERIOD), line[:PERIOD], atol=2e-4)
    assert tones.gain_db == pytest.approx(-30 - 20 * math.log10(amplitude / math.sqrt(2)), abs=0.3)


def test_the_residual_has_the_levels_of_the_table():
    n = np.arange(5 * RATE)
    sound = white(5.0, 0.01) + sum(0.001 * k * np.cos(2 * np.pi * k * n / 8 + k) for k in (1, 2, 4))
    tones = measure([sound], RATE, STRIDES)
    report = measure_tones([sound], RATE, STRIDES)
    assert tones.report == report
    found = [line for line in report.lines if line.detected]
    assert [round(k * RATE / PERIOD) for k, _, _ in tones.residual] == [2000, 4000, 8000]
    levels = [20 * math.log10(amplitude) for _, amplitude, _ in tones.residual]
    assert levels == pytest.approx([line.level_dbfs for line in found], abs=1e-9)
    shown = tones.to_dict()["lines"]
    assert [row[0] for row in shown["strongest"]] == [8000.0, 4000.0, 2000.0]
    assert (shown["found"], shown["of"]) == (3, PERIOD // 2)


def test_no_tone_leaves_no_residual():
    tones = measure([white(4.0)], RATE, STRIDES)
    assert (tones.residual, tones.gain_db) == ((), 0.0)
    assert tones.to_dict()["lines"]["bound_dbfs"] == round(max(line.interval_dbfs[1] for line in tones.report.lines), 1)
    silent = measure([np.zeros(4 * RATE)], RATE, STRIDES)
    assert silent.to_dict()["lines"]["verdict"] == "not testable: digital silence"


def test_the_gain_of_the_residual_is_bounded():
    n = np.arange(PERIOD)
    quiet = 1e-6 * np.cos(2 * np.pi * 4 * n / PERIOD)
    assert residual_gain(quiet) == 60
    assert residual_gain(0.3 * np.cos(2 * np.pi * 4 * n / PERIOD)) == 0
    pulse = np.zeros(4096)
    pulse[0] = 0.05  # at -30 dBFS RMS it would reach 2
    assert residual_gain(pulse) == pytest.approx(20 * math.log10(0.8 / 0.05), abs=1e-9)


# --- excerpts and names ---


def test_excerpts_are_the_first_clips_of_a_length():
    inputs = {
        "speech": [(str(n), np.zeros(round(RATE * s))) for n, s in enumerate((1, 3, 6, 2, 5, 4))],
        "drums": [("drums 1", np.zeros(RATE))],
        "silence": [("silence 1", np.zeros(9 * RATE))],
    }
    chosen = choose_excerpts(inputs, RATE, 256, 3, (2, 5), 3.0)
    assert [(one.kind, one.number, one.start, one.stop) for one in chosen] == [
        ("speech", 1, 0, 3 * RATE),
        ("speech", 3, 0, 2 * RATE),
        ("speech", 4, 0, 5 * RATE),
        ("drums", 0, 7 * 256, 62 * 256),  # 7 periods are 0.112 s, 62 the whole ones of a second
        ("silence", 0, 7 * 256, (7 + 187) * 256),
    ]
    with pytest.raises(ValueError, match="none of the 6 held-out clips lasts 7 to 9 s"):
        choose_excerpts(inputs, RATE, 256, 3, (7, 9), 3.0)


def test_names_are_escaped_everywhere():
    name = f"</script><script>alert(1)</script>{HOSTILE}|`"
    lines = {"strongest": [], "found": 0, "of": 0, "verdict": name, "bound_dbfs": None}
    listing = {
        "sample_rate": RATE,
        "strides": [8, 8, 4],
        "tracks": [{"name": name, "what": name, "trained": name}],
        "clips": [{"title": name, "id": "01", "file": "data/01.js", "kind": "speech"}],
        "kinds": {"speech": [{"lines": lines, "residual": {"gain_db": 0, "harmonics": []}}]},
    }
    words = {"rule": name, "attribution": name, "held_out": 1}
    head = {"groups": [(name, [(0, name)])], "table": [(name,), (name, name)], "spacing": "62.5", "parameters": "1"}
    text = render_page(listing, steps="1", **head, **words)
    assert "<script>alert" not in text
    assert HOSTILE not in text
    assert text.count("<script") == text.count("</script") == 2
    assert json.loads(re.search(r'id="listing">(.*?)</script>', text, re.S)[1]) == listing
    row = (name, "1", name, "2", "3", "4")
    readme = render_readme(
        training="a", building="b", commit="c", files=[row], excerpt="3", edge="0.1", listing=listing, **words
    )
    table = next(line for line in readme.splitlines() if "onerror" in line and line.startswith("|"))
    assert "<img" not in table
    assert len(re.findall(r"(?<!\\)\|", table)) == 7
    assert data_script("a", [b"x"]) == 'audioup.arrived("a", ["eA=="]);\n'
