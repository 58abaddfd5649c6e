"""The losses on stride tones: they see what is locked and nothing else, and their gradients take it away."""

import math

import pytest
import reference
import torch
from reference import noise

from audioup import TransposedConv1d, regular, tonal_fraction
from audioup.batches import locked_lines
from audioup.loss import CHANCE, FAINTEST, StrideToneLoss, kernel_tone_loss, stride_tone_loss

one_thread = reference.one_thread
STRIDES = (2, 4)
PERIOD = 8


def cosine(k: int, samples: int = 256, amplitude: float = 1.0, phase: float = 0.0) -> torch.Tensor:
    return amplitude * torch.cos(2 * math.pi * k / PERIOD * torch.arange(samples, dtype=torch.float64) + phase)


def test_the_loss_is_the_formula() -> None:
    y, real = noise(5, 256) + cosine(3), noise(5, 256, seed=1)
    found, chance = locked_lines(y, STRIDES), locked_lines(real, STRIDES)
    excess = (found.lines.abs() - 1.5 * chance.variance.sqrt()).clamp(min=0)
    expected = (excess / (chance.power + (10 ** (-110 / 20) / 2) ** 2).sqrt()).mean()
    assert excess.count_nonzero() < 4
    assert stride_tone_loss(y, STRIDES, real).item() == pytest.approx(expected.item(), rel=1e-12)
    assert CHANCE == 1.5
    assert 20 * math.log10(2 * FAINTEST) == pytest.approx(-110)


def test_partials_beside_a_harmonic_are_no_line() -> None:
    # 1.2 of a harmonic, the same in all examples, over 32 periods: in the window's sidelobes.
    steady = torch.cos(2 * math.pi * 1.2 / PERIOD * torch.arange(256, dtype=torch.float64)).expand(4, -1)
    assert locked_lines(steady, STRIDES).lines.abs().max().item() < 1e-3  # 0.025 without the window
    assert stride_tone_loss(steady, STRIDES).item() < 1e-4
    assert stride_tone_loss(steady + cosine(1), STRIDES).item() > 0.02


def test_what_examples_do_not_share_costs_nothing() -> None:
    turned = torch.stack([cosine(1, phase=2 * math.pi * i / 8) for i in range(8)])
    assert stride_tone_loss(turned, STRIDES).item() == 0
    assert stride_tone_loss(cosine(1).expand(8, -1), STRIDES).item() == pytest.approx((1 - 1.5 / 8**0.5) / 4, rel=1e-6)


def test_gradient_is_the_derivative() -> None:
    real = noise(3, 40, seed=1).mul(0.1)
    y = (noise(3, 40) + cosine(1, 40) + cosine(4, 40)).requires_grad_()
    assert stride_tone_loss(y, STRIDES, real) > 1
    assert torch.autograd.gradcheck(lambda audio: stride_tone_loss(audio, STRIDES, real), [y])


def test_descending_removes_the_line_and_leaves_the_rest() -> None:
    real = noise(16, 512, seed=2)
    y = (real + cosine(1, 512) + cosine(4, 512, 0.5)).requires_grad_()
    before = locked_lines(y.detach(), STRIDES)
    for _ in range(500):
        (gradient,) = torch.autograd.grad(stride_tone_loss(y, STRIDES, real), y)
        y = (y - 20 * gradient).detach().requires_grad_()
    after = locked_lines(y.detach(), STRIDES)
    assert before.lines.abs()[[0, 3]].tolist() == pytest.approx([0.5, 0.5], rel=0.05)
    assert after.lines.abs()[[0, 3]].max() < 0.03
    left = y.detach() - y.detach().mean(0)  # what the examples do not share
    assert torch.allclose(left, real - real.mean(0), atol=1e-12)


@pytest.mark.parametrize("audio", [torch.zeros(2, 64), torch.full((2, 64), 1e-30), torch.ones(2, 64)])
def test_gradients_of_silence_are_finite(audio: torch.Tensor) -> None:
    loss = StrideToneLoss(STRIDES)
    y = audio.clone().requires_grad_()
    loss(y).backward()
    loss(y, torch.zeros(2, 64)).backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()
    assert loss(y).item() == pytest.approx(0, abs=1e-2)  # rounding of the ones over silence


def test_a_line_over_silence_is_heard_from_its_faintest_on() -> None:
    y = cosine(1, 64, amplitude=1e-3).float().expand(4, -1).clone().requires_grad_()
    loss = stride_tone_loss(y, STRIDES, torch.zeros(4, 64))
    assert loss.item() == pytest.approx(5e-4 / FAINTEST / 4, rel=1e-3)  # over the faintest amplitude, mean of 4 lines


