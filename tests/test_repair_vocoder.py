"""The repair: what was trained is converted as near as can be, tuned, and the three are compared."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import repair_vocoder
import soundfile
import torch
import train_vocoder
from brief import brief_reports
from vocoder.model import UPSAMPLERS, Generator, GeneratorShape
from vocoder.runs import open_run

from audioup import regularity_order

OPTIONS = ["--accelerator", "cpu", "--test-clips", "1"]


@pytest.fixture(scope="module", autouse=True)
def _brief() -> Iterator[None]:
    with brief_reports():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    (folder / "speech").mkdir()
    for i in range(5):
        wave = np.sin(2 * np.pi * (120 + 20 * i) * np.arange(16000) / 16000)
        soundfile.write(folder / "speech" / f"{i}.wav", 0.2 * wave + 0.01 * rng.standard_normal(16000), 16000)
    sizes = ["--batch-size", "2", "--segment-size", "2048", "--steps", "3", "--warmup-steps", "2"]
    status = train_vocoder.main([*OPTIONS, *sizes, "--data", str(folder / "speech"), "--out", str(folder)])
    assert status == 0
    return folder


@pytest.mark.parametrize("to", UPSAMPLERS)
@pytest.mark.parametrize("was", UPSAMPLERS)
def test_every_family_becomes_every_other_of_the_recipes_sizes(was: str, to: str) -> None:
    torch.manual_seed(0)
    shape = GeneratorShape((4, 2), 16, (3,), ((1,),), 1)
    generator, other = Generator(8, shape, was).eval(), Generator(8, shape, to).eval()
    conversion = repair_vocoder.converted(generator, to)
    assert [row.name for row in conversion.layers] == ["ups.0", "ups.1"]
    other.load_state_dict(conversion.model.state_dict())
    mel = torch.randn(1, 8, 6)
    with torch.no_grad():
        torch.testing.assert_close(other(mel), conversion.model(mel))
        if was == to or (was, to) in (("transposed", "subpixel"), ("resize-nearest", "regular-1")):
            torch.testing.assert_close(other(mel), generator(mel), rtol=1e-3, atol=1e-5)
            assert all(row.residual_db < -100 for row in conversion.layers)


def test_a_run_is_converted_tuned_and_compared(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = open_run(trained / "vocoder")
    words = [str(trained / "vocoder"), *OPTIONS, "--out", str(trained), "--steps", "2"]
    assert repair_vocoder.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    reports = json.loads((trained / "repaired" / "repair.json").read_text())
    assert list(reports) == ["before", "converted", "tuned"]
    table = [line.split() for line in printed if line.split()[:1] in (["before"], ["converted"], ["tuned"])]
    assert [row[1] for row in table] == [f"{report['metrics']['mel_l1']:.3f}" for report in reports.values()]
    orders = [[layer["regularity_order"] for layer in report["upsamplers"]] for report in reports.values()]
    assert orders == [[0, 0, 0], [1, 1, 1], [1, 1, 1]]
    for folder in ("before", "converted", "."):
        assert list((trained / "repaired" / folder / "audio").glob("*.generated.wav"))
    # The run begun so is one like any other, of the family it was brought to, and the old one is as it was.
    after = open_run(trained / "repaired")
    assert (after.steps, after.options.upsampler, after.sample_rate) == (2, "regular-1", 16000)
    assert [regularity_order(up.kernel(), up.stride) for up in after.generator.ups] == [1, 1, 1]
    again = open_run(trained / "vocoder").generator.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in before.generator.state_dict().items())
    residuals = json.loads((trained / "repaired" / "conversion.json").read_text())["layers"]
    assert [row["name"] for row in residuals] == ["ups.0", "ups.1", "ups.2"]
    assert all(-20 < row["residual_db"] < 0 for row in residuals)


def test_the_last_step_of_tuning_is_the_discriminators_too(trained: Path) -> None:
    options = repair_vocoder.settings(repair_vocoder.Options(trained / "vocoder"), open_run(trained / "vocoder"))
    assert options.warmup_steps == 0
    assert options.steps == 1000
    assert options.batch_size == 2
    assert options.tone_loss == 0


def test_the_tuning_can_have_a_loss_on_tones(trained: Path) -> None:
    run = [str(trained / "vocoder"), *OPTIONS, "--out", str(trained), "--steps", "2"]
    assert repair_vocoder.main([*run, "--name", "quiet", "--tone-loss", "1000"]) == 0
    quiet = open_run(trained / "quiet")
    assert quiet.options.tone_loss == 1000
    assert torch.load(quiet.checkpoint / "state.pt")["tone_loss"]["running.batches"] == 2
    assert repair_vocoder.settings(repair_vocoder.Options(trained / "quiet"), quiet).tone_loss == 1000


def test_errors_are_one_line_and_leave_nothing(trained: Path, tmp_path: Path, capsys) -> None:
    for words, message in (
        ([str(tmp_path)], "holds no run of train_vocoder.py"),
        ([str(trained / "vocoder"), "--steps", "0"], "--steps must be at least 1"),
        ([str(trained / "vocoder"), "--data", str(tmp_path / "none")], "none"),
        ([str(trained / "vocoder"), "--name", "../x"], "--name must be a plain folder name"),
    ):
        assert repair_vocoder.main([*words, "--accelerator", "cpu", "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("repair_vocoder: ")
        assert message in error
        assert "\n" not in error
    assert list(tmp_path.iterdir()) == []
