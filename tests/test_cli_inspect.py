"""``audioup inspect`` and ``audioup report``: what they print and write, and how they say no."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from browser import opened
from torch import nn

from audioup.cli import main
from audioup.inspect import inspect_model

RATE = 16000


class Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose1d(8, 6, 4, 2, 1), nn.LeakyReLU(0.1), nn.ConvTranspose1d(6, 1, 15, 8, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, good and bad, and what goes into and comes out of one."""
    folder = tmp_path_factory.mktemp("models")
    model, x = network(), 1 + 0.3 * torch.randn(1, 8, 1500, generator=torch.Generator().manual_seed(1))
    program = torch.onnx.export(
        model.eval(), (x,), dynamic_shapes=({2: torch.export.Dim("frames")},), dynamo=True, verbose=False
    )
    onnx.save(program.model_proto, folder / "good.onnx")
    onnx.save(program.model_proto, folder / "<img src=x onerror=alert(1)>.onnx")
    torch.save(model.state_dict(), folder / "good.pt")
    np.savez(folder / "x.npz", x=x.numpy())
    np.save(folder / "short.npy", x[..., :200].numpy())
    np.save(folder / "objects.npy", np.array([{}, Runs()], dtype=object), allow_pickle=True)
    np.save(folder / "text.npy", np.array(["a"]))
    np.save(folder / "wrong.npy", np.zeros((1, 7, 1500), "f4"))
    np.save(folder / "nan.npy", np.full((1, 8, 1500), np.nan, "f4"))
    with torch.no_grad():
        for n, sound in enumerate((model(x), model(x.flip(-1)))):
            soundfile.write(folder / f"{n}.wav", 0.1 * sound[0, 0].numpy(), RATE, subtype="FLOAT")
    (folder / "text.wav").write_text("no sound")
    torch.save({"a": Runs()}, folder / "code.pt")
    torch.save(nn.Conv1d(2, 2, 3).state_dict(), folder / "none.pt")
    (folder / "cut.onnx").write_bytes((folder / "good.onnx").read_bytes()[:300])
    (folder / "good.pt").rename(folder / "zip.onnx")
    torch.save(model.state_dict(), folder / "good.pt")
    outside = onnx.load(folder / "good.onnx")
    onnx.external_data_helper.convert_model_to_external_data(outside, location="w.bin", size_threshold=0)
    for tensor in outside.graph.initializer:
        tensor.ClearField("raw_data")
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.bin"
    (folder / "outside.onnx").write_bytes(outside.SerializeToString())
    with (folder / "sparse.pt").open("wb") as file:
        file.truncate(2**31)
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run the command line in a folder of its own, models by name; return its status and what it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *words: str):
        capsys.readouterr()
        given = [str(folder / word) if (folder / word).exists() else word for word in words]
        try:
            status = main([command, *given])
        except SystemExit as usage:
            status = usage.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


BAD = {
    "zip.onnx": "no ONNX model, or a damaged one",
    "cut.onnx": "no ONNX model, or a damaged one",
    "outside.onnx": "refused: external data at '../w.bin', not in the folder of the model",
    "code.pt": "which is code; save the state dict alone",
    "none.pt": "no layer that upsamples was found",
    "sparse.pt": "no file that torch.save made",
    "missing.onnx": "no such file",
}


@pytest.mark.parametrize("command", ["inspect", "report"])
@pytest.mark.parametrize("name", BAD)
def test_bad_models_are_one_line_and_status_2(run, command: str, name: str) -> None:
    status, out, err = run(command, name)
    assert (status, out) == (2, "")
    assert err.startswith("audioup: ")
    assert len(err.splitlines()) == 1
    assert BAD[name] in err
    assert not list(Path().iterdir())


def test_inspect_prints_the_table_and_json(run, folder: Path) -> None:
    expected = inspect_model(folder / "good.onnx", RATE)
    assert run("inspect", "good.onnx", "--sample-rate", "16000") == (0, f"{expected}\n", "")
    status, out, _ = run("inspect", "good.onnx", "--sample-rate", "16000", "--json")
    assert status == 0
    assert json.loads(out) == json.loads(json.dumps(expected.to_dict()))
    assert [one["lines_hz"] for one in json.loads(out)["layers"]] == [[1000], [2000, 4000, 6000, 8000]]


def test_inspect_takes_strides_for_a_state_dict(run) -> None:
    status, out, _ = run("inspect", "good.pt", "--strides", "2,8")
    assert status == 0
    assert "?" not in out
    assert "uneven" in out
    status, out, _ = run("inspect", "good.pt")
    assert "7?" in out
    assert out.endswith("? a state dict has no strides: half the kernel was assumed\n")
    for words, why in (
        (("good.pt", "--strides", "2"), "1 strides were given for 2 layers without: 0, 2"),
        (("good.pt", "--strides", "a"), "--strides must be integers"),
        (("good.onnx", "--strides", "2,8"), "an ONNX graph says its strides"),
        (("good.onnx", "--sample-rate", "0"), "sample_rate must be an integer >= 1"),
    ):
        status, _, err = run("inspect", *words)
        assert status == 2
        assert why in err


