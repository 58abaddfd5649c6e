"""Stages are found by what runs, whoever wrote the network."""

import warnings

import pytest
import torch
from encodec import EncodecModel
from encodec.modules.seanet import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer
from networks import Conditioned, Functional, NoiseBranch, Shuffle, Transposed, Unet
from published_models import BIGVGAN, HIFIGAN, bigvgan, hifigan
from reference import one_thread  # noqa: F401
from torch import nn
from torch.nn.utils import parametrizations
from vocos.heads import ISTFTHead
from vocos.models import VocosBackbone

from audioup import ResizeConv1d, SubPixelConv1d, TransposedConv1d
from audioup.stages import find_stages

MEL = torch.randn(1, 8, 20, generator=torch.Generator().manual_seed(0))
SOUND = torch.randn(1, 1, 3000, generator=torch.Generator().manual_seed(0))
UP_BY_4 = nn.ConvTranspose1d(8, 1, 8, 4, 2)


def found(model: nn.Module, x: torch.Tensor = MEL, step: int = 48, call=None):
    with torch.no_grad():
        return find_stages(model.eval(), x, step, call)


def rows(model: nn.Module, x: torch.Tensor = MEL, step: int = 48):
    return [(stage.name, stage.kind, stage.stride) for stage in found(model, x, step).stages]


def test_hifigan_with_old_weight_norm():
    model, mel = hifigan()
    assert rows(model, mel[:1]) == [
        (f"ups.{n}", "conv_transpose1d", s) for n, s in enumerate(HIFIGAN["upsample_rates"])
    ]


def test_bigvgan_and_its_oversampled_activations():
    model, mel = bigvgan(BIGVGAN)
    schedule = found(model, mel)
    assert [(stage.name, stage.stride, stage.position) for stage in schedule.stages] == [
        ("ups.0.0", 4, 0),
        ("ups.1.0", 2, 1),
    ]
    # Six activations in each of two blocks a stage, and one at the end: up by 2 and down again.
    assert len(schedule.others) == 25
    assert {(stage.stride, stage.position, stage.rate_out / stage.rate_in) for stage in schedule.others} == {
        (2, None, 2)
    }
    assert schedule.others[0].name == "resblocks.0.activations.0.upsample"
    assert schedule.rate == 8


def test_encodec_decoder_and_whole():
    strides = [8, 5, 4, 2]
    decoder = SEANetDecoder(n_filters=2, dimension=8)
    names = [f"model.{n}.convtr.convtr" for n in (3, 6, 9, 12)]
    assert rows(decoder) == [(name, "conv_transpose1d", s) for name, s in zip(names, strides, strict=True)]
    parts = SEANetEncoder(n_filters=2, dimension=8), decoder, ResidualVectorQuantizer(8, n_q=2, bins=16)
    whole = EncodecModel(*parts, [1.5], 24000, 1)
    schedule = found(whole, SOUND, 2560)
    assert [(stage.name, stage.stride) for stage in schedule.stages] == [
        (f"decoder.{name}", s) for name, s in zip(names, strides, strict=True)
    ]
    assert [stage.rate_out for stage in schedule.stages] == [1 / 40, 1 / 8, 1 / 2, 1]
    assert schedule.rate == 1


@pytest.mark.parametrize(("padding", "kind"), [("center", "istft"), ("same", "fold")])
def test_vocos_has_one_stage(padding: str, kind: str):
    model = nn.Sequential(VocosBackbone(8, 16, 32, 2), ISTFTHead(16, 64, 16, padding))
    assert rows(model) == [("1.istft", kind, 16)]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(UP_BY_4, nn.Upsample(scale_factor=2)), [("0", "conv_transpose1d", 4), ("1", "interpolate", 2)]),
        (
            nn.Sequential(nn.Upsample(scale_factor=3, mode="linear"), nn.Conv1d(8, 1, 3)),
            [("0", "interpolate", 3)],
        ),
        (nn.Sequential(Shuffle(8, 4, 5), Shuffle(4, 1, 3, last=True)), [("0", "reshape", 5), ("1", "reshape", 3)]),
        (
            Functional(),
            [("(model)", "interpolate", 3), ("(model)", "conv_transpose1d", 4), ("(model)", "__setitem__", 2)],
        ),
        (Conditioned(), [("ups.0", "conv_transpose1d", 4), ("ups.1", "conv_transpose1d", 2)]),
        (nn.Sequential(nn.Sequential(nn.Sequential(UP_BY_4)), nn.Tanh()), [("0.0.0", "conv_transpose1d", 4)]),
        (parametrizations.weight_norm(nn.ConvTranspose1d(8, 1, 8, 4, 2)), [("(model)", "conv_transpose1d", 4)]),
        (nn.Sequential(nn.ConvTranspose1d(8, 1, 9, 4)), [("0", "conv_transpose1d", 4)]),  # longer than stride * T
        (
            nn.Sequential(nn.Unflatten(1, (8, 1)), nn.ConvTranspose2d(8, 1, (1, 8), (1, 4)), nn.Flatten(1, 2)),
            [("1", "conv_transpose2d", 4)],
        ),
        (
            nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 4, 1), nn.PixelShuffle(2), nn.Flatten(1, 2)),
            [("2", "pixel_shuffle", 2)],
        ),
        (
            nn.Sequential(SubPixelConv1d(8, 4, 3, 8), ResizeConv1d(4, 4, 3, 2), TransposedConv1d(4, 1, 8, 4)),
            [("0", "conv_transpose1d", 8), ("1", "conv_transpose1d", 2), ("2", "conv_transpose1d", 4)],
        ),
        (
            nn.Sequential(
                SubPixelConv1d(8, 4, 3, 8, engine="polyphase"), TransposedConv1d(4, 1, 9, 4, engine="polyphase")
            ),
            [("0", "reshape", 8), ("1", "reshape", 4)],
        ),
    ],
)
def test_every_way_to_upsample(model: nn.Module, expected: list[tuple[str, str, int]]):
    assert rows(model) == expected


