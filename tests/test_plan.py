"""Plans: where lines may be, which schedules there are, what is warned of and refused, what is said."""

import json
import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from audioup import TransposedConv1d, measure_tones
from audioup.plan import plan
from audioup.schedules import factorisations

# --- lines and overlap ---


@pytest.mark.parametrize(("sample_rate", "strides"), [(16000, (8, 8, 4)), (44100, (7, 7, 3, 3)), (11025, (5, 3))])
def test_lines_are_those_that_measure_looks_for(sample_rate, strides):
    samples = 0.1 * np.random.default_rng(0).standard_normal(3 * sample_rate)
    measured = measure_tones(samples, sample_rate, strides).lines
    stages = plan(sample_rate, math.prod(strides), strides).schedules[0].stages
    for index, stage in enumerate(stages):
        expected = [line.frequency_hz for line in measured if index in line.stages]
        planned = [n * stage.line_hz for n in range(1, stage.lines + 1)]
        assert planned == pytest.approx(expected)
        assert stage.low_lines == sum(frequency <= 8000 * (1 + 1e-12) for frequency in expected)


@pytest.mark.parametrize(("kernel_size", "stride"), [(16, 8), (7, 4), (10, 5), (11, 5), (4, 2), (3, 4), (16, 10)])
def test_warnings_say_what_is_so(kernel_size, stride):
    warnings = " ".join(plan(16000, stride, (stride,), (kernel_size,)).schedules[0].warnings)
    assert ("% stride" in warnings) == (kernel_size % stride != 0 and kernel_size > stride)
    assert ("without input" in warnings) == (kernel_size < stride)
    assert ("a sample too many" in warnings) == (kernel_size > stride and (kernel_size - stride) % 2 == 1)
    if kernel_size > stride:
        x = torch.zeros(1, 1, 9)
        hifi_gan = nn.ConvTranspose1d(1, 1, kernel_size, stride, padding=(kernel_size - stride) // 2)
        assert hifi_gan(x).shape[-1] - 9 * stride == ("a sample too many" in warnings)
        assert TransposedConv1d(1, 1, kernel_size, stride)(x).shape[-1] == 9 * stride


def test_a_fault_of_several_stages_is_told_once():
    (warning,) = plan(44100, 441, (7, 7, 3, 3)).schedules[0].warnings
    assert warning.startswith("stage 0, 1, 2, 3: kernel - stride is odd")
    warnings = plan(40000, 400, (10, 10, 2, 2), (16, 13, 4, 4)).schedules[0].warnings
    assert [words.split(":")[0] for words in warnings] == ["stage 0", "stage 1", "stage 1"]
    assert warnings[2].startswith("stage 1: kernel - stride is odd")


# --- schedules ---


def test_candidates_are_sorted_by_multiply_adds_and_hold_the_known_ones():
    report = plan(44100, 512, most=100)
    costs = [schedule.layers[0].generator.multiply_adds for schedule in report.schedules]
    assert costs == sorted(costs)
    assert report.found == len(report.schedules) == len(set(costs)) == 8
    names = {schedule.strides: schedule.published for schedule in report.schedules if schedule.published}
    assert set(names) == {(8, 4, 2, 2, 2, 2), (8, 8, 4, 2)}
    assert "BigVGAN v2" in names[8, 4, 2, 2, 2, 2][0]
    assert all(not schedule.warnings for schedule in report.schedules)
    assert [s.strides for s in plan(44100, 512, most=3).schedules] == [s.strides for s in report.schedules[:3]]


def test_a_published_schedule_keeps_its_kernels_and_its_faults():
    report = plan(40000, 400)
    (known,) = [schedule for schedule in report.schedules if schedule.published]
    assert (known.strides, known.kernel_sizes) == ((10, 10, 2, 2), (16, 16, 4, 4))
    assert [stage.overlap for stage in known.stages] == ["uneven", "uneven", "even", "even"]
    assert "RVC" in known.published[0]
    assert any(max(schedule.strides) <= 8 for schedule in report.schedules)


def test_strides_rise_only_if_asked():
    falling, any_order = plan(16000, 60, most=1000), plan(16000, 60, any_order=True, most=1000)
    assert {s.strides for s in falling.schedules} < {s.strides for s in any_order.schedules}
    assert all(a >= b for schedule in falling.schedules for a, b in pairwise(schedule.strides))
    assert len(any_order.schedules) == sum(1 for _ in factorisations(60, 8, 6, any_order=True))


# --- what it refuses ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hop_length": 0}, "hop_length must be an integer >= 1, got 0"),
        ({"hop_length": -512}, "hop_length must be an integer >= 1, got -512"),
        ({"hop_length": 512.0}, r"hop_length must be an integer >= 1, got 512\.0"),
        ({"hop_length": 1}, "hop_length must be from 2 to 65536, got 1"),
        ({"hop_length": 10**9}, "hop_length must be from 2 to 65536, got 1000000000"),
        ({"sample_rate": 0}, "sample_rate must be an integer >= 1, got 0"),
        ({"sample_rate": 10**400}, "sample_rate must be at most"),
        ({"hop_length": 509}, "hop_length 509 is prime, .* 504 = 8 x 7 x 3 x 3 and 512 = 8 x 8 x 8"),
        ({"hop_length": 502}, "hop_length 502 has the prime factor 251, .* 500 = 5 x 5 x 5 x 4 and 504 ="),
        ({"most_stages": 2}, "takes more than 2 strides up to 8, .*: 64 = 8 x 8$"),
        ({"hop_length": 52, "largest_stride": 1}, "has the prime factor 13, and strides go up to 1; .* none$"),
        ({"hop_length": 55440, "largest_stride": 99, "any_order": True}, "more than 10000 schedules"),
        ({"strides": (8, 8, 4)}, "strides 8,8,4 multiply to 256, 2 times too few samples for hop_length 512"),
        ({"strides": (8, 8, 8, 2)}, "strides 8,8,8,2 multiply to 1024, 2 times too many samples for hop_length 512"),
        ({"strides": (7, 7, 3, 3)}, "multiply to 441, 1.161 times too few"),
        ({"strides": ()}, "strides must be at least one and from 2 on, got none"),
        ({"strides": (8, 8, 8, 1)}, "from 2 on, got 8,8,8,1"),
        ({"strides": (8, 8, -8)}, "every stride must be an integer >= 1, got -8"),
        ({"strides": (8, 8, 8), "kernel_sizes": (16, 16)}, "one for each of the strides 8,8,8, got 16,16"),
        ({"strides": (8, 8, 8), "kernel_sizes": (16, 16, 0)}, "every kernel size must be an integer >= 1, got 0"),
        ({"kernel_sizes": (16, 16, 16)}, "kernel_sizes 16,16,16 need strides"),
        ({"strides": (8, 8, 8), "channels": 100}, "divisible by 8, to be halved by 3 stages, got 100"),
        ({"channels": 7}, "channels must be even"),
        ({"block_kernels": (3, 0)}, "every block kernel must be an integer >= 1, got 0"),
        ({"dilations": (1, -1)}, "every dilation must be an integer >= 1, got -1"),
        ({"most": 0}, "most must be an integer >= 1, got 0"),
        ({"block_kernels": (3,) * 65}, "at most 64 each, got 65 and 3"),
    ],
)
def test_errors_name_the_argument_and_the_rule(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(**{"sample_rate": 44100, "hop_length": 512, **arguments})


# --- what it says ---


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("strides", [None, (8, 8, 4, 2), (8, 4, 2, 2, 2, 2)])
def test_reports_are_plain_values_and_fit_a_terminal(strides, causal):
    kernel_sizes = None if strides is None else (16, 15, 7, 3, 4, 4)[: len(strides)]
    report = plan(44100, 512, strides, kernel_sizes, channels=1536, any_order=True, causal=causal)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert len(values["schedules"]) == (1 if strides else 10)
    first = values["schedules"][0]
    assert first["stages"][1]["line_hz"] == report.schedules[0].stages[1].line_hz
    assert (first["layers"][0]["generator"]["look_ahead_samples"] == 0) == causal
    assert first["warnings"] == list(report.schedules[0].warnings)
    assert max(map(len, str(report).splitlines())) <= 100
    assert "not their levels" in " ".join(str(report).split())


def test_torch_is_not_needed():
    code = "import sys, audioup.commands.plan as c; c.Plan('16000', '256').run(); sys.exit('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "8,8,2,2" in run.stdout
