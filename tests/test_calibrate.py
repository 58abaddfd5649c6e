"""The calibration program: it counts what it should, finds what it must, and refuses what it cannot do."""

import json
from pathlib import Path
from typing import Any

import calibrate
import numpy as np
import pytest
import soundfile
from calibration import size
from calibration.lines import faintest

RATE = 8000
QUICK = ["--size-seconds", "12", "--durations", "3", "6", "--trials", "2", "1", "--period", "64", "--depths-db", "0"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for i in range(4):
        soundfile.write(folder / f"{i}.wav", 0.05 * rng.standard_normal(3 * RATE), RATE, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.full(3 * RATE, np.nan), RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def written(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(size, "PERIODS", (4, 31, 257))
        arguments = ["--data", str(recordings), "--out", str(out), *QUICK, "--levels-dbfs", "-90", "-30", "-60"]
        assert calibrate.main(arguments) == 0
    return out, json.loads((out / "calibration.json").read_text())


def test_noise_is_flagged_about_as_often_as_nominal(written: tuple[Path, dict[str, Any]]) -> None:
    out, result = written
    assert result["clips"] == 4
    assert len(result["size"]) == 5 * 4
    recordings = {row["test"]: row for row in result["size"] if row["sound"] == "recordings"}
    # Of 2 + 15 + 128 harmonics, those of period 257 within 4 Hz of one of the others are left out.
    others = np.concatenate([np.arange(1, 3) * RATE / 4, np.arange(1, 16) * RATE / 31])
    near = (np.abs(np.arange(1, 129)[:, None] * RATE / 257 - others).min(1) <= 4).sum()
    assert near > 0
    assert recordings["lines"]["single"]["at_01"]["tests"] == recordings["lines"]["clips"] * (2 + 15 + 128 - near)
    for row in recordings.values():
        low, _ = row["single"]["at_01"]["interval"]
        assert low < 0.01
    assert recordings["lines"]["decoys_at_01"] is None
    assert recordings["images"]["decoys_at_01"]["tests"] == recordings["images"]["single"]["at_01"]["tests"]
    assert (out / "calibration.png").stat().st_size > 20_000


def test_planted_lines_are_found_from_loud_to_faint(written: tuple[Path, dict[str, Any]]) -> None:
    _, result = written
    assert len(result["levels"]) == 2 * 3 * 4
    for kind in ("steady", "level-proportional", "sign-changing"):
        rows = [row for row in result["levels"] if row["kind"] == kind and row["seconds"] == 3]
        assert [row["level_dbfs"] for row in rows] == [None, -30, -60, -90]
        found = [row["found"]["share"] for row in rows]
        assert found[1] == 1
        assert found[0] < 0.05
        assert found[3] < 0.05
    depths = [(row["seconds"], row["found"]["share"]) for row in result["depths"]]
    assert depths == [(3, 1), (6, 1)]


def test_levels_are_told_and_bounded(written: tuple[Path, dict[str, Any]]) -> None:
    _, result = written
    steady = {row["level_dbfs"]: row for row in result["levels"] if row["kind"] == "steady" and row["seconds"] == 6}
    assert steady[-30]["close"]["share"] == 1
    assert steady[-30]["sharp"]["share"] == 1
    assert steady[-30]["bounded"]["share"] > 0.9
    assert steady[None]["covered"]["share"] > 0.9
    assert steady[None]["bounded"] is None
    # Noise of RMS 0.05 is at -26 dBFS.
    assert steady[-30]["ratio_db"] == pytest.approx(-4, abs=0.2)


def test_trials_longer_than_the_recordings_are_left_out(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(size, "PERIODS", (4,))
    options = ["--durations", "2", "60", "--trials", "1", "1", "--period", "64", "--size-seconds", "3"]
    levels = ["--levels-dbfs", "-30", "--depths-db", "0"]
    assert calibrate.main(["--data", str(recordings), "--out", str(tmp_path), *options, *levels]) == 0
    printed = capsys.readouterr().out
    assert "left out: trials of more than the 12.0 s" in printed
    assert "nan.wav" in printed
    result = json.loads((tmp_path / "calibration.json").read_text())
    assert {row["seconds"] for row in result["levels"]} == {2}


def test_the_faintest_level_is_interpolated() -> None:
    levels, shares = (-60.0, -70.0, -80.0, -90.0), (1.0, 0.95, 0.85, 0.1)
    assert faintest(levels, shares) == pytest.approx(-75)
    assert faintest(levels[:2], shares[:2]) is None
    assert faintest(levels[2:], shares[2:]) is None
    assert faintest(levels, (1.0, None, 0.5, 0.1)) is None


@pytest.mark.parametrize(
    "options",
    [
        ["--trials", "0", "1"],
        ["--trials", "1"],
        ["--period", "1"],
        ["--durations", "0.1", "6"],
        ["--durations", "60", "600"],
        ["--size-seconds", "0"],
        ["--size-seconds", "inf"],
        ["--most-minutes", "nan"],
        ["--levels-dbfs"],
        ["--levels-dbfs", "6"],
        ["--depths-db", "nan"],
    ],
)
def test_bad_options_are_one_line(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert calibrate.main(["--data", str(recordings), "--out", str(tmp_path), *QUICK, *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{options[0]} must be" in error


def test_a_period_too_long_for_the_trials_is_refused(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate.main(["--data", str(recordings), "--out", str(tmp_path), *QUICK, "--period", "40000"]) == 2
    error = capsys.readouterr().err
    assert "--durations must be long enough for --period 40000, got 3" in error
    assert error.count("\n") == 1


def test_recordings_too_short_for_the_longest_period_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Twelve blocks of four periods of 512 samples are 3.07 s at this rate.
    rng = np.random.default_rng(0)
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", 0.05 * rng.standard_normal(3 * RATE), RATE)
    assert calibrate.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), *QUICK]) == 2
    assert "--data must hold clips of" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
