"""The training program: it trains, resumes to the bit, reports, and says clearly what it cannot do."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import endure
import numpy as np
import pytest
import soundfile
import torch
import train_vocoder
from brief import brief_reports
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from vocoder.runs import open_run

from audioup import SnakeBeta

RECIPE = Path(train_vocoder.__file__)
SMALL = ["--accelerator", "cpu", "--batch-size", "2", "--segment-size", "2048", "--test-clips", "1"]
SHORT = [*SMALL, "--steps", "6", "--warmup-steps", "2", "--save-every", "2", "--validate-every", "3"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return endure.recordings(tmp_path_factory.mktemp("recordings"))


def run(folder: Path, recordings: Path, name: str, *options: str) -> int:
    return train_vocoder.main([*SHORT, "--data", str(recordings), "--out", str(folder), "--name", name, *options])


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / name / "checkpoints" / "step-000006" / "generator.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, recordings: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    assert run(folder, recordings, "whole") == 0
    return folder


@pytest.fixture(autouse=True)
def _brief(finished: Path) -> Iterator[None]:
    """But for that of the finished run."""
    with brief_reports():
        yield


def test_a_run_leaves_sound_pictures_numbers_and_curves(finished: Path) -> None:
    folder = finished / "whole"
    report = json.loads((folder / "report.json").read_text())
    assert report["sample_rate"] == 16000
    assert report["steps"] == 6
    assert [layer["kernel_length"] for layer in report["upsamplers"]] == [16, 16, 8]
    assert set(report["tones"]) == {"speech", "reference speech", "silence", "noise"}
    assert all(len(tone["lines"]) == 128 or tone["lines"] == [] for tone in report["tones"].values())
    metrics = report["metrics"]
    assert 0 < metrics["mean_frame_mel_l1"] < 10
    assert 0 < metrics["mel_l1"] < 10
    assert 0 < metrics["real_time_factor"] < 10
    assert -1 <= metrics["stoi"] <= 1
    generated = next((folder / "audio").glob("[0-9]*.generated.wav"))
    reference = generated.with_name(generated.name.replace("generated", "reference"))
    assert soundfile.info(generated).frames == soundfile.info(reference).frames == 16000 // 256 * 256
    assert soundfile.info(folder / "probes" / "silence.wav").frames == 160000
    assert len(list((folder / "pictures").glob("*.png"))) == 1
    assert (folder / "probes" / "tones.png").exists()
    curves = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0}).Reload()
    assert [point.step for point in curves.Scalars("tones/stage2_dbfs")] == [1, 2, 3, 4, 5, 6]
    assert all(-200 <= point.value < 0 for point in curves.Scalars("tones/stage0_total_dbfs"))
    assert [point.step for point in curves.Scalars("tonal_fraction_db/ups.1")] == [3, 6]
    fraction = report["upsamplers"][1]["tonal_fraction_db"]
    assert curves.Scalars("tonal_fraction_db/ups.1")[-1].value == pytest.approx(fraction, abs=1e-4)
    config = json.loads((folder / "config.json").read_text())
    assert config["options"]["upsampler"] == "transposed"
    assert config["versions"]["torch"] == torch.__version__.split("+")[0]


@pytest.mark.parametrize("options", [[], ["--tone-loss", "100"]], ids=["plain", "tone loss"])
def test_an_interrupted_run_ends_with_the_same_bits(
    finished: Path,
    recordings: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
) -> None:
    whole_name, parts_name = ("whole", "parts") if not options else ("whole-quiet", "parts-quiet")
    if options:
        assert run(finished, recordings, whole_name, *options) == 0
    step = train_vocoder.Trainer.train_step

    def interrupted(self: train_vocoder.Trainer, audio: torch.Tensor) -> dict[str, float]:
        if self.step == 5:
            raise KeyboardInterrupt
        return step(self, audio)

    monkeypatch.setattr(train_vocoder.Trainer, "train_step", interrupted)
    assert run(finished, recordings, parts_name, *options) == 130
    assert "--resume continues" in capsys.readouterr().err
    monkeypatch.undo()
    torch.manual_seed(99)  # whatever the process did in between
    assert run(finished, recordings, parts_name, "--resume") == 0
    whole, parts = weights(finished, whole_name), weights(finished, parts_name)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    states = [
        torch.load(finished / name / "checkpoints" / "step-000006" / "state.pt") for name in (whole_name, parts_name)
    ]
    for means in ("tone_loss", "tone_monitor"):
        assert all(torch.equal(value, states[1][means][key]) for key, value in states[0][means].items())
        assert states[0][means]["running.batches"] == (0 if means == "tone_loss" and not options else 6)
    reports = [json.loads((finished / name / "report.json").read_text()) for name in (whole_name, parts_name)]
    assert reports[0]["metrics"]["mel_l1"] == reports[1]["metrics"]["mel_l1"]
    assert [report["tone_loss"] for report in reports] == [100 if options else 0] * 2
    plain = weights(finished, "whole")
    assert all(torch.equal(parts[key], plain[key]) for key in parts) == (not options)


def test_the_seed_decides_the_weights(finished: Path, recordings: Path) -> None:
    assert run(finished, recordings, "other", "--seed", "1") == 0
    whole, other = weights(finished, "whole"), weights(finished, "other")
    assert not torch.equal(whole["conv_pre.bias"], other["conv_pre.bias"])


def test_a_finished_run_is_not_overwritten_and_can_be_reported_again(
    finished: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "whole" / "config.json").read_bytes()
    assert run(finished, recordings, "whole") == 2
    assert "holds a run already: --resume continues it" in capsys.readouterr().err
    assert (finished / "whole" / "config.json").read_bytes() == before
    (finished / "whole" / "report.json").unlink()
    assert run(finished, recordings, "whole", "--resume") == 0
    assert (finished / "whole" / "report.json").exists()


def test_resuming_with_other_options_is_refused(
    finished: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(finished, recordings, "whole", "--resume", "--upsampler", "subpixel") == 2
    assert "upsampler: 'transposed' then, 'subpixel' now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps must be at least 1"),
        (["--batch-size", "-1"], "--batch-size must be at least 1"),
        (["--noise", "-0.1"], "--noise must not be negative"),
        (["--noise", "nan"], "--noise must not be negative, and finite"),
        (["--tone-loss", "-1"], "--tone-loss must not be negative"),
        (["--learning-rate", "inf"], "--learning-rate must not be negative, and finite"),
        (["--segment-size", "1000"], "--segment-size must be a multiple of the hop length, 256"),
        (["--name", "a/b"], "--name must be a plain folder name"),
        (["--name", ".."], "--name must be a plain folder name"),
        (["--seed", str(2**32)], "--seed must be below 2**32"),
        (["--segment-size", "1024"], "--segment-size must be at least 2048"),
        (["--name", ""], "--name must be a plain folder name"),
        (["--resume", "--name", "nothing"], "holds no run"),
        (["--accelerator", "abacus"], "abacus"),
        (["--data", "no/such/folder"], "data must be a folder or one of"),
    ],
)
def test_bad_options_are_one_line_and_status_2(
    tmp_path: Path, recordings: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(tmp_path, recordings, "bad", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*/config.json"))


def test_bad_recordings_are_named_and_the_rest_is_used(
    tmp_path: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    for path in recordings.glob("*.wav"):
        (data / "train" / path.name).write_bytes(path.read_bytes())
    (data / "train" / "text.wav").write_text("not sound")
    (data / "train" / "empty.wav").write_bytes(b"")
    assert run(tmp_path, data, "some") == 0
    output = capsys.readouterr().out
    assert "2 files skipped" in output
    assert "text.wav" in output
    assert "empty.wav" in output


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_bits(finished: Path, recordings: Path) -> None:
    command = [
        sys.executable,
        str(RECIPE),
        *SHORT,
        "--data",
        str(recordings),
        "--out",
        str(finished),
        "--name",
        "killed",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (finished / "killed" / "checkpoints" / "step-000002").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (finished / "killed" / "report.json").exists()
    subprocess.run([*command, "--resume"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole, killed = weights(finished, "whole"), weights(finished, "killed")
    assert all(torch.equal(whole[key], killed[key]) for key in whole)


@pytest.mark.slow
def test_two_processes_train_together(tmp_path: Path, recordings: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(RECIPE), *SHORT, "--data", str(recordings), "--out", str(tmp_path), "--name", "two"]
    subprocess.run([*command, "--devices", "2"], check=True, env=environment, timeout=300)
    report = json.loads((tmp_path / "two" / "report.json").read_text())
    assert report["devices"] == 2
    assert weights(tmp_path, "two")


def test_resuming_needs_only_the_name_and_not_fewer_steps(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ["--resume", "--out", str(finished), "--name", "whole"]
    before = (finished / "whole" / "config.json").read_text()
    assert train_vocoder.main(again) == 0
    report = json.loads((finished / "whole" / "report.json").read_text())
    assert (report["steps"], report["batch_size"]) == (6, 2)
    assert json.loads((finished / "whole" / "config.json").read_text())["versions"] == json.loads(before)["versions"]
    capsys.readouterr()
    assert train_vocoder.main([*again, "--steps", "4"]) == 2
    assert "step-000006 has been trained for longer already" in capsys.readouterr().err


def test_a_run_begun_before_there_were_the_latest_options_resumes(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "whole", tmp_path / "old")
    config = tmp_path / "old" / "config.json"
    content = json.loads(config.read_text())
    del content["options"]["tone_loss"], content["options"]["activation"]
    config.write_text(json.dumps(content))
    assert train_vocoder.main(["--resume", "--out", str(tmp_path), "--name", "old"]) == 0
    assert json.loads((tmp_path / "old" / "report.json").read_text())["tone_loss"] == 0


def test_snakes_are_trained_and_opened_again(tmp_path: Path, recordings: Path) -> None:
    assert run(tmp_path, recordings, "snakes", "--activation", "snakebeta", "--steps", "1") == 0
    generator = open_run(tmp_path / "snakes").generator
    snakes = [module for module in generator.modules() if isinstance(module, SnakeBeta)]
    assert len(snakes) == 3 * 2 * 2 + 1  # stages, blocks, dilations; and the last
    assert all((snake.alpha != 0).all() for snake in snakes)  # they begin at 0, the logarithm of 1


def test_a_damaged_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    for content in ("{}", "junk", "[]"):
        (tmp_path / "run" / "config.json").write_text(content)
        assert train_vocoder.main(["--resume", "--out", str(tmp_path), "--name", "run"]) == 2
        assert "config.json cannot be read" in capsys.readouterr().err


def test_recordings_that_changed_are_noticed(
    tmp_path: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(recordings, data)
    assert run(tmp_path, data, "run", "--steps", "1") == 0
    soundfile.write(data / "more.wav", np.zeros(16000), 16000)
    assert run(tmp_path, data, "run", "--resume") == 2
    assert "are not those" in capsys.readouterr().err


@pytest.mark.parametrize(("split", "what"), [("test", "held-out"), ("train", "training")])
@pytest.mark.parametrize("sound", [np.full(16000, np.nan), np.zeros(1700)], ids=["nan", "short"])
def test_what_the_report_needs_is_checked_before_training(
    tmp_path: Path, recordings: Path, capsys: pytest.CaptureFixture[str], split: str, what: str, sound: np.ndarray
) -> None:
    data = tmp_path / "data"
    for folder in ("train", "valid", "test"):
        shutil.copytree(recordings, data / folder)
    shutil.rmtree(data / split)
    (data / split).mkdir()
    soundfile.write(data / split / "bad.wav", sound, 16000, subtype="FLOAT")
    assert run(tmp_path, data, "run") == 2
    assert f"none of the 1 {what} clips is readable" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("default:.*the next clip is used in its place")
def test_a_recording_that_proves_unreadable_in_training_is_counted(
    tmp_path: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for folder in ("train", "valid", "test"):
        shutil.copytree(recordings, data / folder)
    soundfile.write(data / "train" / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    assert run(tmp_path, data, "run") == 0
    errors = capsys.readouterr().err
    assert errors.count("nan.wav holds NaN") == 1
    assert json.loads((tmp_path / "run" / "report.json").read_text())["skipped"] == 1


def test_optimizer_state_is_loaded_where_the_parameters_are(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    wrap, resume = train_vocoder.Trainer.wrap, train_vocoder.Trainer.resume
    monkeypatch.setattr(train_vocoder.Trainer, "wrap", lambda self: (calls.append("wrap"), wrap(self)))
    monkeypatch.setattr(
        train_vocoder.Trainer, "resume", lambda self, path: (calls.append("resume"), resume(self, path))
    )
    assert train_vocoder.main(["--resume", "--out", str(finished), "--name", "whole"]) == 0
    assert calls == ["wrap", "resume"]
