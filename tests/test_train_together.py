"""Both training programs on two processes, and in parts, learn what they learn in one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from endure import recordings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

RECIPES = Path(__file__).parent.parent / "recipes"
TWENTY = ["--steps", "20", "--accelerator", "cpu", "--precision", "64-true"]
VOCODER = [*TWENTY, "--warmup-steps", "10", "--batch-size", "4", "--segment-size", "2048", "--test-clips", "1"]
GAN = [*TWENTY, "--batch-size", "8", "--width", "8", "--latent", "16", "--upsamplers", "resize-nearest", "transposed"]
LOSSES = {"loss/mel": 20, "loss/stft": 20, "loss/discriminator": 10, "loss/adversarial": 10, "loss/feature": 10}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings(tmp_path_factory.mktemp("voices"))


def train(
    program: str, folder: Path, name: str, *options: str, launcher: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """Train in processes of their own; return the losses of each step."""
    command = [*(launcher or (sys.executable,)), str(RECIPES / f"{program}.py"), "--out", str(folder), "--name", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    curves = EventAccumulator(str(folder / name / "tensorboard"), {"scalars": 0}).Reload()
    names = [tag for tag in curves.Tags()["scalars"] if tag.startswith("loss/")]
    return {tag: np.array([point.value for point in curves.Scalars(tag)]) for tag in names}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray], steps: dict[str, int]) -> None:
    assert {tag: len(values) for tag, values in one.items()} == steps
    for tag, values in one.items():
        assert np.ptp(values) > 0.01, tag  # something was learned
        np.testing.assert_allclose(other[tag], values, rtol=1e-6, err_msg=tag)  # TensorBoard keeps float32


def assert_same_reports(folder: Path, processes: dict[str, int]) -> None:
    reports = [json.loads((folder / name / "report.json").read_text()) for name in processes]
    assert [report["processes"] for report in reports] == list(processes.values())
    for report in reports[1:]:
        assert report["metrics"]["mel_l1"] == pytest.approx(reports[0]["metrics"]["mel_l1"], rel=1e-6)


def test_a_vocoder_in_two_processes_and_parts_is_that_of_one(voices: Path, tmp_path: Path) -> None:
    options = [*VOCODER, "--data", str(voices)]
    alone = train("train_vocoder", tmp_path, "alone", *options)
    both = train("train_vocoder", tmp_path, "both", *options, "--devices", "2", "--accumulate", "2")
    assert_same(alone, both, LOSSES)
    assert_same_reports(tmp_path, {"alone": 1, "both": 2})


@pytest.mark.slow
def test_a_vocoder_in_two_processes_or_in_parts_or_resumed_by_one_is_that_of_one(voices: Path, tmp_path: Path) -> None:
    options = [*VOCODER, "--data", str(voices)]
    alone = train("train_vocoder", tmp_path, "alone", *options)
    assert_same(alone, train("train_vocoder", tmp_path, "two", *options, "--devices", "2"), LOSSES)
    assert_same(alone, train("train_vocoder", tmp_path, "parts", *options, "--accumulate", "4"), LOSSES)
    train("train_vocoder", tmp_path, "both", *options, "--devices", "2", "--accumulate", "2", "--steps", "12")
    again = ["--resume", "--devices", "1", "--accumulate", "1", "--steps", "20"]
    assert_same(alone, train("train_vocoder", tmp_path, "both", *again), LOSSES)
    assert_same_reports(tmp_path, {"alone": 1, "two": 2, "parts": 1, "both": 1})


def test_a_gan_in_two_processes_is_that_of_one(tmp_path: Path) -> None:
    alone = train("train_gan", tmp_path, "alone", *GAN)
    two = train("train_gan", tmp_path, "two", *GAN, "--devices", "2")
    assert_same(alone, two, {"loss/discriminator": 20, "loss/generator": 20})
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("alone", "two")]
    assert reports[1]["E2"] == pytest.approx(reports[0]["E2"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "fabric"])
def test_other_launchers_lead_to_the_same(voices: Path, tmp_path: Path, launcher: str) -> None:
    beside = Path(sys.executable).parent
    words = {
        "torchrun": (str(beside / "torchrun"), "--nproc-per-node", "2"),
        "fabric": (str(beside / "fabric"), "run", "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"),
    }[launcher]
    options = ["--data", str(voices), *VOCODER[:2], *VOCODER[6:]]  # where to run and how is told to one of the two only
    if launcher == "fabric":
        words = (*words, "--precision", "64-true")
    else:
        options += VOCODER[2:6]
    alone = train("train_vocoder", tmp_path, "alone", "--data", str(voices), *VOCODER)
    two = train("train_vocoder", tmp_path, "two", *options, launcher=words)
    for tag, values in alone.items():
        np.testing.assert_allclose(two[tag], values, rtol=1e-6, err_msg=tag)


def test_the_first_process_knows_what_others_could_not_read(voices: Path, tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for n in range(6):
            soundfile.write(
                folder_of(tmp_path / "data", split) / f"{n}.wav", soundfile.read(voices / f"{n}.wav")[0], 16000
            )
    for n in range(4):
        soundfile.write(tmp_path / "data" / "train" / f"silent-{n}.wav", np.zeros(16000), 16000)
    sizes = ["--batch-size", "10", "--segment-size", "2048", "--test-clips", "1", "--accelerator", "cpu"]
    options = ["--data", str(tmp_path / "data"), *sizes, "--steps", "1", "--warmup-steps", "1", "--devices", "2"]
    train("train_vocoder", tmp_path, "two", *options)  # one step of ten clips, five for either process
    assert json.loads((tmp_path / "two" / "report.json").read_text())["skipped"] == 4
    assert (tmp_path / "two" / "skipped.txt").read_text().count(": silent\n") == 4


def folder_of(data: Path, split: str) -> Path:
    (data / split).mkdir(parents=True, exist_ok=True)
    return data / split
