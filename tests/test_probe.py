"""The probe of whole networks: verdict of real input, what constants would have said, and nothing left behind."""

import json
import math

import pytest
import torch
from encodec import EncodecModel
from encodec.modules.seanet import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer
from networks import Functional, Transposed, Unet
from published_models import BIGVGAN, bigvgan
from reference import one_thread  # noqa: F401
from torch import nn

from audioup import regular
from audioup.probe import probe

RATE = 16000
MEL = torch.randn(1, 8, 1600, generator=torch.Generator().manual_seed(0))
SHORT = {"seconds": 1.5}


def free() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose1d(8, 4, 16, 8, 4), nn.LeakyReLU(0.1), nn.ConvTranspose1d(4, 1, 4, 2, 1))


def order_1() -> nn.Module:
    """Silent on constants by construction; with enough channels to have something to rectify."""
    torch.manual_seed(0)
    up = regular(nn.ConvTranspose1d(8, 16, 24, 8, 8), 1, init="project")
    return nn.Sequential(up, nn.LeakyReLU(0.1), nn.Conv1d(16, 1, 1))


def state(model: nn.Module):
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return modes, hooks, [value.clone() for value in model.state_dict().values()], torch.get_rng_state()


def same(a, b) -> bool:
    values = all(torch.equal(x, y) for x, y in zip(a[2], b[2], strict=True))
    return a[:2] == b[:2] and values and torch.equal(a[3], b[3])


def test_a_network_with_tones_is_measured_on_four_signals_and_attributed():
    report = probe(free(), 1 + 0.3 * MEL, RATE, **SHORT)
    assert report.strides == (8, 2)
    assert [(stage.name, stage.rate_in, stage.rate_out) for stage in report.stages] == [("0", 1, 8), ("2", 8, 16)]
    assert report.verdict == report.real.verdict == "tones"
    assert [r.strides for r in (report.real, report.silence, report.constant, report.noise)] == [(8, 2)] * 4
    assert report.real.duration_s == 1600 * 16 / RATE
    assert report.noise.duration_s == report.silence.duration_s == report.constant.duration_s == 1.5
    late, early = report.attribution.trials
    assert [late.name, early.name] == ["2", "0"]
    lines = report.attribution.frequencies_hz
    nyquist, quarter = lines.index(RATE / 2), lines.index(RATE / 4)
    # The second stage's own line; that at a quarter of the rate is the first's, at half its own rate.
    assert late.drop_db[nyquist] > 60
    assert late.at_least[nyquist]
    assert early.drop_db[quarter] > 30
    assert abs(late.drop_db[quarter]) < 1
    assert any("proves nothing about speech" in note for note in report.notes)
    text = str(report)
    for words in ("0      conv_transpose1d  8       1 -> 8", "verdict: tones", "drop in dB, at Hz", "constant"):
        assert words in text
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["strides"] == [8, 2]
    assert plain["stages"][0]["name"] == "0"
    assert plain["attribution"]["trials"][0]["name"] == "2"
    assert plain["constant"]["verdict"] == "tones"


def test_order_1_is_silent_on_constants_and_sings_on_what_varies_and_the_report_says_so():
    # Slow, like the envelopes of speech: what varies little within a frame.
    slow = nn.functional.avg_pool1d(torch.randn(1, 8, 4008, generator=torch.Generator().manual_seed(1)), 9, 1)
    report = probe(order_1(), slow, RATE)
    assert report.real.verdict == report.noise.verdict == report.verdict == "tones"
    assert report.constant.verdict.startswith("clean below -")
    assert report.silence.strongest is None
    assert report.constant.strongest is None
    assert float(report.constant.verdict.split()[2]) < -100
    certified = "tones on the real input and none on silence or a constant, which would have certified falsely"
    assert any(certified in note for note in report.notes)
    (trial,) = report.attribution.trials
    assert (trial.note, trial.projected, set(trial.drop_db)) == ("is of order 1 already", False, {0.0})
    assert any("every stage is of order 1 already: the lines are made of what varies" in note for note in report.notes)
    # In the network that has tones everywhere nothing of the kind is said.
    assert not any("certified" in note for note in probe(free(), MEL, RATE, attribute=False, **SHORT).notes)


def test_lists_of_lengths_and_batches_are_measured_together():
    parts = [MEL[..., :790], MEL[..., 790:]]
    assert probe(free(), parts, RATE, attribute=False, **SHORT).real.clips == 2
    batch = torch.cat([MEL, MEL.flip(-1)])
    assert probe(free(), batch, RATE, attribute=False, **SHORT).real.clips == 2


def test_codes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(16, 8), Transposed(), free())
    codes = torch.randint(16, (1, 1600))
    report = probe(model, codes, RATE, **SHORT)
    assert report.strides == (8, 2)
    assert report.verdict == "tones"
    assert report.attribution.trials[0].name == "2.2"


def test_sound_to_sound_hears_zeros_as_silence():
    torch.manual_seed(0)
    heard = []

    def call(x):
        heard.append(x)
        return model(x)

    model = Unet()
    sound = 0.1 * torch.randn(1, 1, 16000)
    report = probe(model, sound, RATE, call=call, attribute=False, **SHORT)
    assert report.strides == (2, 4)
    silence, constant, noise = heard[-5:-2]
    assert silence.abs().max() == 0
    assert constant.shape == (1, 1, 40000)  # half a second more at either end
    assert constant.unique().numel() == 1
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05)
    assert any("silence is zeros" in note for note in report.notes)


