"""What both training programs share: where they run, how they stop, which updates they take."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from training.folder import begun, chosen, claimed
from training.machine import Machine, as_launched, check_shares, is_first, launched, make_fabric, wide
from training.provenance import provenance
from training.stopping import Asked, Stopped, status_of
from training.updates import MOST_SKIPPED, Updates, keep_buffers


@pytest.fixture
def fabric() -> Fabric:
    return make_fabric(Machine(accelerator="cpu"))


def test_a_launcher_decides_how_many_processes_there_are(monkeypatch):
    options = Machine(devices=2, nodes=3)
    assert as_launched(options) == options
    for key, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(key, value)
    assert as_launched(options) == Machine(devices=4, nodes=2)
    monkeypatch.setenv("LT_PRECISION", "64-true")
    monkeypatch.setenv("LT_ACCELERATOR", "cpu")
    assert as_launched(options) == Machine(devices=4, nodes=2, precision="64-true", accelerator="cpu")
    monkeypatch.setenv("LT_PRECISION", "16-true")
    with pytest.raises(
        ValueError, match="--precision must be one of auto, 32-true, bf16-mixed, 64-true, got '16-true'"
    ):
        as_launched(options)


@pytest.mark.parametrize(
    ("options", "batch", "message"),
    [
        (Machine(devices=2, nodes=2, accumulate=3), 8, "multiple of 12, 4 processes with 3 parts each, got 8"),
    ],
)
def test_a_batch_must_fall_into_equal_shares(options, batch, message):
    check_shares(Machine(devices=2, nodes=2, accumulate=2), 8)
    with pytest.raises(ValueError, match=message):
        check_shares(options, batch)


def test_precision_follows_the_device_and_losses_stay_wide(fabric):
    assert fabric._precision.precision == "32-true"
    assert wide(Machine(precision="bf16-mixed")) == torch.float32
    assert wide(Machine(precision="64-true")) == torch.float64
    assert is_first(fabric)
    assert is_first(make_fabric(Machine(accelerator="cpu", devices=2)))
    with pytest.raises(ValueError, match="--accelerator abacus --devices 1 --nodes 1: "):
        make_fabric(Machine(accelerator="abacus"))
    for key in ("devices", "nodes", "accumulate"):
        with pytest.raises(ValueError, match=f"--{key} must be at least 1, got -1"):
            make_fabric(Machine(accelerator="cpu", **{key: -1}))


def test_what_a_launcher_said_is_not_said_again(monkeypatch):
    monkeypatch.setenv("LT_CLI_USED", "1")
    monkeypatch.setenv("LT_ACCELERATOR", "cpu")
    monkeypatch.setenv("LT_PRECISION", "64-true")
    assert make_fabric(as_launched(Machine(accelerator="auto", precision="32-true")))._precision.precision == "64-true"


def test_processes_that_were_started_end_with_the_one_that_fails(fabric):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    class Launcher:
        procs = (child,)

    fabric.strategy._launcher = Launcher()
    with pytest.raises(OSError, match="full"), launched_already(fabric):
        raise OSError("full")
    assert child.wait(20) == -signal.SIGKILL


def launched_already(fabric):
    fabric._launched = True
    fabric.launch = lambda: None
    return launched(fabric)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_ask_and_do_not_interrupt(fabric, number):
    before = signal.getsignal(number)
    with Asked(fabric) as asked:
        assert asked.anywhere() == 0
        os.kill(os.getpid(), number)
        assert asked.anywhere() == number
        assert asked.anywhere() == number
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_interrupts_at_once(fabric):
    with Asked(fabric):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_is_ignored_stays_ignored(fabric):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        with Asked(fabric) as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked.anywhere() == 0
        assert status_of("train", Path("x"), lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_outside_of_training_end_it_in_order(tmp_path, capsys, number):
    before, cleaned = signal.getsignal(number), []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
        finally:
            cleaned.append(True)

    assert status_of("train", tmp_path, work) == 128 + number
    assert capsys.readouterr().err == f"train: ended by {number.name}; --resume continues {tmp_path}\n"
    assert cleaned == [True]
    assert signal.getsignal(number) == before


def test_status_and_message(capsys, tmp_path):
    def fail(error: BaseException) -> None:
        raise error

    for error, status, message in (
        (ValueError("bad"), 2, "train: bad\n"),
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), 2, f"memory.; --resume continues {tmp_path}\n"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, f"memory; --resume continues {tmp_path}\n"),
        (
            ValueError("Caught ValueError in DataLoader worker process 0.\n  File x\nValueError: no clip"),
            2,
            ": no clip\n",
        ),
        (OSError(28, "No space left on device"), 2, "train: [Errno 28] No space left on device\n"),
        (FloatingPointError("nan"), 2, "train: nan\n"),
        (KeyboardInterrupt(), 130, f"train: interrupted; --resume continues {tmp_path}\n"),
        (
            Stopped(15, 7, Path("c")),
            143,
            f"stopped by SIGTERM after step 7, which is saved in c; --resume continues {tmp_path}\n",
        ),
    ):
        assert status_of("train", tmp_path, lambda error=error: fail(error)) == status
        assert capsys.readouterr().err.endswith(message)
    assert status_of("train", tmp_path, lambda: None) == 0
    with pytest.raises(RuntimeError):
        status_of("train", tmp_path, lambda: fail(RuntimeError("a bug")))


def one_update(fabric: Fabric, policy: str, values: list[float], parts: int = 1) -> tuple[nn.Module, Updates, list]:
    """Update a weight of 1 by SGD at rate 1 with the loss ``value * weight``, for each value."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    wrapped, optimizer = fabric.setup(network, torch.optim.SGD(network.parameters(), 1.0))
    updates = Updates(fabric, policy)

    def losses(value: float):
        def part(n: int):
            loss = wrapped(torch.full((1, 1), value * (1 + n))).sum()
            return loss, {"loss": loss}

        return part

    found = [updates("network", wrapped, optimizer, losses(value), parts) for value in values]
    return network, updates, found


