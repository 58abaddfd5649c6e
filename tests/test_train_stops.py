"""Both training programs stop by signals, full disks, NaN and damaged checkpoints without losing anything."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import train_gan
import train_vocoder
from brief import brief_reports
from endurance.disk import fill_at_every_stage
from endurance.kills import kill_at_random
from endurance.trainings import RECIPES, differences, gan, vocoder
from endure import NETWORKS, recordings
from gan.trainer import Trainer as GanTrainer
from vocoder.checkpoint import checkpoints, load_checkpoint
from vocoder.trainer import Trainer

STEPS = 8
PROGRAMS = {"vocoder": train_vocoder, "gan": train_gan}


@pytest.fixture(scope="module", autouse=True)
def _brief() -> Iterator[None]:
    with brief_reports():
        yield


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return {"vocoder": vocoder(recordings(tmp_path_factory.mktemp("stops") / "voices"), STEPS), "gan": gan(STEPS)}


@pytest.fixture(scope="module")
def whole(trainings: dict, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both programs, not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    for name, training in trainings.items():
        assert main(name, training, folder / name) == 0
    return {name: folder / name for name in trainings}


def main(name: str, training, folder: Path, *options: str) -> int:
    return PROGRAMS[name].main(training.command(folder, *options)[2:])


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_where(trainings, whole, tmp_path, monkeypatch, capsys, name, number, status) -> None:
    trainer = {"vocoder": Trainer, "gan": GanTrainer}[name]
    step = trainer.train_step

    def signalled(self, *audio):
        if self.step == 4:
            os.kill(os.getpid(), number)
        return step(self, *audio)

    monkeypatch.setattr(trainer, "train_step", signalled)
    folder = tmp_path / name
    assert main(name, trainings[name], folder, "--save-every", "100") == status
    monkeypatch.undo()
    saved = folder / "checkpoints" / "step-000005"
    assert [path for path in (folder / "checkpoints").iterdir()] == [saved]
    said = (
        f"stopped by {signal.Signals(number).name} after step 5, which is saved in {saved}; --resume continues {folder}"
    )
    assert said in capsys.readouterr().err
    assert main(name, trainings[name], folder) == 0
    assert differences(folder, whole[name]) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_signal_during_the_last_save_or_the_report_loses_nothing(
    trainings, whole, tmp_path, monkeypatch, capsys, name
) -> None:
    trainer = {"vocoder": Trainer, "gan": GanTrainer}[name]
    save, folder = trainer.save, tmp_path / name
    report = "write_report" if name == "vocoder" else "report_on"

    def signalled(self, saving):
        if self.step == STEPS:
            os.kill(os.getpid(), signal.SIGTERM)
        return save(self, saving)

    monkeypatch.setattr(trainer, "save", signalled)
    assert main(name, trainings[name], folder) == 143
    assert f"stopped by SIGTERM after step {STEPS}, which is saved" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(PROGRAMS[name], report, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert main(name, trainings[name], folder) == 143
    assert f"ended by SIGTERM; --resume continues {folder}" in capsys.readouterr().err
    assert not (folder / "report.json").exists()
    monkeypatch.undo()
    assert main(name, trainings[name], folder) == 0
    assert differences(folder, whole[name]) == []
    assert (folder / "report.json").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_process_stops_by_sigterm(trainings, tmp_path, name) -> None:
    command = trainings[name].command(tmp_path / name, "--steps", "100000")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / name / "checkpoints" / "step-000003").exists():
            assert process.poll() is None
        process.terminate()
        errors = process.communicate(timeout=100)[1]
    assert process.returncode == 143
    newest = checkpoints(tmp_path / name / "checkpoints")[-1]
    assert f"is saved in {newest}; --resume continues" in errors
    load_checkpoint(newest, NETWORKS[f"train_{name}"])


def test_two_processes_and_their_readers_stop_together(trainings, tmp_path) -> None:
    command = trainings["vocoder"].command(tmp_path / "two", "--steps", "100000", "--devices", "2", "--workers", "1")
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (tmp_path / "two" / "checkpoints" / "step-000003").exists():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        errors = process.communicate(timeout=100)[1]
    assert process.returncode == 130, errors
    assert errors.count("stopped by SIGINT") == 1
    assert "Traceback" not in errors
    deadline = time.monotonic() + 20
    while is_anybody_left(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_anybody_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_goes_on(
    trainings, whole, tmp_path, monkeypatch, capsys, name
) -> None:
    folder = tmp_path / name
    assert main(name, trainings[name], folder, "--steps", str(STEPS - 2)) == 0
    damaged = folder / "checkpoints" / f"step-{STEPS - 2:06d}"
    (damaged / "state.pt").write_bytes((damaged / "state.pt").read_bytes()[:-1])
    assert main(name, trainings[name], folder) == 2
    message = f"{damaged} cannot be read (state.pt is not what was written); the one of step {STEPS - 3} is whole"
    assert message in capsys.readouterr().err
    assert main(name, trainings[name], folder, "--resume-from", "1") == 2
    assert f"--resume-from 1: {folder / 'checkpoints'} holds step-" in capsys.readouterr().err
    assert main(name, trainings[name], folder, "--resume-from", str(STEPS - 3)) == 0
    assert f"renamed to {damaged.with_name('aside-1-' + damaged.name)}" in capsys.readouterr().out
    assert differences(folder, whole[name]) == []


def spoilt(trainer: type, monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Let training batches be NaN at some steps."""
    if trainer is Trainer:
        step = trainer.train_step
        monkeypatch.setattr(
            trainer, "train_step", lambda self, audio: step(self, audio * (torch.nan if self.step in steps else 1))
        )
    else:
        made = train_gan.Patches.draw
        calls = iter(range(10**6))
        monkeypatch.setattr(
            train_gan.Patches,
            "draw",
            lambda self, *given: made(self, *given) * (torch.nan if next(calls) in steps else 1),
        )


