"""The calibration of the blind scan: it counts what it should, and refuses what it cannot do."""

import contextlib
import io
import json
import math

import calibrate_scan
import numpy as np
import pytest
import soundfile
from calibration.scans import plant, through_stack
from sounds import dbfs, white

from audioup import measure_tones
from audioup.scan import Scanner

RATE = 8000
QUICK = ["--durations", "2", "--alarms", "3", "--trials", "2", "--periods", "8", "--levels-dbfs", "-30"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    for seed in range(5):
        soundfile.write(folder / f"{seed}.wav", white(1.5, 0.05, seed, RATE), RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def written(recordings, tmp_path_factory):
    out, printed = tmp_path_factory.mktemp("out"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert calibrate_scan.main(["--data", str(recordings), "--out", str(out), *QUICK]) == 0
    return json.loads((out / "scan.json").read_text()), printed.getvalue()


def test_noise_has_no_period_and_loud_lines_have_theirs(written):
    result, _ = written
    alarms = {row["sound"]: row for row in result["alarms"]}
    assert set(alarms) == {"recordings", "sustained notes", "drums", "white noise", "pink noise", "untuned notes"}
    assert all(row["named"]["tests"] in (2, 3) for row in alarms.values())
    assert alarms["recordings"]["named"]["share"] == alarms["white noise"]["named"]["share"] == 0
    lines = {row["what"]: row for row in result["found"]}
    for comb in ("1 line", "3 lines", "all lines"):
        assert (lines[comb]["period"], lines[comb]["right"]["share"], lines[comb]["right"]["tests"]) == (8, 1, 2)
    assert lines["8,8,4"]["period"] == 256


def test_the_table_has_a_row_for_each(written):
    rows = written[1].splitlines()
    assert sum(row.startswith(("1 line ", "3 lines ", "all lines ")) for row in rows) == 3
    assert any(row.startswith("white noise") and " 0.0000 [0.0000, " in row for row in rows)


@pytest.mark.parametrize(("comb", "lines"), [("1 line", 1), ("3 lines", 3), ("all lines", 31)])
def test_lines_are_planted_at_their_level_and_need_their_period(comb, lines):
    quiet = white(4, 1e-5, rate=16000)
    report = measure_tones(plant(comb, 64, -40, quiet, np.random.default_rng(0)), 16000, (64,))
    found = [line for line in report.lines if line.detected]
    assert len(found) == lines
    assert [line.level_dbfs for line in found] == pytest.approx([-40] * lines, abs=0.05)
    harmonics = [round(line.frequency_hz / 250) for line in found]
    assert any(math.gcd(k, 64) == 1 for k in harmonics)


def test_a_stack_has_the_period_of_its_strides():
    sound = through_stack((8, 8, 4), white(4, 0.05, rate=16000), seed=1)
    assert dbfs(np.sqrt(np.mean(sound**2))) == pytest.approx(-20, abs=1e-6)
    scanner = Scanner(16000)
    report = scanner.report(scanner.measure(lambda a, b: sound[a:b, None], len(sound))[0])
    (found,) = report.periods
    assert found.samples in (32, 64, 128, 256)  # the last stages alone make lines, too


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--trials", "1", "2"], "--trials must be"),
        (["--alarms", "0"], "--alarms must be"),
        (["--periods", "2"], "--periods must be from 3 to 512"),
        (["--levels-dbfs", "3"], "--levels-dbfs must be"),
        (["--durations", "0.2"], "less than 12 blocks"),
        (["--durations", "200"], "recordings are shorter"),
    ],
)
def test_bad_options_are_one_line_and_nothing_is_written(recordings, tmp_path, capsys, words, why):
    out = tmp_path / "out"
    assert calibrate_scan.main(["--data", str(recordings), "--out", str(out), *QUICK, *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("calibrate_scan: ")
    assert why in error
    assert not list(out.glob("*")) if out.exists() else True
