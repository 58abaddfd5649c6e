"""The comparison of upsamplers: its lines, its goal, its bookkeeping."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import compare_upsamplers
import comparison.phases
import numpy as np
import pytest
import torch
from comparison.curves import read_curves
from comparison.draw import draw_all, draw_quality
from comparison.goal import judge
from comparison.lines import in_brief, other_inputs, without_lines
from comparison.measuring import Measuring
from comparison.phases import Phase, phases_of, write_json
from comparison.speeds import count_multiply_adds, measure_speeds
from comparison.tables import blocks, markdown, text
from comparison.variants import BASELINE, OURS, VARIANTS
from lightning_fabric import Fabric
from matplotlib.axes import Axes
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from vocoder.data import Clip, Corpus, listing_digest
from vocoder.model import Generator
from vocoder.options import Options, resolve
from vocoder.presets import PRESETS

from audioup import measure_tones

# --- lines and the goal ---


def test_other_inputs_are_whole_frames_and_the_same_again():
    inputs = other_inputs(16000, 256)
    assert list(inputs) == ["silence", "sustained notes", "drums", "white noise"]
    assert all(len(clip) % 256 == 0 for clips in inputs.values() for clip in clips)
    assert all(sum(map(len, clips)) >= 29.9 * 16000 for clips in inputs.values())
    assert inputs["silence"][0].abs().max() == 0
    again = other_inputs(16000, 256)
    assert all(torch.equal(a, b) for name in inputs for a, b in zip(inputs[name], again[name], strict=True))


def test_lines_in_brief():
    rng = np.random.default_rng(0)
    sound = 1e-3 * rng.standard_normal(48000) + 0.01 * np.sin(np.pi / 4 * np.arange(48000))
    brief = in_brief(measure_tones(sound, 16000, (8, 8, 4)))
    assert (brief["detected"], brief["lines"], len(brief["upper_dbfs"])) == (1, 128, 128)
    assert brief["strongest_hz"] == 2000
    assert -40 < brief["upper_dbfs"]["2000"] < -39.5
    assert brief["strongest_dbfs"] == pytest.approx(-40, abs=0.05)


def test_lines_are_taken_out_as_loud_as_they_are():
    rng = np.random.default_rng(0)
    n = torch.arange(16000)
    speech = torch.from_numpy(0.05 * rng.standard_normal(16000)).float()
    pattern = torch.cos(2 * torch.pi * n / 8) + 0.5 * torch.sin(2 * torch.pi * 3 * n / 16)
    level = torch.where(n < 8192, 0.1, 0.02)
    (rest,) = without_lines([speech + level * pattern], 16)
    left, own = rest.double() @ pattern.double(), speech.double() @ pattern.double()
    assert abs(left) < 0.02 * abs(own + (level * pattern).double() @ pattern.double())
    torch.testing.assert_close(rest[:8192].square().mean(), speech[:8192].square().mean(), rtol=0.05, atol=0)
    assert torch.equal(without_lines([torch.zeros(100)], 16)[0], torch.zeros(100))
    assert len(without_lines([speech[:1001] + pattern[:1001], speech[:70]], 16)[1]) == 70


def row(upper: dict[str, float], detected: int, mel_l1: float, factor: float) -> dict[str, Any]:
    brief = {
        "upper_dbfs": upper,
        "detected": detected,
        "lines": len(upper),
        "strongest_dbfs": -40.0 if detected else None,
        "strongest_hz": 500.0 if detected else None,
        "bound_dbfs": max(upper.values()),
        "total_dbfs": -39.0,
    }
    names = ("speech", "silence", "sustained notes", "drums", "white noise")
    cost = {
        "parameters": 1000,
        "multiply_adds": 2e6,
        "real_time_factor": factor,
        "step_s": 0.1,
        "adversarial_step_s": 0.5,
    }
    return {"lines": dict.fromkeys(names, brief), "quality": {"mel_l1": mel_l1, "pesq_wb": None}, "cost": cost}


RECORDINGS = row({"500": -60.0, "1000": -90.0}, 0, 0.0, 0.01)


def test_the_goal_is_met_up_to_its_limits():
    baseline = row({"500": -20.0, "1000": -30.0}, 2, 0.5, 0.01)
    met = judge(row({"500": -57.0, "1000": -75.0}, 0, 0.51, 0.012), baseline, RECORDINGS)
    assert met["over_db"] == {}
    assert met["met"] == {"level": True, "detected": True, "mel_l1": True, "real_time_factor": True}
    missed = judge(row({"500": -56.5, "1000": -74.0}, 1, 0.511, 0.0121), baseline, RECORDINGS)
    assert missed["over_db"] == {"500": 0.5, "1000": 1.0}
    assert not any(missed["met"].values())
    assert missed["mel_l1_ratio"] == pytest.approx(1.022)


def test_what_cannot_be_tested_meets_nothing():
    baseline = row({"500": -20.0, "1000": -30.0}, 2, 0.5, 0.01)
    untested = row({"500": 0.0}, 0, 0.5, 0.01)
    untested["lines"]["speech"]["upper_dbfs"] = {}
    found = judge(untested, baseline, RECORDINGS)["met"]
    assert (found["level"], found["detected"]) == (False, False)
    assert judge(row({"500": -70.0, "1000": -80.0}, 0, 0.5, 0.01), baseline, untested)["over_db"] == {"500": 5.0}


def results() -> dict[str, Any]:
    rows = []
    for name, detected in ((BASELINE, 2), (OURS, 0)):
        for phase, steps in (("warm-up", 10), ("adversarial", 12)):
            for seed in (1, 2):
                one = row({"500": -57.0, "1000": -75.0}, detected, 0.5, 0.01)
                one |= {"variant": name, "phase": phase, "steps": steps, "seed": seed, "seeds": 2}
                rows.append({**one, "goal": judge(one, one, RECORDINGS), "options": {"warmup_steps": 10}})
    return {"rows": rows, "recordings": RECORDINGS, "curves": {}, "recordings_curve": -50.0}


def test_tables_hold_every_vocoder_of_every_phase():
    found = dict(blocks(results()))
    assert len(found) == 7
    title = next(title for title in found if title.startswith("Lines") and "adversarial, 12 steps" in title)
    assert found[title][1][:4] == ("transposed 1", "-40.0 at 500 Hz", "-39.0", "2 of 2")
    assert found[title][3][:4] == ("ours 1", "< -57.0", "-39.0", "0 of 2")
    assert found[title][5][0] == "recordings"
    assert "ours 2" in text(results())
    lines = markdown(results()).splitlines()
    assert all(line.count("|") == lines[2].count("|") for line in lines[2:8])


def test_pictures_are_drawn(tmp_path, monkeypatch):
    content = results()
    content["curves"] = {"transposed-1": {"mel_l1": [(5, 0.7), (10, 0.5)], "total_dbfs": [(5, -30.0)]}}
    content["rows"][0]["quality"]["pesq_wb"] = 2.0  # the others have none
    drawn: list[Any] = []
    monkeypatch.setattr(Axes, "plot", lambda axes, x, y, **_: drawn.append((x, y)))
    draw_quality(content, tmp_path / "quality.png")
    assert drawn == [(-39.0, 0.5)] * 4 + [(-39.0, 2.0)] + [(-39.0, 0.5)] * 4
    monkeypatch.undo()
    pictures = draw_all(content, tmp_path)
    assert [path.name for path in pictures] == ["harmonics.png", "quality.png", "curves.png"]
    assert all(path.stat().st_size > 10_000 for path in pictures)


# --- bookkeeping ---


def test_variants_are_options_of_the_training_program():
    known = {field.name for field in dataclasses.fields(Options)}
    for name, variant in VARIANTS.items():
        assert variant.name == name
        assert set(variant.options) <= known
        assert Generator(8, PRESETS["tiny"].generator, variant.options["upsampler"])
    assert [v.name for v in VARIANTS.values() if v.adversarial] == [
        "transposed",
        "resize-nearest",
        "regular-1-projected",
        "ours",
    ]
    upsampler = VARIANTS[OURS].options["upsampler"]
    assert VARIANTS[upsampler].options == {"upsampler": upsampler}  # its own share is known


def test_warm_up_comes_first_and_several_seeds_are_for_the_adversarial_ones():
    keys = [phase.key for phase in phases_of(["subpixel", "ours"], (1, 2), 10, 5)]
    assert keys == [
        "subpixel-1-warm-up",
        "ours-1-warm-up",
        "ours-2-warm-up",
        "ours-1-adversarial",
        "ours-2-adversarial",
    ]
    assert [phase.final for phase in phases_of(["subpixel", "ours"], (1,), 10, 5)] == [True, False, True]
    assert [phase.key for phase in phases_of(["ours"], (1, 2), 10, 0)] == ["ours-1-warm-up"]


def test_multiply_adds_of_a_convolution():
    assert count_multiply_adds(nn.Conv1d(8, 5, 7, padding="same"), 8) == 8 * 5 * 7
    assert count_multiply_adds(nn.ConvTranspose1d(8, 5, 16, 8), 8) == 8 * 5 * 16


def test_curves_keep_all_steps_of_resumed_runs_and_the_last_value_of_each(tmp_path):
    for purge, points in ((0, {1: 1.0, 2: 2.0, 3: 9.0}), (2, {3: 3.0})):
        writer = SummaryWriter(str(tmp_path / "tensorboard"), purge_step=purge, filename_suffix=f".{purge}")
        for step, value in points.items():
            writer.add_scalar("validation/mel_l1", value, step)
        writer.close()
        time.sleep(1.1)  # files are read in the order of their seconds
    assert read_curves(tmp_path) == {"mel_l1": [(1, 1.0), (2, 2.0), (3, 3.0)]}


def test_json_is_whole_and_holds_no_nan(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"x": [float("nan"), 1.0], "y": (2,)})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": [None, 1.0], "y": [2]}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


class Training:
    """Stands in for a training: writes a checkpoint."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, folder: Path, given: dict[str, Any], free: dict[str, Any]) -> dict[str, Any]:
        self.steps.append(given["steps"])
        checkpoint = folder / "checkpoints" / f"step-{given['steps']:06d}"
        checkpoint.mkdir(parents=True)
        save_file({"a": torch.full((2,), float(given["steps"]))}, checkpoint / "generator.safetensors")
        return {"training_s": 1.0, "device": "cpu", "threads": 1, "sample_rate": 16000, "clips": {}}


