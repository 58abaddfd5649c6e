"""A run is opened as it was trained; whatever is damaged in it is named in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from vocoder.checkpoint import save_checkpoint
from vocoder.model import Generator
from vocoder.options import Options, plain, resolve
from vocoder.presets import PRESETS
from vocoder.runs import open_run

one_thread = reference.one_thread


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Generator(80, PRESETS["tiny"].generator, "resize-linear", 0.1).state_dict()


def configuration(**changes: Any) -> dict[str, Any]:
    options = resolve(Options(upsampler="resize-linear", preset="tiny"), torch.device("cpu"))
    return {"options": {**plain(options), **changes}, "sample_rate": 16000}


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(configuration()))
    save_checkpoint(tmp_path / "checkpoints", 6, {"generator": weights}, {})
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        open_run(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


def test_a_run_is_opened_as_it_was_trained(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    (folder / "config.json").write_text(json.dumps(configuration(later="option", noise=1)))
    run = open_run(folder)
    assert (run.steps, run.sample_rate, run.checkpoint) == (6, 16000, folder / "checkpoints" / "step-000006")
    assert (run.options.upsampler, run.options.preset, run.options.noise) == ("resize-linear", "tiny", 1)
    assert run.options.out == Path("runs")
    assert (run.mel.hop_length, run.mel.n_fft, run.mel.mel.n_mels) == (256, 1024, 80)
    assert not run.generator.training
    assert run.generator.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in run.generator.state_dict().items())


def test_the_newest_checkpoint_counts_and_other_folders_do_not(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    save_checkpoint(folder / "checkpoints", 1_000_000, {"generator": weights}, {})
    for name in ("step-foo", "step-", "step--3", "step-2000000.old", "best"):
        (folder / "checkpoints" / name).mkdir()
    assert open_run(folder).steps == 1_000_000


def test_folders_without_a_run_or_a_checkpoint(folder: Path) -> None:
    assert refusal(folder / "nothing") == f"{folder / 'nothing'} holds no run of train_vocoder.py"
    (folder / "checkpoints").rename(folder / "elsewhere")
    assert refusal(folder) == f"{folder} has no checkpoint yet"


TEXT = json.dumps(configuration())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "RecursionError"),
        ("[]", "TypeError"),
        ("{}", "KeyError: 'options'"),
        ('{"options": {}}', "KeyError: 'sample_rate'"),
        ('{"options": null, "sample_rate": 16000}', "options must be an object, got NoneType"),
        ('{"options": [], "sample_rate": 16000}', "options must be an object, got list"),
        ('{"options": {}, "sample_rate": 16000}', "KeyError: 'auto'"),
        *(
            (TEXT.replace("16000", rate), "sample_rate must be an integer from 1 to 1000000, got")
            for rate in ("0", "-5", "1e400", "1" + 400 * "0", "16000.5", '"16000"', "null", "true", "1000001")
        ),
    ],
    ids=lambda value: value[:40],
)
def test_damaged_configurations(folder: Path, text: str, message: str) -> None:
    (folder / "config.json").write_text(text)
    refused = refusal(folder)
    assert refused.startswith(f"{folder / 'config.json'} cannot be read: ")
    assert message in refused


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("noise", "abc", "noise must be float, got 'abc'"),
        ("noise", float("inf"), "noise must be float, got inf"),
        ("noise", 10**400, "OverflowError"),
        ("noise", True, "noise must be float, got True"),
        ("upsampler", ["a"], "got ['a']"),
        ("upsampler", "bicubic", "'transposed', 'transposed-partial'"),
        ("preset", {}, "got {}"),
        ("steps", 2.5, "steps must be int, got 2.5"),
        ("resume", 1, "resume must be bool, got 1"),
        ("sample_rate", "x", "sample_rate must be int | None, got 'x'"),
        ("out", 3, "out must be Path, got 3"),
        ("name", 100 * ["a\nb"], "name must be str, got ['a\\nb', "),
    ],
    ids=str,
)
def test_options_of_other_types(folder: Path, key: str, value: Any, message: str) -> None:
    (folder / "config.json").write_text(json.dumps(configuration(**{key: value})))
    refused = refusal(folder)
    assert refused.startswith(f"{folder / 'config.json'} cannot be read: ")
    assert message in refused


def test_a_checkpoint_of_other_sizes_is_one_line(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(configuration(preset="v1")))
    refused = refusal(folder)
    assert refused.startswith(f"{folder / 'checkpoints' / 'step-000006'} does not fit {folder / 'config.json'}: ")
    assert "missing: ups.3.bias, " in refused
    assert "left over: resblocks.0.convs.0.bias, " in refused
    assert "conv_pre.bias (128,) for (512,), " in refused
    assert refused.count(", ...") == 3


@pytest.mark.parametrize("file", ["generator.safetensors", "state.pt"])
def test_a_damaged_checkpoint_is_one_line(folder: Path, file: str) -> None:
    (folder / "checkpoints" / "step-000006" / file).write_bytes(b"junk")
    assert refusal(folder).startswith(f"checkpoint {folder / 'checkpoints' / 'step-000006'} cannot be read (")
