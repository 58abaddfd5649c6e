"""The ONNX file of a run: the same sound, a complete description, and nothing at all when something is wrong."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import export_onnx
import numpy as np
import onnx
import onnxruntime
import pytest
import reference
import soundfile
import torch
from reference import assert_close, noise
from spoilt import overwrite
from vocoder import onnx_file
from vocoder.checkpoint import load_checkpoint, save_checkpoint
from vocoder.model import Generator
from vocoder.options import Options, plain, resolve
from vocoder.presets import PRESETS
from vocoder.runs import open_run

from audioup.fold import fold

one_thread = reference.one_thread
QUICK = ["--seconds", "0.2", "--rounds", "1", "--threads", "1"]
RATE = 16000


def make_run(folder: Path, upsampler: str, noise: float = 0.0) -> Path:
    """Leave what 6 steps of train_vocoder.py leave, but for the training."""
    options = resolve(Options(upsampler=upsampler, noise=noise, preset="tiny"), torch.device("cpu"))
    (folder / "audio").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"options": plain(options), "sample_rate": RATE}))
    torch.manual_seed(0)
    generator = Generator(80, PRESETS["tiny"].generator, upsampler, noise)
    save_checkpoint(folder / "checkpoints", 6, {"generator": generator.state_dict()}, {})
    sound = 0.1 * np.random.default_rng(0).standard_normal(RATE // 4)
    soundfile.write(folder / "audio" / "0.reference.wav", sound, RATE)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "regular", "regular-2")
    assert export_onnx.main([str(folder), *QUICK]) == 0
    return folder


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_the_file_makes_the_sound_of_the_run(finished: Path) -> None:
    session = onnxruntime.InferenceSession(finished / "generator.onnx")
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("mel", ["batch", 80, "frames"])]
    (sound,) = session.get_outputs()
    assert (sound.name, sound.shape) == ("audio", ["batch", 1, "256*frames"])
    generator = open_run(finished).generator
    for batch, frames in ((1, 1), (5, 3), (1, 61)):
        mel = noise(batch, 80, frames, dtype=torch.float32) - 5
        with torch.no_grad():
            expected = generator(mel)
        assert expected.abs().max() > 0.001
        assert_close(torch.from_numpy(session.run(["audio"], {"mel": mel.numpy()})[0]), expected)


def test_the_file_says_how_its_mel_is_made(finished: Path) -> None:
    model = onnx.load(finished / "generator.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    mel = open_run(finished).mel
    assert metadata["sample_rate"] == "16000"
    assert metadata["hop_length"] == str(mel.hop_length) == "256"
    assert metadata["n_fft"] == str(mel.n_fft) == "1024"
    assert float(metadata["mel_maximum_hz"]) == mel.mel.f_max == 8000
    assert (metadata["n_mels"], metadata["strides"], metadata["steps"]) == ("80", "[8, 8, 4]", "6")
    assert metadata["upsampler"] == "regular-2"
    assert {"mel_window", "mel_padding", "mel_scale", "mel_value", "audioup"} <= set(metadata)
    assert all(initializer.data_location != onnx.TensorProto.EXTERNAL for initializer in model.graph.initializer)
    assert b"site-packages" not in (finished / "generator.onnx").read_bytes()
    assert str(Path(export_onnx.__file__).parent.parent).encode() not in (finished / "generator.onnx").read_bytes()


def test_the_report_counts_what_is_in_the_file(finished: Path) -> None:
    report = json.loads((finished / "generator.json").read_text())
    assert report["bytes"] == (finished / "generator.onnx").stat().st_size
    nodes = [node.op_type for node in onnx.load(finished / "generator.onnx").graph.node]
    assert report["nodes"] == {name: nodes.count(name) for name in set(nodes)}
    assert report["nodes"]["ConvTranspose"] == 3
    assert set(nodes) == {"Add", "Conv", "ConvTranspose", "Div", "LeakyRelu", "Tanh"}
    assert [one["input"] for one in report["checks"]][-1] == "0.reference.wav"
    assert {(one["batch"], one["frames"]) for one in report["checks"]} >= {(1, 1), (3, 5), (1, RATE // 4 // 256)}
    assert 0 < report["largest_error"] == max(one["error"] for one in report["checks"]) <= 1e-5
    assert set(report["real_time_factor"]) == {"onnxruntime", "torch, folded", "torch"}
    assert all(0 < value < 100 for value in report["real_time_factor"].values())
    assert report["noise"] is None
    assert report["folded"]
    assert not list(finished.glob(".writing-*"))


def test_noise_stays_in_the_file_and_is_checked_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run", "resize-linear", noise=0.1)
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "elsewhere" / "vocoder.onnx"
    assert export_onnx.main([str(folder), "--no-fold", "--out", str(out), *QUICK]) == 0
    assert "noise: checked with its gains at 0" in capsys.readouterr().out
    assert {path.name for path in everything(out.parent)} == {"vocoder.onnx", "vocoder.json", "vocoder.npz"}
    with np.load(out.with_suffix(".npz")) as inputs:
        assert [(name, inputs[name].shape[:2]) for name in inputs.files] == [("0.reference.wav", (1, 80))]
    assert not (folder / "generator.onnx").exists()
    model = onnx.load(out)
    assert "ReduceL2" in {node.op_type for node in model.graph.node}  # weight norm, not folded
    mel = noise(1, 80, 50, dtype=torch.float32) - 5
    run, quiet = onnx_file.runner(model, 1), onnx_file.runner(onnx_file.silence_noise(model), 1)
    peak = quiet(mel).abs().max()
    assert (run(mel) - run(mel)).abs().max() > 0.01 * peak
    assert torch.equal(quiet(mel), quiet(mel))


def test_a_failed_check_leaves_everything_as_it_was(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in everything(finished)}
    assert export_onnx.main([str(finished), "--tolerance", "1e-9", *QUICK]) == 2
    assert "above --tolerance 1e-09" in capsys.readouterr().err

    def wrong(generator: Generator) -> torch.nn.Module:
        folded = fold(generator)
        torch.nn.init.zeros_(folded.ups[2].bias)
        return folded

    monkeypatch.setattr(export_onnx, "fold", wrong)
    assert export_onnx.main([str(finished), "--out", str(finished / "other.onnx"), *QUICK]) == 2
    assert "the largest error over the peak is" in capsys.readouterr().err
    files = {path: path.stat().st_mtime_ns for path in everything(finished) if path.is_file()}
    assert files == {path: then for path, then in before.items() if path.is_file()}


def test_an_error_that_is_no_number_fails_the_check(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    true = export_onnx.check

    def check(*arguments: Any) -> list[dict[str, Any]]:
        rows = true(*arguments)
        rows[-1]["error"] = math.nan  # not the first, where max() would keep it
        return rows

    monkeypatch.setattr(export_onnx, "check", check)
    before = {path: path.read_bytes() for path in finished.glob("generator.*")}
    assert export_onnx.main([str(finished), *QUICK]) == 2
    assert "the largest error over the peak is nan, above" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in finished.glob("generator.*")} == before


@pytest.mark.parametrize(
    "samples", [np.full(4000, np.nan), np.r_[np.zeros(3999), np.inf], np.zeros(0), np.zeros(255)], ids=len
)
def test_references_that_are_no_sound_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], samples: np.ndarray
) -> None:
    folder = make_run(tmp_path / "run", "transposed")
    soundfile.write(folder / "audio" / "1.reference.wav", samples, RATE, subtype="FLOAT")
    before = everything(folder)
    assert export_onnx.main([str(folder), *QUICK]) == 2
    error = capsys.readouterr().err
    assert f"{folder / 'audio' / '1.reference.wav'} must hold one frame of 256 samples at least, all finite" in error
    assert error.count("\n") == 1
    assert everything(folder) == before


@pytest.mark.parametrize("value", [math.nan, 0.0], ids=str)
def test_a_generator_without_sound_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float) -> None:
    folder = make_run(tmp_path / "run", "transposed")
    weights, _ = load_checkpoint(folder / "checkpoints" / "step-000006", ("generator",))
    for key in ("conv_post.bias", "conv_post.parametrizations.weight.original0"):
        weights["generator"][key].fill_(value)
    overwrite(folder / "checkpoints" / "step-000006", weights)
    before = everything(folder)
    assert export_onnx.main([str(folder), *QUICK]) == 2
    assert f"makes a peak of {value:g} of noise, nothing to check" in capsys.readouterr().err
    assert everything(folder) == before


def test_stale_drafts_are_written_over(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "transposed")
    for name in (".writing-generator.onnx", ".writing-generator.json"):
        (folder / name).write_text("left by a kill")
    assert export_onnx.main([str(folder), *QUICK]) == 0
    assert not list(folder.glob(".writing-*"))
    onnx.checker.check_model(str(folder / "generator.onnx"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tolerance", "0"], "--tolerance must be above 0"),
        (["--tolerance", "nan"], "--tolerance must be above 0"),
        (["--rounds", "0"], "--rounds must be above 0"),
        (["--seconds", "inf"], "--seconds must be above 0 and at most 3600.0, got inf"),
        (["--threads", "100000"], f"--threads must be above 0 and at most {os.cpu_count()}, got 100000"),
        (["--out", "vocoder.pt"], "--out must end in .onnx"),
        (["--out", "no/such/folder/vocoder.onnx"], "--out must be a file in a folder that exists"),
        (["--out", "/proc/vocoder.onnx"], "/proc/"),
    ],
)
def test_bad_options_are_one_line_and_status_2(
    finished: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    before = everything(finished)
    assert export_onnx.main([str(finished), *QUICK, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("export_onnx: ")
    assert message in error
    assert error.count("\n") == 1
    assert everything(finished) == before


def test_folders_without_a_usable_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_onnx.main([str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
    folder = make_run(tmp_path / "run", "transposed")
    (folder / "checkpoints" / "step-000006" / "generator.safetensors").write_bytes(b"junk")
    before = everything(folder)
    assert export_onnx.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "cannot be read" in error
    assert error.count("\n") == 1
    assert everything(folder) == before


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert export_onnx.main([str(finished)]) == 2
    assert f"pip install 'audioup[export]' brings {name}" in capsys.readouterr().err