def test_a_phase_is_trained_once_and_its_weights_stay(tmp_path, monkeypatch):
    training = Training()
    monkeypatch.setattr(comparison.phases, "train_once", training)

    class Opened:
        def __init__(self, folder: Path) -> None:
            self.checkpoint = sorted((folder / "checkpoints").iterdir())[-1]

    monkeypatch.setattr(comparison.phases, "open_run", Opened)
    warm, adversarial = phases_of(["ours"], (1,), 10, 5)
    for _ in range(2):
        for phase in (warm, adversarial):
            phase.train(tmp_path, {"data": "x"}, {})
    assert training.steps == [10, 15]
    assert load_file(warm.weights(tmp_path))["a"].tolist() == [10, 10]
    assert load_file(adversarial.weights(tmp_path))["a"].tolist() == [15, 15]
    card = warm.card(tmp_path)["options"]
    assert card == {**VARIANTS["ours"].options, "data": "x", "steps": 10, "warmup_steps": 10, "seed": 1}
    with pytest.raises(ValueError, match=r"trained with other options \(data\)"):
        warm.train(tmp_path, {"data": "y"}, {})
    half = adversarial.publish(tmp_path, tmp_path / "published")
    assert load_file(half)["a"].dtype == torch.float16
    assert load_file(half)["a"].tolist() == [15, 15]