def test_updates_are_means_over_parts(fabric):
    network, updates, found = one_update(fabric, "stop", [0.5], parts=2)
    assert found[0]["loss"].item() == 0.75
    assert network.weight.item() == 1 - 0.75
    assert updates.skipped == 0


def test_an_update_that_is_not_finite_is_left_out_and_counted(fabric):
    network, updates, found = one_update(fabric, "skip", [0.25, float("nan"), float("inf"), 0.25])
    assert network.weight.item() == 0.5
    assert updates.skipped == 2
    assert found[1]["loss"].isnan()


def test_or_stops_before_it_is_taken(fabric):
    with pytest.raises(
        FloatingPointError, match=r"gradient of the network is not finite, with losses of \{'loss': nan\}"
    ):
        one_update(fabric, "stop", [0.25, float("nan")])
    with pytest.raises(FloatingPointError, match=f"for the {MOST_SKIPPED}th time running"):
        one_update(fabric, "skip", [float("nan")] * MOST_SKIPPED)
    one_update(fabric, "skip", ([float("nan")] * (MOST_SKIPPED - 1) + [1.0]) * 2)


def test_buffers_are_put_back():
    norm = nn.BatchNorm1d(2)
    put_back = keep_buffers(norm)
    norm(torch.randn(8, 2) * torch.nan)
    assert norm.running_mean.isnan().all()
    put_back()
    assert torch.equal(norm.running_mean, torch.zeros(2))
    assert norm.num_batches_tracked == 0


def test_a_folder_is_one_programs_at_a_time(tmp_path):
    folder = tmp_path / "run"
    with claimed(folder), pytest.raises(ValueError, match=f"another program is training in {folder}"), claimed(folder):
        pass
    assert not folder.exists()  # nothing came of it
    folder.mkdir()
    with claimed(folder):
        (folder / "config.json").touch()
    with claimed(folder):
        pass
    assert (folder / "config.json").exists()


def test_a_run_begins_where_none_is_and_goes_on_where_one_is(tmp_path):
    assert begun(tmp_path, False, None, 10) is None
    with pytest.raises(ValueError, match=r"--resume: .* holds no run"):
        begun(tmp_path, True, None, 10)
    (tmp_path / "checkpoints" / "step-000005").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"holds checkpoints without the config\.json"):
        begun(tmp_path, False, None, 10)
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match="holds a run already"):
        begun(tmp_path, False, None, 10)
    assert begun(tmp_path, True, None, 10) == tmp_path / "checkpoints" / "step-000005"
    with pytest.raises(ValueError, match=r"--steps 4: .* has been trained for longer already"):
        begun(tmp_path, True, None, 4)
    (tmp_path / "checkpoints" / "step-000005").rmdir()
    assert begun(tmp_path, False, None, 10) is None  # nothing would be lost
    assert begun(tmp_path, True, None, 10) is None


def test_the_checkpoint_to_go_on_from(tmp_path):
    assert chosen(tmp_path, None) is None
    for step in (2, 10):
        (tmp_path / f"step-{step:06d}").mkdir()
    assert chosen(tmp_path, None) == tmp_path / "step-000010"
    assert chosen(tmp_path, 2) == tmp_path / "step-000002"
    with pytest.raises(ValueError, match=r"--resume-from 3: .* holds step-000002, step-000010"):
        chosen(tmp_path, 3)


def test_reports_say_where_they_are_from(fabric):
    found = provenance(fabric)
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
    assert found["commit"] == "unknown" or len(found["commit"].rstrip("+")) == 12
