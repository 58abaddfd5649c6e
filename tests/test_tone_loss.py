"""The program on the tone loss: it trains each vocoder once, goes on with what was interrupted, and compares."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tone_loss
import train_vocoder
from brief import brief_reports

from audioup import measure_tones


def tones(*lines: tuple[float, float, float, bool]) -> dict[str, Any]:
    names = ("frequency_hz", "level_dbfs", "interval_dbfs", "detected")
    rows = [dict(zip(names, (hz, level, (-200, high), found), strict=True)) for hz, level, high, found in lines]
    return {"lines": rows, "verdict": "tones"}


def test_levels_of_known_lines() -> None:
    found = tone_loss.levels(tones((100, -40, -39, True), (200, -30, -20, False), (300, -40, -38, True)))
    assert found["strongest_dbfs"] == -40
    assert found["strongest_hz"] == 100
    assert found["bound_dbfs"] == -20
    assert found["total_dbfs"] == pytest.approx(10 * math.log10(1e-3 + 2e-4))
    assert tone_loss.levels(tones((100, -40, -39, False)))["strongest_dbfs"] is None
    assert set(tone_loss.levels(tones()).values()) == {None}


def test_levels_of_a_measured_line() -> None:
    rng = np.random.default_rng(0)
    sound = 1e-3 * rng.standard_normal(48000) + 0.01 * np.sin(np.pi / 4 * np.arange(48000))
    found = tone_loss.levels(measure_tones(sound, 16000, (8, 8, 4)).to_dict())
    assert found["strongest_dbfs"] == pytest.approx(-40, abs=0.05)
    assert found["strongest_hz"] == 2000
    assert found["total_dbfs"] == pytest.approx(-40, abs=0.1)
    assert -40 < found["bound_dbfs"] < -39.5


class Trainer:
    """Stands in for train_vocoder.py."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.calls = status, []

    def __call__(self, words: list[str]) -> int:
        options = dict(zip(words[:-1:2], words[1::2], strict=True)) if "--resume" not in words else {}
        options = options or dict(zip(words[:-2:2], words[1:-1:2], strict=True))
        self.calls.append((options["--name"], "--resume" in words))
        folder = Path(options["--out"]) / options["--name"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        if self.status == 0:
            report = {
                "upsampler": options["--upsampler"],
                "tone_loss": float(options["--tone-loss"]),
                "data": options["--data"],
                "training_s": 1.0,
                **{key: int(options[f"--{key.replace('_', '-')}"]) for key in ("steps", "warmup_steps", "seed")},
                "segment_size": int(options["--segment-size"]),
                "metrics": {"mel_l1": 0.5, "multi_resolution_stft": 1.0, "stoi": 0.9},
                "tones": {name: tones((100, -40, -39, True)) for name in ("speech", "silence", "noise")},
            }
            report["tones"]["reference speech"] = tones((100, -60, -50, False))
            (folder / "report.json").write_text(json.dumps(report))
        return self.status


def test_each_is_trained_once_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    command = ["--out", str(tmp_path), "--weights", "0", "2.5", "--steps", "7", "--data", "somewhere"]
    names = ["transposed-0", "transposed-2.5", "regular-1-0", "regular-1-2.5"]
    interrupted = Trainer(status=130)
    monkeypatch.setattr(train_vocoder, "main", interrupted)
    assert tone_loss.main(command) == 130
    assert interrupted.calls == [("transposed-0", False)]
    trainer = Trainer()
    monkeypatch.setattr(train_vocoder, "main", trainer)
    assert tone_loss.main(command) == 0
    assert trainer.calls == [(name, name == "transposed-0") for name in names]
    assert tone_loss.main(command) == 0
    assert len(trainer.calls) == 4
    assert tone_loss.main([*command, "--seed", "5"]) == 2
    assert "transposed-0 was trained with other options (seed: 1234, not 5)" in capsys.readouterr().err
    assert tone_loss.main([*command[:-4], "--steps", "8", "--data", "elsewhere"]) == 2
    assert "(data: 'somewhere', not 'elsewhere'; steps: 7, not 8; warmup_steps" in capsys.readouterr().err


def test_a_training_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(train_vocoder, "main", Trainer(status=2))
    assert tone_loss.main(["--out", str(tmp_path)]) == 2
    assert "transposed-0 was not trained" in capsys.readouterr().err


def test_a_small_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(6):
        voiced = np.sin(2 * np.pi * (120 + 20 * i) / 16000 * np.arange(16000))
        soundfile.write(tmp_path / "data" / f"{i}.wav", 0.2 * voiced + 0.01 * rng.standard_normal(16000), 16000)
    command = ["--out", str(tmp_path / "out"), "--data", str(tmp_path / "data"), "--accelerator", "cpu", "--steps", "5"]
    command += ["--batch-size", "2", "--segment-size", "2048", "--test-clips", "1", "--upsamplers", "transposed"]
    command += ["--weights", "0", "1000"]
    with brief_reports():
        assert tone_loss.main(command) == 0
    result = json.loads((tmp_path / "out" / "tone_loss.json").read_text())
    assert [(row["upsampler"], row["weight"]) for row in result["runs"]] == [("transposed", 0), ("transposed", 1000)]
    assert result["runs"][0]["mel_l1"] != result["runs"][1]["mel_l1"]
    reports = [json.loads((tmp_path / "out" / f"transposed-{w}" / "report.json").read_text()) for w in (0, 1000)]
    assert [row["mel_l1"] for row in result["runs"]] == [report["metrics"]["mel_l1"] for report in reports]
    assert result["recordings"] == tone_loss.levels(reports[0]["tones"]["reference speech"])
    assert (tmp_path / "out" / "tone_loss.png").stat().st_size > 20_000
    rows = (tmp_path / "out" / "tone_loss.txt").read_text().splitlines()
    assert rows[3].split()[:3] == ["transposed", "1000", f"{result['runs'][1]['mel_l1']:.3f}"]
    monkeypatch.setattr(train_vocoder, "main", Trainer(status=2))
    assert tone_loss.main(command) == 0  # from what is there


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["--weights", "0", "nan"], "--weights must not be negative, and finite, got nan"),
        (["--weights", "-1"], "got -1"),
        (["--weights", "1", "1"], "must not name any twice"),
        (["--weights"], "at least one each"),
    ],
)
def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: list[str], message: str) -> None:
    assert tone_loss.main(["--out", str(tmp_path / "out"), *bad]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
