"""The audit: lines of discriminators whose gradient is known, a run's own weights, and what is refused."""

import dataclasses
import json
import math
from pathlib import Path

import audit_discriminators
import numpy as np
import pytest
import reference
import soundfile
import torch
import train_vocoder
from brief import brief_reports
from vocoder.data import open_corpus
from vocoder.discriminators import Discriminators, DiscriminatorShape
from vocoder.lessons import measure_lessons, name_of, strides_of
from vocoder.model import GeneratorShape
from vocoder.presets import PRESETS
from vocoder.runs import open_run

from audioup import tone_response

one_thread = reference.one_thread
SHAPE = DiscriminatorShape((2, 3), (4, 4, 4), ((64, 16, 64),), 2)
SMALL = ["--segments", "16", "--segment-size", "2048", "--margin", "128", "--batch-size", "5"]


@pytest.fixture(scope="module", autouse=True)
def small_preset():
    """Nothing here needs the recipe's sizes."""
    with pytest.MonkeyPatch.context() as patch:
        generator = GeneratorShape((4, 2), 8, (3,), ((1,),), 1)
        small = dataclasses.replace(PRESETS["tiny"], generator=generator, discriminators=SHAPE)
        patch.setitem(PRESETS, "tiny", small)
        yield


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    for i in range(6):
        wave = np.sin(2 * np.pi * (120 + 20 * i) * np.arange(16000) / 16000)
        soundfile.write(folder / f"{i}.wav", 0.2 * wave + 0.01 * rng.standard_normal(16000), 16000)
    return folder