@pytest.mark.parametrize("name", PROGRAMS)
def test_nan_stops_and_the_checkpoint_is_unharmed(trainings, tmp_path, monkeypatch, capsys, name) -> None:
    spoilt({"vocoder": Trainer, "gan": GanTrainer}[name], monkeypatch, {4})
    assert main(name, trainings[name], tmp_path / name) == 2
    assert "is not finite, with losses of" in capsys.readouterr().err
    saved = checkpoints(tmp_path / name / "checkpoints")
    assert [path.name for path in saved] == ["step-000003", "step-000004"]
    weights, _ = load_checkpoint(saved[-1], NETWORKS[f"train_{name}"])
    assert all(value.isfinite().all() for network in weights.values() for value in network.values())


@pytest.mark.parametrize("name", PROGRAMS)
def test_nan_is_left_out_and_counted(trainings, whole, tmp_path, monkeypatch, name) -> None:
    spoilt({"vocoder": Trainer, "gan": GanTrainer}[name], monkeypatch, {4, 5})
    assert main(name, trainings[name], tmp_path / name, "--on-nan", "skip") == 0
    report = json.loads((tmp_path / name / "report.json").read_text())
    # The vocoder's two updates, of two steps; of the GAN the discriminator's, whose images are spoilt.
    assert report["skipped_updates"] == (4 if name == "vocoder" else 2)
    assert json.loads((whole[name] / "report.json").read_text())["skipped_updates"] == 0
    weights, state = load_checkpoint(checkpoints(tmp_path / name / "checkpoints")[-1], NETWORKS[f"train_{name}"])
    assert all(value.isfinite().all() for network in weights.values() for value in network.values())
    assert state["skipped"] == report["skipped_updates"]


def test_a_generator_s_nan_does_not_stay_in_its_statistics(trainings, tmp_path, monkeypatch) -> None:
    drawn = torch.randn
    calls = iter(range(10**6))
    monkeypatch.setattr(
        "gan.trainer.torch.randn", lambda *a, **k: drawn(*a, **k) * (torch.nan if next(calls) == 6 else 1)
    )
    assert main("gan", trainings["gan"], tmp_path / "gan", "--on-nan", "skip") == 0
    weights, state = load_checkpoint(checkpoints(tmp_path / "gan" / "checkpoints")[-1], ("generator",))
    assert state["skipped"] == 2
    assert weights["generator"]["norms.0.running_mean"].isfinite().all()