def test_report_of_a_graph_with_inputs(run) -> None:
    status, out, err = run("report", "good.onnx", "--inputs", "x.npz", "--sample-rate", "16000", "--out", "card.html")
    assert (status, err) == (0, "")
    assert out.startswith("good.onnx: tones\n- The strongest line on the real input, ")
    assert out.endswith("card.html and card.json are written\n")
    card = json.loads(Path("card.json").read_text())
    assert [(stage["name"], stage["stride"]) for stage in card["probe"]["stages"]] == [("0", 2), ("2", 8)]
    trials = card["probe"]["attribution"]["trials"]
    assert [(trial["name"], trial["projected"]) for trial in trials] == [("2", True), ("0", True)]
    assert max(trials[0]["drop_db"]) > 20
    assert card["probe"]["silence"]["verdict"] == "tones"


def test_report_of_recordings_with_their_model(run) -> None:
    status, out, _ = run("report", "good.onnx", "0.wav", "1.wav", "text.wav", "--sample-rate", "16000")
    assert status == 0
    card = json.loads(Path("audioup-report.json").read_text())
    assert [Path(one["title"]).name for one in card["sounds"]] == ["0.wav", "1.wav"]
    assert card["pooled"]["clips"] == 2
    assert card["pooled"]["strides"] == [2, 8]
    assert [note.partition("text.wav")[2][:14] for note in card["notes"]] == [": no recording"]
    assert "lies on the series of stage" in out
    with opened(Path("audioup-report.html")) as page:
        assert page.locator("article").count() == 2


def test_report_of_a_graph_with_inputs_and_recordings(run) -> None:
    assert run("report", "good.onnx", "0.wav", "--inputs", "x.npz", "--sample-rate", "16000")[0] == 0
    card = json.loads(Path("audioup-report.json").read_text())
    assert [Path(one["title"]).name for one in card["sounds"]] == ["0.wav"]
    assert card["probe"]["verdict"] == card["verdict"] == "tones"
    assert card["reference"] is None


def test_hostile_file_names_are_only_text(run) -> None:
    assert run("report", "<img src=x onerror=alert(1)>.onnx", "0.wav")[0] == 0
    with opened(Path("audioup-report.html")) as page:
        assert page.locator("h1").inner_text() == "<img src=x onerror=alert(1)>.onnx"
        assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("0.wav",), "recordings need --strides, or a model that has them"),
        (("0.wav", "--strides", "1,x"), "--strides must be integers"),
        (("text.wav", "--strides", "8"), "text.wav: no recording"),
        (("good.onnx", "good.pt"), "takes one model, recordings, or both, got 2 models"),
        ((), "takes one model, recordings, or both, got 0 models"),
        (("good.pt", "--inputs", "x.npz"), "--inputs takes an ONNX graph"),
        (("good.onnx", "--inputs", "x.npz"), "does not say its sample rate: give --sample-rate"),
        (("good.onnx", "--sample-rate", "16000", "--inputs", "0.wav"), "--inputs must end in .npy or .npz"),
        (("good.onnx", "--sample-rate", "16000", "--inputs", "objects.npy"), "allow_pickle=False"),
        (("good.onnx", "--sample-rate", "16000", "--inputs", "text.npy"), "an array of <U1, not of numbers"),
        (("good.onnx", "--sample-rate", "16000", "--inputs", "wrong.npy"), "cannot be run on these inputs: "),
        (("good.onnx", "--sample-rate", "16000", "--inputs", "nan.npy"), "inputs must be finite"),
        (("good.onnx", "--sample-rate", "16000", "--inputs", "none.npy"), "No such file"),
        (("good.onnx", "--out", "card.txt"), "--out must end in .html"),
        (("good.onnx", "--out", "none/card.html"), "no such folder"),
    ],
)
def test_refusals_of_report(run, words: tuple[str, ...], why: str) -> None:
    status, out, err = run("report", *words)
    assert (status, out) == (2, "")
    assert why in err
    assert err.startswith("audioup: ")
    assert not list(Path().iterdir())


def test_too_little_sound_is_not_testable_and_says_what_it_takes(run) -> None:
    status, out, _ = run("report", "good.onnx", "--inputs", "short.npy", "--sample-rate", "16000")
    assert status == 0
    assert out.startswith("good.onnx: not testable: 0.20 s is less than 12 blocks")
    assert "Take longer or louder sound" in out