def test_a_phase_whose_weights_are_damaged_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison.phases, "open_run", lambda folder: None)
    phase = Phase(VARIANTS["ours"], 1, "warm-up", 10, 10)
    phase.weights(tmp_path).parent.mkdir()
    phase.weights(tmp_path).write_bytes(b"\x08")
    with pytest.raises(ValueError, match=r"ours-1-warm-up\.safetensors cannot be read"):
        phase.open(tmp_path)


def test_measured_once_until_something_differs(tmp_path):
    clip = Clip(Path("a.wav"), 16000, 16000, "a")
    corpus = Corpus(16000, (clip,), (), (clip,), (), "folder")
    found: list[int] = []

    def find() -> dict[str, Any]:
        found.append(1)
        return {"x": len(found)}

    measuring = Measuring(tmp_path, corpus, 2, "tiny")
    assert [measuring._once("a", {"k": k}, find)["x"] for k in (1, 1, 2, 2)] == [1, 1, 2, 2]
    other = Measuring(tmp_path, dataclasses.replace(corpus, test=(clip, clip)), 2, "tiny")
    assert other._held_out() != measuring._held_out()


def test_vocoders_of_other_recordings_or_devices_are_not_compared(tmp_path):
    clip = Clip(Path("a.wav"), 16000, 16000, "a")
    corpus = Corpus(16000, (clip,), (), (clip,), (), "folder")
    phases = [phase for phase in phases_of(["transposed", "subpixel"], (1,), 10, 0)]
    for phase, device in zip(phases, ("cpu", "cuda:0"), strict=True):
        write_json(tmp_path / "runs" / phase.run / "config.json", {"recordings": listing_digest([clip])})
        write_json(phase.weights(tmp_path).with_suffix(".json"), {"device": device})
    measuring = Measuring(tmp_path, corpus, 2, "tiny")
    measuring.check_alike(phases[:1])
    with pytest.raises(ValueError, match=r"different devices \(cpu, cuda\)"):
        measuring.check_alike(phases)
    with pytest.raises(ValueError, match=r"transposed-1 was trained on other recordings"):
        Measuring(tmp_path, dataclasses.replace(corpus, train=(clip, clip)), 2, "tiny").check_alike(phases[:1])


