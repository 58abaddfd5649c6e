"""Drops of lines whose levels are known: absolute, by stage, latest first."""

import json
import math

import pytest
import torch
from networks import Shuffle
from reference import noise, one_thread  # noqa: F401
from sounds import RATE, dbfs
from torch import nn

from audioup.attribution import attribute_lines
from audioup.measure import measure_tones
from audioup.regularity import project
from audioup.stages import find_stages

FRAMES = 8000
MEAN = 0.2
X = MEAN + 0.02 * noise(1, 1, FRAMES)


@torch.no_grad()
def attributed(model: nn.Module, x: torch.Tensor = X):
    model.double().eval()

    def run():
        return [model(x)[0, 0].numpy()]

    stages = find_stages(model, x, 48).stages
    sounds = run()
    report = measure_tones(sounds, RATE, [stage.stride for stage in stages])
    return attribute_lines(model, stages, report, sounds, [run], run), report


def transposed(kernel: torch.Tensor, stride: int) -> nn.Module:
    spare = kernel.numel() - stride
    layer = nn.ConvTranspose1d(1, 1, kernel.numel(), stride, max(0, spare // 2), max(0, -spare), bias=False)
    layer.weight.data = kernel.view(1, 1, -1)
    return layer


@torch.no_grad()
def test_a_planted_tone_is_found_at_its_stage_and_falls_there_alone():
    # A clean stage of stride 8, then a shuffle of stride 4 whose biases are a cosine of 0.01 at a quarter of the rate.
    clean = transposed(project(torch.hann_window(16, dtype=torch.float64), 8, 1), 8)
    shuffle = Shuffle(1, 1, 4)
    shuffle.conv.weight.data = torch.tensor([0.0, 1, 0]).view(1, 1, 3).repeat(4, 1, 1)
    shuffle.conv.bias.data = 0.01 * torch.tensor([1.0, 0, -1, 0])
    attribution, _ = attributed(nn.Sequential(clean, shuffle))
    assert attribution.frequencies_hz[0] == RATE / 4
    assert attribution.before_dbfs[0] == pytest.approx(dbfs(0.01), abs=0.02)
    late, early = attribution.trials
    assert (late.name, late.position, late.projected) == ("1", 1, True)
    assert late.at_least[0]
    assert late.drop_db[0] > 40
    # Of the sound, whose power is nearly that of its mean, the cosine has half its square.
    assert late.change_db == pytest.approx(10 * math.log10(0.01**2 / 2 / (MEAN**2 + 0.01**2 / 2)), abs=0.2)
    assert (early.name, early.projected, early.change_db, early.note) == ("0", False, None, "is of order 1 already")
    assert set(early.drop_db) == {0.0}


@torch.no_grad()
def test_the_drop_is_absolute_where_a_branch_keeps_half_the_line():
    # Two branches of one stage leave the same line; that of two taps at stride 4 cannot be held at order 1.
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.long, self.short = transposed(torch.tensor([1.0, 1, 0, 0]), 4), transposed(torch.ones(2), 4)

        def forward(self, x):
            return self.long(x) + self.short(x)

    attribution, _ = attributed(Both())
    (trial,) = attribution.trials
    index = attribution.frequencies_hz.index(RATE / 4)
    # Each: 1, 1, 0, 0 times the mean, |DFT| / 4 = sqrt(2) / 4, and a sine has twice that.
    each = 2 * MEAN * math.sqrt(2) / 4
    assert attribution.before_dbfs[index] == pytest.approx(dbfs(2 * each), abs=0.1)
    assert trial.after_dbfs[index] == pytest.approx(dbfs(each), abs=0.1)
    assert trial.drop_db[index] == pytest.approx(20 * math.log10(2), abs=0.05)
    assert not trial.at_least[index]
    assert "kernel is too short" in trial.note


@torch.no_grad()
def test_each_stage_has_its_own_line_and_shares_are_never_made():
    first = transposed(torch.tensor([1.0, 1, 1, 1.2]), 4)
    second = transposed(torch.tensor([1.0, 1.1]), 2)
    attribution, report = attributed(nn.Sequential(first, second))
    late, early = attribution.trials
    drops = {f: (a, b) for f, a, b in zip(attribution.frequencies_hz, late.drop_db, early.drop_db, strict=True)}
    # fs / 2 is the second stage's; fs / 8 is the first's, which the second only passes on.
    assert drops[RATE / 2][0] > 40
    assert abs(drops[RATE / 2][1]) < 0.1
    assert drops[RATE / 8][1] > 40
    assert abs(drops[RATE / 8][0]) < 0.1
    text = str(attribution)
    assert text.splitlines()[0].startswith("drop in dB, at Hz")
    assert [line.split()[1] for line in text.splitlines()[2:4]] == ["1", "0"]
    assert ">= " in text
    assert "%" not in text
    assert json.loads(json.dumps(attribution.to_dict(), allow_nan=False))["trials"][0]["name"] == "1"
    assert len(attribution.frequencies_hz) == sum(line.detected for line in report.lines)


@torch.no_grad()
def test_a_stage_that_cannot_be_projected_has_no_drops_and_its_reason():
    attribution, _ = attributed(nn.Sequential(transposed(torch.ones(2), 4)))
    (trial,) = attribution.trials
    assert (trial.projected, trial.drop_db, trial.after_dbfs, trial.change_db) == (False, (), (), None)
    assert trial.note.startswith("could not be held at order 1: conv_transpose1d: kernel is too short")
    assert " - " in str(attribution).splitlines()[2] + " "


@torch.no_grad()
def test_a_change_that_makes_another_sound_is_marked():
    model = nn.Sequential(transposed(torch.tensor([1.0, 0, 0, 0]), 4))
    attribution, _ = attributed(model)
    (trial,) = attribution.trials
    # Energy 1/4 of the difference per sample: 0.75^2 + 3 * 0.25^2 over 1.
    assert trial.change_db == pytest.approx(10 * math.log10(0.75), abs=0.01)
    assert "another sound" in str(attribution)