def test_a_line_of_earlier_batches_is_still_pushed_down() -> None:
    loss = StrideToneLoss(STRIDES)
    real = noise(4, 256, seed=9)
    for seed in range(30):
        loss(noise(4, 256, seed=seed) + cosine(1), real)
    y = noise(4, 256, seed=31).requires_grad_()  # no line in this batch
    value = loss(y, real)
    value.backward()
    means = loss.running.means()
    excess = (means.lines.abs() - 1.5 * means.variance.sqrt()).clamp(min=0) / means.power.sqrt()
    assert value.item() == pytest.approx(excess.mean().item(), rel=1e-5)
    push = locked_lines(-y.grad, STRIDES).lines[0]
    phase = means.lines[0] / means.lines[0].abs()
    assert abs(push / push.abs() + phase) < 1e-5  # against the remembered line
    # The gradient of |e| is w cos(...) / sum w over 4 examples, that of the loss over sqrt(P) and 4 lines besides.
    window = torch.hann_window(256, dtype=torch.float64)
    expected = window.square().sum() / 2 / window.sum().square() / 16 / means.power[0].sqrt()
    assert push.abs().item() == pytest.approx(expected.item(), rel=1e-2)


def test_autocast_and_half_are_computed_in_float32() -> None:
    y = (0.1 * noise(4, 256) + cosine(1)).float()
    expected = stride_tone_loss(y, STRIDES)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(stride_tone_loss(y, STRIDES), expected)
    rounded = y.bfloat16()
    assert torch.equal(stride_tone_loss(rounded, STRIDES), stride_tone_loss(rounded.float(), STRIDES))
    assert stride_tone_loss(y.double(), STRIDES).dtype == torch.float64


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "got list", lambda: stride_tone_loss([0.0] * 64, (8,))),
        (
            ValueError,
            r"reference must have audio's shape, \(2, 64\), got \(2, 32\)",
            lambda: stride_tone_loss(torch.zeros(2, 64), (8,), torch.zeros(2, 32)),
        ),
        (TypeError, "got int", lambda: stride_tone_loss(torch.zeros(2, 64), (8,), 3)),
        (ValueError, "kernel must hold at least one tap", lambda: kernel_tone_loss(torch.zeros(2, 0), 8)),
        (ValueError, "stride must be an integer >= 1, got 0", lambda: kernel_tone_loss(torch.zeros(2), 0)),
    ],
)
def test_refusals_name_the_argument(error: type[Exception], message: str, call) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("length", [5, 16, 24])
def test_kernel_loss_is_the_tonal_fraction(length: int) -> None:
    kernel = noise(3, 2, length)
    assert 10 * math.log10(kernel_tone_loss(kernel, 8)) == pytest.approx(tonal_fraction(kernel, 8).item(), abs=1e-9)
    assert kernel_tone_loss(kernel.bfloat16(), 8).dtype == torch.float32


def test_kernel_loss_of_equal_phase_gains_is_nothing() -> None:
    layer = regular(TransposedConv1d(4, 4, 16, 8, dtype=torch.float64))
    assert kernel_tone_loss(layer.kernel(), 8).item() < 1e-25


def test_kernel_loss_has_the_right_gradient_and_none_at_zero() -> None:
    assert torch.autograd.gradcheck(lambda kernel: kernel_tone_loss(kernel, 4), [noise(2, 3, 9).requires_grad_()])
    zero = torch.zeros(2, 3, 8, requires_grad=True)
    loss = kernel_tone_loss(zero, 4)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(zero.grad, torch.zeros(2, 3, 8))


def test_kernel_loss_ends_in_regularity() -> None:
    kernel = noise(2, 2, 16).requires_grad_()
    optimizer = torch.optim.Adam([kernel], 0.02)
    for _ in range(400):
        optimizer.zero_grad()
        kernel_tone_loss(kernel, 8).backward()
        optimizer.step()
    assert tonal_fraction(kernel, 8) < -60


def test_the_gradient_is_that_of_a_batch_that_is_all_there_is():
    # Of a mean over 10 batches, the value moves by a tenth of what the gradient says.
    generator = torch.Generator().manual_seed(0)
    loss = StrideToneLoss((2, 4)).double()
    line = 0.1 * torch.cos(torch.pi / 2 * torch.arange(64, dtype=torch.float64)).expand(8, -1)
    for _ in range(40):
        loss(line + 0.01 * torch.randn(8, 64, generator=generator, dtype=torch.float64))
    loss.eval()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(scale * line, line), scale)
    step = 1e-3
    moved = (loss((1 + step) * line, line) - loss((1 - step) * line, line)).item() / (2 * step)
    assert gradient.item() == pytest.approx(10 * moved, rel=1e-6)
