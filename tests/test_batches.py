"""What the examples of batches have in common: against the definition, over batches, over processes."""

import math
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from reference import noise
from torch import multiprocessing

from audioup.batches import RunningLines, check_period, locked_lines

one_thread = reference.one_thread
STRIDES = (2, 4)
PERIOD = 8


def cosine(k: int, samples: int = 256, amplitude: float = 1.0, phase: float = 0.0) -> torch.Tensor:
    return amplitude * torch.cos(2 * math.pi * k / PERIOD * torch.arange(samples, dtype=torch.float64) + phase)


def test_lines_are_those_of_the_definition() -> None:
    y = noise(3, 45)  # 5 whole periods and 5 samples more
    n = np.arange(40)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 40)
    z = np.array(
        [[(window * row[:40] * np.exp(-2j * np.pi * k * n / 8)).sum() for k in (1, 2, 3, 4)] for row in y.numpy()]
    )
    z = z / window.sum()
    spectra = np.fft.rfft(y.numpy()[:, :40].reshape(15, 8))[:, 1:] / 8
    found = locked_lines(y, STRIDES)
    reference.assert_close(found.lines.real, z.mean(0).real)
    reference.assert_close(found.lines.imag, z.mean(0).imag)
    reference.assert_close(found.variance, (np.abs(z) ** 2).mean(0) / 3)
    reference.assert_close(found.power, (np.abs(spectra) ** 2).mean(0))
    assert torch.equal(found.lines, locked_lines(y.unsqueeze(1), (8,)).lines)


def test_the_variance_is_what_chance_gives() -> None:
    draws = [locked_lines(noise(6, 256, seed=seed), STRIDES) for seed in range(400)]
    squares = torch.stack([found.lines.abs().square() for found in draws]).mean(0)
    expected = torch.stack([found.variance for found in draws]).mean(0)
    assert (squares / expected).tolist() == pytest.approx([1] * 4, rel=0.2)


def test_means_run_over_batches() -> None:
    running = RunningLines(STRIDES, momentum=0.6)
    batches = [locked_lines(noise(4, 256, seed=seed), STRIDES) for seed in range(4)]
    for found in batches:
        returned = running(found)
    share = torch.tensor([1.0])
    for rest in (1 / 2, 0.4, 0.4):  # plain means at first, 1/2 and 1/3, but the momentum is 0.6 at the most
        share = torch.cat([share * (1 - rest), torch.tensor([rest])])
    means = running.means()
    assert torch.allclose(means.lines, sum(s * f.lines for s, f in zip(share, batches, strict=True)).to(torch.cfloat))
    assert torch.allclose(means.variance, sum(s**2 * f.variance for s, f in zip(share, batches, strict=True)).float())
    assert torch.allclose(means.power, sum(s * f.power for s, f in zip(share, batches, strict=True)).float())
    assert all(torch.allclose(one.to(two), two) for one, two in zip(returned, means, strict=True))
    assert int(running.batches) == 4


def test_the_gradient_passes_through_this_batch_as_if_it_were_all() -> None:
    running = RunningLines(STRIDES)
    for seed in range(30):
        running(locked_lines(noise(4, 256, seed=seed) + cosine(1), STRIDES))
    y = noise(4, 256, seed=31).requires_grad_()
    found = locked_lines(y, STRIDES)
    (alone,) = torch.autograd.grad(found.lines.real.sum(), y, retain_graph=True)
    (through,) = torch.autograd.grad(running(found).lines.real.sum(), y)
    assert torch.equal(alone, through)
    assert alone.abs().max() > 1e-3
    assert running.means().lines.abs()[0].item() == pytest.approx(0.45, abs=0.02)  # 0.9 of the line of before


def test_means_stay_in_eval_and_resume_to_the_bit() -> None:
    one, two = RunningLines(STRIDES), RunningLines(STRIDES)
    first, second = (locked_lines(noise(4, 256, seed=seed).float(), STRIDES) for seed in range(2))
    one(first)
    two.load_state_dict(one.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(one(second), two(second), strict=True))
    kept = {key: value.clone() for key, value in one.state_dict().items()}
    assert kept.keys() == {"lines", "variance", "power", "batches"}
    one.eval()(first)
    assert all(torch.equal(value, kept[key]) for key, value in one.state_dict().items())


def average(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    running = RunningLines(STRIDES)
    for step in range(2):
        running(locked_lines(noise(4, 256, seed=10 * step + rank).float(), STRIDES))
    torch.save(running.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_share_their_means(tmp_path: Path) -> None:
    multiprocessing.spawn(average, (str(tmp_path),), nprocs=2)
    zero, one = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(zero[key], one[key]) for key in zero)
    batches = [locked_lines(noise(4, 256, seed=seed).float(), STRIDES) for seed in (0, 1, 10, 11)]
    mean = torch.stack([found.lines for found in batches]).mean(0)
    variance = torch.stack([found.variance for found in batches]).sum(0) / 16  # of 4 independent means
    assert torch.allclose(torch.view_as_complex(zero["lines"]), mean, rtol=1e-4)
    assert torch.allclose(zero["variance"], variance, rtol=1e-4)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"audio must have shape .* got \(2, 2, 64\)", lambda: locked_lines(torch.zeros(2, 2, 64), (8,))),
        (ValueError, r"got \(64,\)", lambda: locked_lines(torch.zeros(64), (8,))),
        (ValueError, r"got \(0, 64\)", lambda: locked_lines(torch.zeros(0, 64), (8,))),
        (ValueError, "4 periods of 8 samples, got 31", lambda: locked_lines(torch.zeros(2, 31), (8,))),
        (TypeError, "got torch.int64", lambda: locked_lines(torch.zeros(2, 64, dtype=torch.int64), (8,))),
        (TypeError, "got list", lambda: locked_lines([0.0] * 64, (8,))),
        (ValueError, "every stride must be an integer >= 1, got 0", lambda: check_period((8, 0))),
        (ValueError, r"product of strides must be at least 2, got strides \(1, 1\)", lambda: check_period((1, 1))),
        (ValueError, "momentum must be from 0 to below 1, got 1", lambda: RunningLines((8,), momentum=1)),
    ],
)
def test_refusals_name_the_argument(error: type[Exception], message: str, call) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_is_passed_over(bad):
    audio = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    running, other = RunningLines((2, 4)), RunningLines((2, 4))
    for batch in (audio, audio * bad, 2 * audio):
        running(locked_lines(batch, (2, 4)))
    for batch in (audio, 2 * audio):
        other(locked_lines(batch, (2, 4)))
    assert running.batches == 2
    for mean, expected in zip(running.means(), other.means(), strict=True):
        assert torch.equal(mean, expected)