def test_the_sound_is_the_first_of_the_tensors_that_grow_most_and_its_axis_is_known():
    schedule = found(Functional())
    assert (schedule.output, schedule.axis, schedule.rate) == (1, -2, 24)


def test_branches_that_rise_side_by_side_are_one_stage():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.up = UP_BY_4, nn.Conv1d(8, 1, 1), nn.Upsample(scale_factor=4)

        def forward(self, x):
            return self.a(x) + self.up(self.b(x))

    (stage,) = found(Both()).stages
    assert (stage.name, stage.stride, [rise.call.module for rise in stage.rises]) == ("a", 4, ["a", "up"])


def test_a_noise_branch_counts_as_far_as_it_is_brought_down():
    schedule = found(NoiseBranch())
    assert [(stage.name, stage.stride) for stage in schedule.stages] == [("ups.0", 4), ("ups.1", 8)]
    assert [rise.call.module for rise in schedule.stages[0].rises] == ["ups.0", "f0_up"]
    assert (schedule.output, schedule.others) == (0, ())


def test_of_branches_of_other_rates_the_one_of_most_steps_counts():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.side = nn.Sequential(nn.Conv1d(8, 1, 1), nn.Upsample(scale_factor=8))
            self.main = nn.Sequential(UP_BY_4, nn.Upsample(scale_factor=2))

        def forward(self, x):
            return self.side(x) + self.main(x)

    schedule = found(Both())
    assert [(stage.name, stage.stride) for stage in schedule.stages] == [("main.0", 4), ("main.1", 2)]
    assert [(stage.name, stage.stride, stage.position) for stage in schedule.others] == [("side.1", 8, None)]


def test_sound_to_sound_has_the_decoders_strides():
    schedule = found(Unet(), SOUND, 960)
    assert [(stage.name, stage.stride) for stage in schedule.stages] == [("up.0", 2), ("up.1", 4)]


def test_codes_are_embedded_and_upsampled():
    model = nn.Sequential(nn.Embedding(16, 8), Transposed(), nn.ConvTranspose1d(8, 1, 8, 4, 2))
    assert rows(model, torch.arange(12)[None]) == [("2", "conv_transpose1d", 4)]


def test_a_ratio_of_no_integer_stands_for_its_numerator():
    model = nn.Sequential(UP_BY_4, nn.Upsample(scale_factor=1.5))
    stage = found(model).stages[1]
    assert (stage.stride, stage.integer, stage.rate_in, stage.rate_out) == (3, False, 4.0, 6.0)
    # Up by 3 and down by 2 is the same, from one step that is undone in part.
    model = nn.Sequential(UP_BY_4, nn.Upsample(scale_factor=3), nn.AvgPool1d(2))
    assert [(stage.stride, stage.integer, stage.rate_out) for stage in found(model).stages] == [
        (4, True, 4),
        (3, False, 6),
    ]


def test_what_is_scripted_is_named_after_the_module_around_it():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        inner = torch.jit.script(nn.ConvTranspose1d(8, 4, 8, 4, 2))
    model = nn.Sequential(nn.Conv1d(8, 8, 1), inner, nn.ConvTranspose1d(4, 1, 4, 2, 1))
    assert rows(model) == [("(model)", "Sequential", 8)]
    assert rows(inner) == [("(model)", "RecursiveScriptModule", 4)]


def test_modules_run_by_a_function_of_the_callers():
    model = nn.ModuleDict({"up": UP_BY_4})
    schedule = found(model, call=lambda x: [model["up"](2 * x)])
    assert [(stage.name, stage.stride) for stage in schedule.stages] == [("up", 4)]


class Ignores(nn.Module):
    def forward(self, x):
        return torch.randn(1, 1, 4 * x.shape[-1])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv1d(8, 1, 3), "no upsampling found on the way to the output: no call gives more samples than go in"),
        (Ignores(), "it is not made from the input"),
        (nn.AdaptiveAvgPool1d(100), r"must grow with the input's last axis, got shapes \[\(1, 8, 100\)\] and"),
    ],
)
def test_where_there_are_none_it_is_said(model: nn.Module, message: str):
    with pytest.raises(ValueError, match=message):
        found(model)


def test_an_output_without_tensors_is_named():
    with pytest.raises(ValueError, match="must return tensors, got ndarray"):
        found(UP_BY_4, call=lambda x: UP_BY_4(x).numpy())


def test_a_stage_becomes_plain_values():
    (stage,) = found(UP_BY_4).stages
    assert stage.to_dict() == {
        "name": "(model)",
        "kind": "conv_transpose1d",
        "position": 0,
        "stride": 4,
        "rate_in": 1.0,
        "rate_out": 4.0,
        "integer": True,
        "rises": [{"module": "", "function": "conv_transpose1d", "occurrence": 0}],
    }