@pytest.fixture(scope="module")
def runs(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    words = ["--data", str(speech), "--out", str(folder), "--accelerator", "cpu", "--preset", "tiny"]
    words += ["--batch-size", "2", "--segment-size", "2048", "--test-clips", "1", "--steps", "3"]
    with brief_reports():
        for name, warmup in (("trained", "1"), ("warm", "3")):
            assert train_vocoder.main([*words, "--name", name, "--warmup-steps", warmup]) == 0
    return folder


def test_strides_and_names() -> None:
    members = Discriminators(DiscriminatorShape((2, 11), (8, 8, 8, 8), ((1024, 120, 600),), 4)).members
    found = {name_of(m): strides_of(m) for m in members}
    expected = {"period 2": (2, 3, 3, 3), "period 11": (11, 3, 3, 3), "resolution 1024/120": (120, 2, 2, 2)}
    assert found == expected
    with pytest.raises(TypeError, match=r"^member must be a discriminator .* got Linear"):
        strides_of(torch.nn.Linear(1, 1))


def test_a_discriminator_of_ones_teaches_the_lines_of_ones() -> None:
    # Positive sound through positive weights: the rectifiers do nothing. Rows of 2 samples, five rows a kernel, stride
    # 3: the gradient is what that kernel, held over the row, makes of a constant.
    discriminators = Discriminators(DiscriminatorShape((2,), (1, 1), (), 1)).eval()
    with torch.no_grad():
        for layer in (*discriminators.members[0].layers, discriminators.members[0].score):
            layer.weight = torch.ones_like(layer.weight)
            layer.bias.zero_()
    sound = torch.rand(16, 1, 1200, generator=torch.Generator().manual_seed(0)) + 1
    rows = measure_lessons(discriminators, sound.roll(1, 0), sound, 6000, 4, 120, 5)
    assert [(row["discriminator"], row["loss"], row["period"]) for row in rows] == [
        ("period 2", "adversarial", 6),
        ("period 2", "feature", 6),
    ]
    kernel = torch.tensor([1.0, 0, 1, 0, 1, 0, 1, 0, 1, 0]).unflatten(0, (5, 2))[:, :1].repeat(1, 2).flatten()
    expected = tone_response(kernel, 6)
    assert rows[0]["shared_hz"] == []  # with a generator of period 4, only Nyquist
    nine = measure_lessons(discriminators, sound.roll(1, 0), sound, 6000, 9, 120, 5)
    assert nine[0]["shared_hz"] == [2000.0]
    report = rows[0]["report"]
    levels = [line.level_db - report.constant_db for line in report.lines]
    assert [line.frequency for line in report.lines] == [(1000.0,), (2000.0,), (3000.0,)]
    assert levels[0] - 3.0103 == pytest.approx(expected[0].item(), abs=0.2)
    assert levels[1] - 3.0103 == pytest.approx(expected[1].item(), abs=0.2)
    assert [line.stages for line in report.lines] == [(1,), (1,), (0, 1)]
    assert [line.detected for line in report.lines] == [True, True, False]  # within a row all samples are alike


def test_untrained_members_on_speech(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--data", str(speech), "--out", str(tmp_path)]
    assert audit_discriminators.main(words) == 0
    head, columns, *table = capsys.readouterr().out.splitlines()[:8]
    assert head == f"discriminators untrained, preset tiny; 16 segments of {speech} at 16000 Hz"
    assert columns.split()[:3] == ["discriminator", "loss", "period"]
    assert [row.split()[:4] for row in table] == [
        [kind, size, loss, period]
        for kind, size, period in (("period", "2", "18"), ("period", "3", "27"), ("resolution", "64/16", "128"))
        for loss in ("adversarial", "feature")
    ]
    result = json.loads((tmp_path / "audit.json").read_text())
    assert [len(member["report"]["lines"]) for member in result["members"]] == [9, 9, 13, 13, 64, 64]
    assert all(member["report"]["examples"] == 16 for member in result["members"])
    first = result["members"][0]["report"]
    assert sum(line["detected"] for line in first["lines"]) == int(table[0].split()[4])
    shared = [line["frequency"][0] for line in first["lines"] if line["detected"] and line["frequency"][0] % 2000 == 0]
    assert result["members"][0]["shared_hz"] == shared
    assert int(table[0].split()[7]) == len(shared)
    assert first["lines"][0]["frequency"] == [pytest.approx(16000 / 18)]
    assert table[0] in (tmp_path / "audit.txt").read_text()
    assert (tmp_path / "audit.png").stat().st_size > 20_000
    before = result["members"]
    assert audit_discriminators.main(words) == 0
    assert json.loads((tmp_path / "audit.json").read_text())["members"] == before


def test_a_run_is_heard_with_its_own_discriminators(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, says in (("trained", "trained for 2 steps"), ("warm", "NEVER TRAINED, all 3 steps were warm-up")):
        run = open_run(runs / name)
        discriminators, words = audit_discriminators.open_discriminators(run, "tiny")
        assert words == f"of {name}, {says}"
        assert not discriminators.training
        capsys.readouterr()
        assert audit_discriminators.main([*SMALL, "--run", str(runs / name), "--out", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out.startswith(f"discriminators of {name}, {says}; 16 segments of")
        options = audit_discriminators.Options(segments=16, segment_size=2048, margin=128, batch_size=5)
        corpus = open_corpus(run.options.data)
        real, made = audit_discriminators.draw_segments((*corpus.test, *corpus.valid), 16000, run, options)
        assert real.shape == made.shape == (16, 1, 2048)
        rows = measure_lessons(discriminators, real, made, 16000, 8, 128, 5)
        saved = json.loads((tmp_path / name / "audit.json").read_text())["members"]
        assert [row["report"].rms for row in rows] == pytest.approx([member["report"]["rms"] for member in saved])


def test_real_and_generated_begin_together_at_no_multiple_of_the_hop(runs: Path, speech: Path) -> None:
    run = open_run(runs / "trained")

    class Copy(torch.nn.Module):
        def forward(self, mel: torch.Tensor) -> torch.Tensor:  # the number of its frame, eight times each
            return torch.arange(mel.shape[-1]).repeat_interleave(8).view(1, 1, -1).float()

    options = audit_discriminators.Options(segments=40, segment_size=2048)
    clips = open_corpus(str(speech)).train
    _, made = audit_discriminators.draw_segments(clips, 16000, dataclasses.replace(run, generator=Copy()), options)
    places = {int((segment == 0).sum()) % 8 for segment in made}
    assert places == set(range(8))
    # Without a run the targets are other segments of the same speech.
    real, same = audit_discriminators.draw_segments(clips, 16000, None, options)
    assert torch.equal(real[1:], same[:-1])
    assert not torch.equal(real[0], same[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--segments", "2"], "--segments must be at least 3, got 2"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--margin", "-1"], "--margin must be at least 0, got -1"),
        (["--segment-size", "700"], "--segment-size must be at least 768, 4 periods of 128 samples and the margins"),
        (["--segment-size", "17000"], "--segment-size 17000: none of 2 held-out clips is that long"),
        (["--run", "nowhere"], "nowhere holds no run of train_vocoder.py"),
        (["--run", "nowhere", "--preset", "v1"], "--preset is for untrained discriminators"),
        (["--data", "nowhere"], "data must be a folder"),
    ],
    ids=str,
)
def test_refusals(
    words: list[str], message: str, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit_discriminators.main([*SMALL, "--data", str(speech), "--out", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"audit_discriminators: {message}")


def test_weights_of_other_sizes_are_refused(runs: Path) -> None:
    run = open_run(runs / "trained")
    other = dataclasses.replace(SHAPE, periods=(2, 5, 7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", dataclasses.replace(PRESETS["tiny"], discriminators=other))
        with pytest.raises(ValueError, match=r"step-000003 does not fit the preset tiny: "):
            audit_discriminators.open_discriminators(run, "tiny")
    assert math.prod(strides_of(Discriminators(other).members[2])) == 7 * 9
