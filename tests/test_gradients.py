"""Lines in gradients: those of strided layers are known from their kernels, others are planted."""

import json
import math

import pytest
import reference
import torch
from reference import noise
from torch import nn

from audioup import tone_response
from audioup.gradients import gradient_tones, measure_gradient

one_thread = reference.one_thread


def ones_(module):
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    return module.double()


def two_sided(report):
    """Amplitudes of the lines relative to the constant, two-sided, as a kernel's response has them."""
    amplitudes = []
    for line in report.lines:
        real = all(2 * f / (report.sample_rate or 1) in (0, 1) for f in line.frequency)
        level_db = line.level_db - report.constant_db - (0 if real else 10 * math.log10(2))
        amplitudes.append(10 ** (level_db / 20))
    return amplitudes


def amplitudes_of(response):
    return (10 ** (response / 20)).tolist()


# ------------------------------------------------------------------------------- lines known from the kernel


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (5, 2), (4, 3), (5, 3), (5, 4), (6, 4), (7, 4), (10, 8)])
def test_gradient_of_a_strided_convolution_has_the_lines_of_its_kernel(size, stride, padding):
    conv = ones_(nn.Conv1d(1, 1, size, stride, padding, bias=False))
    report = gradient_tones(conv, noise(4, 1, 50 * stride), [stride], margin=2 * size)
    assert two_sided(report) == pytest.approx(amplitudes_of(tone_response(torch.ones(size), stride)), abs=1e-9)
    assert all(line.detected and line.p_value < 1e-12 for line in report.lines if line.level_db > -100)
    # The gradient is periodic and the same for every example: all of it is either constant or locked.
    assert report.locked_share + 10 ** (report.constant_db / 10) == pytest.approx(1)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (4, 2), (6, 3), (8, 4), (16, 8)])
def test_no_line_where_the_size_is_a_multiple_of_the_stride(size, stride):
    conv = ones_(nn.Conv1d(2, 3, size, stride, bias=False))
    report = gradient_tones(conv, noise(20, 2, 50 * stride), [stride], margin=2 * size)
    assert max(line.level_db for line in report.lines) == -200
    assert not any(line.detected for line in report.lines)
    assert report.locked_share < 1e-12
    assert report.constant_db == pytest.approx(0, abs=1e-9)
    assert report.verdict.startswith("clean below -1")