def test_other_peoples_networks():
    model, mel = bigvgan(BIGVGAN, frames=1600)
    report = probe(model, mel, RATE, **SHORT)
    assert report.strides == (4, 2)
    assert [trial.projected for trial in report.attribution.trials] == [True, True]
    assert "not on the way to the sound, or undone on it: 25 more (conv_transpose1d)" in str(report)
    decoder = SEANetDecoder(n_filters=2, dimension=8)
    report = probe(decoder, torch.randn(1, 8, 80), 24000, attribute=False, **SHORT)
    assert report.strides == (8, 5, 4, 2)
    parts = SEANetEncoder(n_filters=2, dimension=8), decoder, ResidualVectorQuantizer(8, n_q=2, bins=16)
    whole = EncodecModel(*parts, [1.5], 24000, 1)
    report = probe(whole, 0.1 * torch.randn(1, 1, 24000), 24000, attribute=False, seconds=1.0)
    assert report.strides == (8, 5, 4, 2)
    # Its codebooks are empty before training.
    assert any("the output does not depend on the input" in note for note in report.notes)


def test_functional_calls_and_channels():
    torch.manual_seed(0)
    model = Functional()
    assert probe(model, MEL[..., :1000], RATE, attribute=False, **SHORT).strides == (3, 4, 2)
    stereo = nn.Sequential(nn.ConvTranspose1d(8, 2, 16, 8, 4))
    report = probe(stereo, MEL, RATE, attribute=False, **SHORT)
    assert any("the sound has 2 channels: the first was measured" in note for note in report.notes)
    assert report.real.clips == 1


def test_too_little_input_is_not_clean_and_what_is_missing_is_said():
    report = probe(free(), MEL[..., :20], RATE, **SHORT)
    assert report.verdict.startswith("not testable")
    # 12 blocks of 64 periods of 16 samples.
    assert any("at least 0.77 s of sound, 768 frames" in note for note in report.notes)
    assert probe(free(), MEL[..., :1], RATE, **SHORT).verdict.startswith("not testable")


def test_every_run_hears_the_same_random_numbers():
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = free()

        def forward(self, x):
            return self.net(x + torch.randn_like(x))

    model = Noisy()
    torch.manual_seed(5)
    a = probe(model, MEL, RATE, **SHORT)
    torch.manual_seed(6)
    assert probe(model, MEL, RATE, **SHORT) == a


def test_nothing_is_left_behind_also_after_an_error():
    model = free()
    model[1].eval()
    model.register_forward_hook(lambda *_: None)
    before = state(model)
    probe(model, MEL, RATE, **SHORT)
    assert same(before, state(model))
    assert torch.is_grad_enabled()
    calls = []

    def fails(x):
        calls.append(model.training)
        if len(calls) == 5:
            raise RuntimeError("fails")
        return model(x)

    with pytest.raises(RuntimeError, match="fails"):
        probe(model, MEL, RATE, call=fails, **SHORT)
    assert calls == [False] * 5
    assert same(before, state(model))


def test_the_type_is_the_models():
    model = free().double()
    assert probe(model, MEL, RATE, **SHORT).verdict == "tones"


class Bursts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = free()

    def forward(self, x):
        y = self.net(x)
        return y / 0 if x.shape[-1] == 2500 else y


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((free(), [], RATE), "inputs must hold at least one tensor"),
        ((free(), torch.full((1, 8, 9), math.nan), RATE), "inputs must be finite, got NaN or infinity at index 0"),
        ((free(), torch.zeros(1, 8, 0), RATE), "at least one frame"),
        ((free(), MEL, 0), "sample_rate must be an integer >= 1, got 0"),
        ((nn.Conv1d(8, 1, 3), MEL, RATE), "no upsampling found"),
        ((nn.AdaptiveAvgPool1d(10), MEL, RATE), "the output must grow with the input's last axis"),
        ((Bursts(), torch.cat([MEL, MEL], -1)[..., :2500], RATE), "the output on real input holds NaN or infinity"),
    ],
)
def test_wrong_arguments_are_named(arguments, message: str):
    with pytest.raises(ValueError, match=message):
        probe(*arguments, **SHORT)


def test_what_is_no_sound_is_named():
    for seconds in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"seconds must be above 0 and finite, got {seconds}"):
            probe(free(), MEL, RATE, seconds=seconds)
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        probe(lambda x: x, MEL, RATE)
    model = free()
    with pytest.raises(ValueError, match=r"floating point, got torch.int64: have `call` return sound"):
        probe(model, MEL, RATE, call=lambda x: model(x).long())
    loud = nn.Sequential(free(), nn.Hardtanh(1e5, 2e5))
    with pytest.raises(ValueError, match="the output on real input cannot be measured: audio reaches"):
        probe(loud, MEL, RATE)


def test_ratios_of_no_integer_are_flagged():
    model = nn.Sequential(free(), nn.Upsample(scale_factor=1.5))
    report = probe(model, MEL, RATE, attribute=False, **SHORT)
    assert report.strides == (8, 2, 3)
    assert any(
        "goes from 16 to 24 samples a frame, no integer ratio: 3 stands for its stride" in n for n in report.notes
    )
