"""The probing recipe: before and after, on held-out mels, in words, numbers and a picture."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import probe_vocoder
import pytest
import reference
import soundfile
import torch
import train_vocoder
from brief import brief_reports
from lightning_fabric import Fabric
from vocoder.probe_picture import draw_probes
from vocoder.runs import open_run
from vocoder.trainer import Trainer

from audioup.probe import probe

one_thread = reference.one_thread
SIZES = ["--accelerator", "cpu", "--batch-size", "2", "--segment-size", "2048", "--test-clips", "1", "--preset", "tiny"]
QUICK = ["--clips", "2", "--seconds", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    (folder / "recordings").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        sound = 0.2 * np.sin(2 * np.pi * (120 + 20 * i) * np.arange(20000) / 16000)
        soundfile.write(folder / "recordings" / f"{i}.wav", sound + 0.01 * rng.standard_normal(20000), 16000)
    words = [*SIZES, "--steps", "2", "--warmup-steps", "2", "--data", str(folder / "recordings"), "--out", str(folder)]
    with brief_reports():
        assert train_vocoder.main([*words, "--name", "transposed"]) == 0
    return folder


def test_a_run_is_probed_before_and_after(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained / "transposed"
    assert probe_vocoder.main([str(folder), *QUICK]) == 0
    printed = capsys.readouterr()
    numbers = json.loads((folder / "probe.json").read_text())
    assert (numbers["steps"], numbers["clips"]) == (2, 1)
    for name in ("before", "after"):
        assert [(stage["name"], stage["stride"]) for stage in numbers[name]["stages"]] == [
            ("ups.0", 8),
            ("ups.1", 8),
            ("ups.2", 4),
        ]
        assert [trial["position"] for trial in numbers[name]["attribution"]["trials"]] == [2, 1, 0]
        assert all(trial["projected"] for trial in numbers[name]["attribution"]["trials"])
    table = {line.split()[0]: line for line in printed.out.splitlines() if " of 128 lines" in line}
    for signal in ("real", "silence", "constant", "noise"):
        for name in ("before", "after"):
            report = numbers[name][signal]
            strongest = max((line for line in report["lines"] if line["detected"]), key=lambda line: line["level_dbfs"])
            assert f"{strongest['level_dbfs']:.1f} dBFS at {strongest['frequency_hz']:.1f} Hz" in table[signal]
    assert "verdict: tones" in printed.out
    assert "100%" in printed.err
    picture = matplotlib.image.imread(folder / "probe.png")
    assert picture.shape[0] > 1000
    assert picture.std() > 0.05
    assert sorted(path.name for path in folder.glob(".writing*")) == []


def test_before_is_the_very_generator_that_training_began_with(trained: Path) -> None:
    run = open_run(trained / "transposed")
    trainer = Trainer(run.options, Fabric(accelerator="cpu", devices=1), run.sample_rate)
    began = trainer.generator_network.state_dict()
    torch.manual_seed(3)
    drawn = torch.randn(4)
    torch.manual_seed(3)
    fresh = probe_vocoder.untrained(run).state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in began.items())
    assert not all(torch.equal(value, fresh[key]) for key, value in run.generator.state_dict().items())
    assert torch.equal(torch.randn(4), drawn)


def test_reports_without_lines_are_printed_and_drawn_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    noise = 1 + torch.randn(1, 8, 3000)
    clean = torch.nn.Sequential(torch.nn.Upsample(scale_factor=8), torch.nn.Conv1d(8, 1, 9, padding=4))
    free = torch.nn.ConvTranspose1d(8, 1, 16, 8, 4)
    before, after = (probe(model, noise, 16000, seconds=1) for model in (free, clean))
    assert (before.verdict, after.attribution) == ("tones", None)
    text = probe_vocoder.format_probes(before, after)
    assert "after: no line on real input" in text
    (row,) = [line for line in text.splitlines() if line.startswith("real")]
    assert row.split()[-4:-1] == ["clean", "below", after.verdict.split()[2]]
    for name, pair in (("a", (before, after)), ("b", (after, before))):
        draw_probes(*pair, tmp_path / f"{name}.png")
    pictures = [matplotlib.image.imread(tmp_path / f"{name}.png") for name in "ab"]
    # The matrix stands at the bottom of the one whose second report has it.
    coloured = [float(np.ptp(picture[-350:, 300:, :3], axis=-1).mean()) for picture in pictures]
    assert coloured[1] > 5 * coloured[0]


def test_bad_input_is_one_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(trained / "transposed")
    (tmp_path / "folder.json").mkdir()
    for words, message in (
        ([str(tmp_path / "none")], "holds no run of train_vocoder.py"),
        ([run, "--clips", "0"], "--clips must be at least 1, got 0"),
        ([run, "--seconds", "nan"], "--seconds must be above 0"),
        ([run, "--data", str(tmp_path / "none")], "data must be a folder"),
        ([run, "--out", str(tmp_path / "x.jpg")], "--out must be a file ending in .png"),
        ([run, "--out", str(tmp_path / "folder.png")], "its .json no folder"),
    ):
        assert probe_vocoder.main(words) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("probe_vocoder: ")
        assert message in error
        assert "\n" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]
