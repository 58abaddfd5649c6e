"""Probing models that are not careful: what they write into, keep, catch and cannot do."""

import numpy as np
import pytest
import torch
from torch import nn

from audioup import assert_tone_free, probe

RATE = 16000


def sings():
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose1d(8, 8, 4, 2, 1), nn.LeakyReLU(0.1), nn.ConvTranspose1d(8, 1, 16, 8, 4))


@pytest.fixture
def x():
    return 1 + 0.3 * torch.randn(1, 8, 1200, generator=torch.Generator().manual_seed(1))


class Wrapped(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.inner, self.how = sings(), forward
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x):
        return self.how(self, x)


def drops(report):
    return np.array([trial.drop_db for trial in report.attribution.trials])


def test_every_input_is_run_with_the_stage_held(x):
    one = drops(probe(sings(), x, RATE, seconds=1))
    two = probe(sings(), [x, x.flip(-1), x.roll(7, -1)], RATE, seconds=1)
    assert drops(two).max() > 60
    assert drops(two).max() > one.max() - 10


def test_a_stage_that_runs_in_chunks_is_not_held_by_halves(x):
    model = Wrapped(lambda self, x: torch.cat([self.inner(c) for c in x.split(160, -1)], -1))
    trials = probe(model, x, RATE, seconds=1).attribution.trials
    assert all(trial.drop_db == () for trial in trials)
    assert all("runs 8 times, and 1 on a short input" in trial.note for trial in trials)


def test_the_input_stays_as_it_was_and_each_run_gets_it(x):
    before = x.clone()
    report = probe(Wrapped(lambda self, x: self.inner(x.mul_(0.5))), x, RATE, seconds=1)
    assert torch.equal(x, before)
    plain = probe(Wrapped(lambda self, x: self.inner(x * 0.5)), x, RATE, seconds=1)
    np.testing.assert_allclose(drops(report), drops(plain), atol=0.1)


def test_buffers_begin_every_run_and_end_as_they_were(x):
    def forward(self, x):
        self.mean += x.mean()
        return self.inner(x) + self.mean

    model = Wrapped(forward)
    buffer = model.mean
    probe(model, x, RATE, seconds=1)
    assert model.mean is buffer
    assert model.mean.item() == 0


def test_an_error_that_the_model_catches_does_not_derail_the_names(x):
    class Bad(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    def forward(self, x):
        try:
            return self.bad(x)
        except RuntimeError:
            return nn.functional.interpolate(self.inner(x), scale_factor=2)

    model = Wrapped(forward)
    model.bad = Bad()
    report = probe(model, x, RATE, seconds=1, attribute=False)
    assert [stage.name for stage in report.stages] == ["inner.0", "inner.2", "(model)"]


def test_a_made_up_input_that_fails_does_not_cost_the_verdict(x):
    model = Wrapped(lambda self, x: self.inner((x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)))
    report = probe(model, x, RATE, seconds=1, attribute=False)
    assert report.real.lines
    assert report.constant.verdict == "not testable: the output on constant input holds NaN or infinity"
    assert assert_tone_free(model, inputs=x, sample_rate=RATE, below_db=100).lines


def test_a_trial_that_fails_is_a_note(x):
    # Held at order 1, this kernel gives nothing, and nothing cannot be brought to a peak of 0.1.
    model = Wrapped(lambda self, x: 0.1 * (y := self.inner(x)) / y.abs().amax())
    model.inner = nn.ConvTranspose1d(8, 1, 8, 8, bias=False)
    model.inner.weight.data = torch.tensor([1.0, -1] * 4).expand(8, 1, 8).clone()
    (trial,) = probe(model, torch.cat([x, x], -1), RATE, seconds=1).attribution.trials
    assert trial.note.startswith("could not be tried: the output on real input holds NaN")


def test_lines_from_a_way_past_the_stages_are_said_to_be(x):
    model = Wrapped(lambda self, x: 1e-3 * self.inner(x) + self.past(x))
    model.past = nn.ConvTranspose1d(8, 1, 16, 16)
    notes = probe(model, x, RATE, seconds=1).notes
    assert any("they come from elsewhere" in note for note in notes)


def test_several_channels_are_not_certified_by_the_first(x):
    model = Wrapped(
        lambda self, x: torch.cat([0 * self.inner(x) + 1e-4 * torch.randn(1, 1, 16 * x.shape[-1]), self.inner(x)], 1)
    )
    assert probe(model, x, RATE, seconds=1, attribute=False).channels == 2
    with pytest.raises(ValueError, match="the sound has 2 channels"):
        assert_tone_free(model, inputs=x, sample_rate=RATE, below_db=-60)
    with pytest.raises(AssertionError, match="a tone at"):
        assert_tone_free(model, inputs=x, sample_rate=RATE, below_db=-60, call=lambda x: model(x)[:, 1:])