def test_a_folder_is_trained_in_once_at_a_time(trainings, tmp_path, monkeypatch, capsys) -> None:
    inner = []
    step = GanTrainer.train_step

    def nested(self):
        if not inner:
            inner.append(main("gan", trainings["gan"], tmp_path / "gan", "--resume"))
        return step(self)

    monkeypatch.setattr(GanTrainer, "train_step", nested)
    assert main("gan", trainings["gan"], tmp_path / "gan") == 0
    assert inner == [2]
    assert "another program is training in" in capsys.readouterr().err


@pytest.mark.parametrize("name", PROGRAMS)
def test_mixed_precision_trains(trainings, tmp_path, name) -> None:
    assert main(name, trainings[name], tmp_path / name, "--precision", "bf16-mixed") == 0
    report = json.loads((tmp_path / name / "report.json").read_text())
    assert (report["precision"], report["skipped_updates"]) == ("bf16-mixed", 0)
    weights, _ = load_checkpoint(checkpoints(tmp_path / name / "checkpoints")[-1], ("generator",))
    assert {value.dtype for value in weights["generator"].values()} <= {torch.float32, torch.int64}


def test_what_is_said_counts_when_a_run_goes_on_also_where_it_is_the_default(trainings, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    assert main("vocoder", trainings["vocoder"], folder, "--steps", "2", "--accumulate", "2", "--seed", "7") == 0
    where = ["--out", str(tmp_path), "--name", "run", "--resume"]
    assert train_vocoder.main([*where, "--accumulate", "1"]) == 0
    assert json.loads((folder / "config.json").read_text())["options"]["accumulate"] == 1
    assert train_vocoder.main([*where, "--seed", "1234"]) == 2
    assert "seed: 7 then, 1234 now" in capsys.readouterr().err


@pytest.mark.parametrize("entry", [{"steps": "abc"}, {"devices": "2"}, {"save_every": None}, {"preset": "zzz"}])
def test_a_configuration_of_other_types_is_one_line(tmp_path, capsys, entry) -> None:
    (tmp_path / "run").mkdir()
    options = {**train_vocoder.plain(train_vocoder.Options()), "steps": 2, **entry}
    (tmp_path / "run" / "config.json").write_text(json.dumps({"options": options}))
    assert train_vocoder.main(["--resume", "--out", str(tmp_path), "--name", "run"]) == 2
    error = capsys.readouterr().err
    assert "config.json cannot be read" in error
    assert error.count("\n") == 1


def test_runs_of_earlier_versions_had_a_batch_for_each_process(trainings, tmp_path) -> None:
    folder = tmp_path / "old"
    assert main("vocoder", trainings["vocoder"], folder, "--steps", "2") == 0
    content = json.loads((folder / "config.json").read_text())
    for key in ("nodes", "accumulate", "on_nan", "resume_from"):
        del content["options"][key]
    content["options"] |= {"devices": 2, "batch_size": 1}
    (folder / "config.json").write_text(json.dumps(content))
    again = train_vocoder.begun_with(
        dataclasses.replace(train_vocoder.Options(), name="old", out=tmp_path, resume=True)
    )
    assert (again.batch_size, again.devices) == (2, 2)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", PROGRAMS)
def test_kills_at_random_lose_nothing(trainings, tmp_path, name) -> None:
    found = kill_at_random(trainings[name], tmp_path, 6, seed=1, report=lambda: None)
    assert found["kills"] == 6
    assert found["differences"] == []


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small file system takes root")
@pytest.mark.parametrize("name", PROGRAMS)
def test_full_disks_lose_nothing(trainings, tmp_path, name) -> None:
    try:
        found = fill_at_every_stage(trainings[name], tmp_path, 3, NETWORKS[f"train_{name}"], lambda: None)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    assert found["faults"] == []
    assert found["full"] == found["trials"] == 3


def test_the_commands_are_those_of_the_programs(trainings, tmp_path) -> None:
    for name, training in trainings.items():
        assert training.command(tmp_path / "x")[1] == str(RECIPES / f"train_{name}.py")
        assert "--resume" not in training.command(tmp_path / "x")