def test_speeds_are_of_each_variant():
    fabric = Fabric(accelerator="cpu")
    settings = {
        name: resolve(Options(upsampler=name, preset="tiny", batch_size=1, segment_size=2048), fabric.device)
        for name in ("transposed", "regular-1")
    }
    found = measure_speeds(settings, fabric, 16000, 1)
    for name, cost in found.items():
        generator = Generator(80, PRESETS["tiny"].generator, name)
        assert cost["parameters"] == sum(p.numel() for p in generator.parameters())
        assert cost["multiply_adds"] == count_multiply_adds(generator, 80) * 62.5
        assert 0 < cost["step_s"] < cost["adversarial_step_s"]
    # 8, 8 and 4 taps more at 62.5, 500 and 4000 frames a second; as many again where all phases get as many.
    more = 128 * 64 * 8 * 62.5 + 64 * 32 * 8 * 500 + 32 * 16 * 4 * 4000
    assert more <= found["regular-1"]["multiply_adds"] - found["transposed"]["multiply_adds"] <= 2 * more


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["--variants", "nearest"], "--variants must be different ones of transposed, "),
        (["--variants", "ours", "ours"], "--variants must be different ones"),
        (["--seeds", "1", "1"], "--seeds must be different ones"),
        (["--warmup-steps", "0"], "--warmup-steps must be at least 1, got 0"),
        (["--test-clips", "0"], "--test-clips must be at least 1, got 0"),
    ],
)
def test_refusals(tmp_path, capsys, bad, message):
    assert compare_upsamplers.main(["--out", str(tmp_path / "out"), *bad]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
