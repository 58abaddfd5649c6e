"""The calibration program: it counts what it should, finds what it must, and refuses what it cannot do."""

import json
from pathlib import Path

import calibrate
import numpy as np
import pytest
import soundfile

RATE = 8000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for i in range(4):
        soundfile.write(folder / f"{i}.wav", 0.05 * rng.standard_normal(3 * RATE), RATE, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.full(3 * RATE, np.nan), RATE, subtype="FLOAT")
    return folder


def test_noise_is_flagged_as_often_as_nominal_and_tones_are_found_above_it(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibrate, "PERIODS", (31, 257))
    options = ["--seconds", "6", "--trials", "2", "--period", "64", "--levels-dbfs", "-40", "-60", "-90"]
    assert calibrate.main(["--data", str(recordings), "--out", str(tmp_path), *options]) == 0
    assert "left out" in capsys.readouterr().out
    result = json.loads((tmp_path / "calibration.json").read_text())
    assert result["clips"] == 4
    assert [row["tests"] for row in result["size"]] == [4 * 15, 4 * 128]
    assert result["size_overall"]["flagged_at_0.01"] < 0.03
    found = [row["found"] for row in result["power"]]
    assert found[0] == 1
    assert found[-1] < 0.1
    assert -90 < result["faintest_dbfs"] < -40
    assert (tmp_path / "calibration.png").stat().st_size > 10_000


def test_the_faintest_level_is_interpolated() -> None:
    rows = [
        {"level_dbfs": level, "found": share} for level, share in ((-60, 1.0), (-70, 0.95), (-80, 0.85), (-90, 0.1))
    ]
    assert calibrate.faintest(rows) == pytest.approx(-75)
    assert calibrate.faintest(rows[:2]) is None
    assert calibrate.faintest(rows[2:]) is None


@pytest.mark.parametrize(
    "options",
    [
        ["--trials", "0"],
        ["--period", "1"],
        ["--period", "40000"],
        ["--seconds", "0"],
        ["--seconds", "1e6"],
        ["--levels-dbfs"],
    ],
)
def test_bad_options_are_one_line(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert calibrate.main(["--data", str(recordings), "--out", str(tmp_path), "--seconds", "6", *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "must be" in error