@pytest.mark.parametrize(("size", "stride"), [((3, 3), (2, 2)), ((4, 5), (3, 2)), ((3, 7), (1, 4)), ((5, 6), (4, 3))])
def test_gradient_of_a_strided_convolution_of_images(size, stride):
    conv = ones_(nn.Conv2d(1, 1, size, stride, bias=False))
    report = gradient_tones(conv, noise(3, 1, 60, 60), [stride], margin=8)
    expected = amplitudes_of(tone_response(torch.ones(size), stride))
    found = {line.frequency: level for line, level in zip(report.lines, two_sided(report), strict=True)}
    for k in range(stride[0]):
        for j in range(stride[1] // 2 + 1):
            down = k / stride[0] if 2 * k <= stride[0] else k / stride[0] - 1
            level = found.pop((down, j / stride[1]), found.pop((-down, j / stride[1]), None))
            if (k, j) != (0, 0) and level is not None:
                assert level == pytest.approx(expected[k][j], abs=1e-9)
    assert not found


def test_images_of_equal_overlap_have_none():
    conv = ones_(nn.Conv2d(1, 1, 4, 2, bias=False))
    report = gradient_tones(conv, noise(16, 1, 40, 40), [2], margin=4)
    assert [line.frequency for line in report.lines] == [(0, 0.5), (0.5, 0), (0.5, 0.5)]
    assert max(line.level_db for line in report.lines) == -200


def test_stack_of_strides():
    # The kernel of the stack as a whole, 4 samples a frame: the first layer's, and the second's stretched by 2.
    stack = ones_(nn.Sequential(nn.Conv1d(1, 1, 3, 2, bias=False), nn.Conv1d(1, 1, 3, 2, bias=False)))
    report = gradient_tones(stack, noise(4, 1, 200), [2, 2], sample_rate=16000, margin=12)
    assert two_sided(report) == pytest.approx([1 / 9, 1 / 3])
    assert [line.frequency for line in report.lines] == [(4000.0,), (8000.0,)]
    assert [line.stages for line in report.lines] == [(1,), (0, 1)]


def test_the_edge_is_locked_too_and_a_margin_leaves_it_out():
    conv = ones_(nn.Conv1d(1, 1, 8, 4, padding=2, bias=False))
    levels = [gradient_tones(conv, noise(4, 1, 160), [4], margin=m).lines[0].level_db for m in (0, 4)]
    assert -120 < levels[0] < -40
    assert levels[1] == -200


# ------------------------------------------------------------------------------------------- pooling and networks


def test_overlapping_pools_make_the_lines_of_overlapping_ones():
    # Every sample of noise is as likely the largest of its window; even samples lie in two windows, odd ones in one.
    torch.manual_seed(0)
    report = gradient_tones(nn.MaxPool1d(3, 2), torch.randn(64, 1, 4000), [2])
    assert two_sided(report) == pytest.approx([1 / 3], abs=0.01)
    assert report.lines[0].detected
    image = gradient_tones(nn.MaxPool2d(3, 2), torch.randn(64, 1, 80, 80), [2])
    assert two_sided(image) == pytest.approx([1 / 3, 1 / 3, 1 / 9], abs=0.02)


def test_pools_side_by_side_lock_only_what_they_see_locked():
    torch.manual_seed(0)
    report = gradient_tones(nn.MaxPool2d(2), torch.randn(64, 1, 80, 80), [2])
    assert not any(line.detected for line in report.lines)
    # Of equal samples the first takes all: one in two, in either direction.
    flat = gradient_tones(nn.MaxPool2d(2), torch.ones(16, 1, 80, 80), [2])
    assert two_sided(flat) == pytest.approx([1, 1, 1])


def test_nested_outputs_are_summed_and_an_objective_replaces_that():
    class Judge(nn.Module):
        def forward(self, x):
            return x, [2 * x, {"three": (3 * x,), "index": torch.arange(3)}]

    x = noise(16, 1, 40)
    assert gradient_tones(Judge(), x, [2]).rms == pytest.approx(6)
    assert gradient_tones(Judge(), x, [2], objective=lambda y: 5 * y[1][0].sum()).rms == pytest.approx(10)


# ------------------------------------------------------------------------------------------------- planted lines


@pytest.mark.parametrize("k", [1, 3, 4])
def test_planted_line_is_found_at_its_level(k):
    gradient = noise(64, 1, 65536)
    for level_db in (-10, -20, -30):
        line = torch.cos(2 * torch.pi * torch.arange(65536) * k / 8 + (0.4 if k < 4 else 0))
        line = line / line.square().mean().sqrt() * 10 ** (level_db / 20)
        report = measure_gradient(gradient + line, [2, 4])
        found = [one for one in report.lines if one.detected]
        assert [one.frequency for one in found] == [(k / 8,)]
        # Relative to the gradient, of which the line is a part.
        expected = level_db - 10 * math.log10(1 + 10 ** (level_db / 10))
        assert found[0].level_db == pytest.approx(expected, abs=0.5)
        low, high = found[0].interval_db
        assert low < expected < high
        assert report.locked_share == pytest.approx(10 ** (expected / 10), rel=0.15, abs=1e-5)
        assert report.strongest == found[0]


def test_strong_content_beside_a_harmonic_is_no_line():
    n = torch.arange(4096, dtype=torch.float64)
    phase = 6.28 * torch.rand(64, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    beside = torch.cos(2 * torch.pi * n * (1 / 8 + 40.5 / 4096) + phase)
    report = measure_gradient(0.001 * noise(64, 1, 4096) + beside, [8])
    assert not any(line.detected for line in report.lines)
    assert float(report.verdict.split()[2]) < -85


@pytest.mark.parametrize(("level_db", "detected"), [(-115, True), (-125, False)])
def test_what_is_as_faint_as_rounding_is_not_called_a_line(level_db, detected):
    line = math.sqrt(2) * 10 ** (level_db / 20) * torch.cos(torch.pi / 2 * torch.arange(400, dtype=torch.float64))
    report = measure_gradient((1 + line).expand(64, 1, -1), [4])
    assert report.lines[0].level_db == pytest.approx(level_db, abs=1e-6)
    assert report.lines[0].p_value < 1e-9
    assert report.lines[0].detected is detected


def test_random_gradients_have_none():
    reports = [measure_gradient(noise(20, 1, 512, seed=seed), [64]) for seed in range(60)]
    p_values = torch.tensor([line.p_value for report in reports for line in report.lines])
    assert p_values.shape == (60 * 32,)
    assert 0.004 < (p_values < 0.01).double().mean() < 0.017  # 0.01 within three errors
    images = [measure_gradient(noise(20, 3, 24, 24, seed=seed), [(2, 4)]) for seed in range(60)]
    assert sum(report.verdict == "lines" for report in images) <= 3


def test_stages_of_images():
    gradient = noise(16, 1, 24, 24)
    report = measure_gradient(gradient, [(1, 2), (3, 1), 1])
    assert {line.frequency: line.stages for line in report.lines} == {
        (0.0, 0.5): (0, 1),
        (1 / 3, 0.0): (1,),
        (1 / 3, 0.5): (1,),
    }


# ---------------------------------------------------------------------------------------------- what it leaves alone


def test_module_is_left_as_it_was():
    module = nn.Sequential(nn.Conv1d(1, 4, 3, 2), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Conv1d(4, 1, 3)).eval()
    module[0].weight.requires_grad_(False)
    module[3].weight.grad = kept = torch.ones_like(module[3].weight)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x = torch.randn(16, 1, 64)
    with torch.no_grad():
        first = gradient_tones(module, x, [2])
    with torch.inference_mode():
        second = gradient_tones(module, torch.nn.Parameter(x), [2])
    assert first == second
    assert [p.grad is None for p in module.parameters()] == [True, True, True, True, False, True]
    assert module[3].weight.grad is kept
    assert kept.eq(1).all()
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True, True, True]
    assert not module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert x.grad is None
    assert not x.requires_grad
    assert not any(m._forward_hooks or m._backward_hooks for m in module.modules())


def test_too_few_to_test():
    conv = ones_(nn.Conv1d(1, 1, 3, 2, bias=False))
    report = gradient_tones(conv, noise(1, 1, 9), [2])
    assert report.verdict == "not testable: 1 examples and pieces, at least 3 are needed"
    line = report.lines[0]
    assert (line.interval_db, line.p_value, line.detected) == (None, None, False)
    assert -30 < line.level_db < 0
    assert "nan" in str(report)
    long = gradient_tones(conv, noise(1, 1, 400), [2])
    assert (long.examples, long.units, long.verdict) == (1, 16, "lines")


def test_report_for_people_and_for_json():
    gradient = noise(16, 1, 512) + torch.cos(torch.pi / 4 * torch.arange(512))
    report = measure_gradient(gradient, [4, 8], sample_rate=16000)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["lines"][3]["frequency"] == [2000.0]
    head, share, _, first, *_, last = str(report).splitlines()
    assert head == "16 examples, strides 4,8: lines"
    assert share.startswith("1 of 16 lines detected, 3")
    assert first.split()[:2] == ["2000.0", "1"]
    assert first.endswith(" detected")
    assert last == "and 8 more lines"


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("gradient", "strides", "options", "message"),
    [
        (torch.ones(4, 100), [2], {}, r"gradient must be floating point of shape \(N, C, T\)"),
        (torch.ones(4, 1, 100, dtype=torch.long), [2], {}, "gradient must be floating point"),
        (torch.ones(0, 1, 100), [2], {}, "gradient must be floating point of shape"),
        (torch.full((4, 1, 100), math.nan), [2], {}, "gradient holds NaN or infinity"),
        (torch.zeros(4, 1, 100), [2], {}, "gradient is zero everywhere"),
        (torch.ones(4, 1, 100), [1, 1], {}, "the product of strides must be at least 2"),
        (torch.ones(4, 1, 100), [], {}, "the product of strides must be at least 2"),
        (torch.ones(4, 1, 100), [0], {}, "every stride must be an integer >= 1, got 0"),
        (torch.ones(4, 1, 100), [(2, 2)], {}, r"strides must be integers for sound, got \(2, 2\)"),
        (torch.ones(4, 1, 10, 10), [(2, 2, 2)], {}, "every stride must be one integer or a pair"),
        (torch.ones(4, 1, 10, 10), [(2, 2.0)], {}, "every stride must be an integer"),
        (torch.ones(4, 1, 100), [101], {}, r"a period of \(101, 1\) must fit into \(100, 1\) samples"),
        (torch.ones(4, 1, 100), [2], {"sample_rate": 0}, "sample_rate must be positive, got 0"),
        (torch.ones(4, 1, 100), [2], {"margin": -1}, "margin must be an integer >= 0, got -1"),
        (torch.ones(4, 1, 100), [2], {"margin": 50}, "a period of"),
    ],
    ids=str,
)
def test_gradients_refused(gradient, strides, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        measure_gradient(gradient, strides, **options)


@pytest.mark.parametrize(
    ("module", "x", "objective", "message"),
    [
        (nn.Identity(), torch.ones(4, 1, 100).long(), None, "input must be floating point, got torch.int64"),
        (nn.Identity(), torch.ones(4, 1, 100), lambda y: y, r"objective must be one real number, got \(4, 1, 100\)"),
        (nn.Identity(), torch.ones(4, 1, 100), lambda y: 3.0, "objective must be one real number, got float"),
        (nn.Identity(), torch.ones(4, 1, 100), lambda y: y.detach().sum(), "objective must depend on input"),
        (
            nn.Linear(1, 1),
            torch.ones(4, 1, 1),
            lambda y: nn.Linear(1, 1).weight.sum(),
            "objective must depend on input",
        ),
        (nn.Threshold(2, 0), torch.ones(4, 1, 100), None, "gradient is zero everywhere"),
        (nn.Identity(), torch.zeros(4, 1, 100), lambda y: y.sqrt().sum(), "gradient holds NaN or infinity"),
    ],
)
def test_modules_refused(module, x, objective, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        gradient_tones(module, x, [2], objective=objective)


def test_input_must_be_a_tensor():
    with pytest.raises(TypeError, match=r"^input must be a tensor, got list"):
        gradient_tones(nn.Identity(), [1.0], [2])
