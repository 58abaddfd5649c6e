"""The program on regularity: it tells lines from the rest, finds what is known, and refuses what it cannot do."""

import json
import math
from pathlib import Path

import pytest
import reference
import regularity
import torch
from benchmarks import steps

from audioup import regularity_order

one_thread = reference.one_thread


def test_line_over_signal_of_a_known_line_in_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(6, 3, 8 * 4000, generator=generator)
    line = 0.01 * math.sqrt(2) * torch.cos(2 * math.pi * 3 / 8 * torch.arange(y.shape[-1]))
    ratio, error = regularity.line_over_signal(y + line, 8)
    assert 10 * math.log10(ratio) == pytest.approx(-40, abs=1)
    assert error < ratio / 3
    ratio, error = regularity.line_over_signal(y, 8)
    assert abs(ratio) < 3 * error < 10**-4


def test_the_error_is_the_scatter() -> None:
    generator = torch.Generator().manual_seed(0)
    line = 0.1 * torch.cos(math.pi / 2 * torch.arange(400))
    found = [regularity.line_over_signal(torch.randn(8, 2, 400, generator=generator) + line, 4) for _ in range(200)]
    ratios, errors = torch.tensor(found).T
    assert errors.square().mean().sqrt().item() == pytest.approx(ratios.std().item(), rel=0.25)
    assert ratios.mean().item() == pytest.approx(0.005, rel=0.1)


def test_a_line_that_only_one_signal_has_does_not_count() -> None:
    y = torch.randn(6, 1, 800, generator=torch.Generator().manual_seed(0))
    y[0] += 10 * torch.cos(math.pi / 2 * torch.arange(800))
    ratio, error = regularity.line_over_signal(y, 4)
    assert abs(ratio) < 0.02
    assert abs(ratio) < 3 * error


def test_stacks_that_differ_are_no_doubt_that_they_sing() -> None:
    sure = regularity.pool([(1e-3, 1e-5), (1e-7, 1e-5), (0.0, 1e-5), (2e-6, 1e-5)])
    assert sure["level_db"] == pytest.approx(-36, abs=0.1)
    doubtful = regularity.pool([(2e-6, 1e-5), (-4e-6, 1e-5), (0.0, 1e-5), (2e-6, 1e-5)])
    assert doubtful["level_db"] is None
    assert doubtful["ratio"] == 0
    assert doubtful["below_db"] == pytest.approx(-50)  # two errors of 1e-5 / sqrt 4
    assert regularity.pool([(-1e-15, 1e-16)] * 2)["below_db"] == pytest.approx(-130)


@pytest.mark.parametrize("kind", ["slow", "white"])
def test_inputs_have_unit_power_in_their_band(kind: str) -> None:
    options = regularity.Options(channels=4, frames=200, slow=0.1)
    x = regularity.draw_input(kind, options, torch.Generator().manual_seed(0))
    assert x.shape == (24, 4, 200)
    assert x.square().mean().item() == pytest.approx(1, abs=1e-5)
    above = torch.fft.rfft(x)[..., 21:].abs().max().item()
    assert (above < 1e-4) == (kind == "slow")


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(steps, "STEP_SHAPES", ((8, 4, 4, 32),))
    timed: list[int] = []
    step_of = steps._step_of
    monkeypatch.setattr(
        steps, "_step_of", lambda layer, x: timed.append(regularity_order(layer.weight, 4)) or step_of(layer, x)
    )
    sizes = ["--strides", "4", "4", "4", "--channels", "8", "--frames", "128", "--seeds", "3", "--repeats", "1"]
    assert regularity.main(["--out", str(tmp_path), *sizes]) == 0
    result = json.loads((tmp_path / "regularity.json").read_text())
    rows = {(row["name"], row["multiple"]): row for row in result["stacks"]}
    assert ("order 3 factor", 3) in rows
    assert ("order 3 factor", 2) not in rows  # 3 * 3 + 1 taps do not fit into 8
    for (name, _), row in rows.items():
        constant = row["lines"]["constant"]["level_db"]
        assert (constant is None) == (name != "free")
    slow = {key: row["lines"]["slow"]["level_db"] or row["lines"]["slow"]["below_db"] for key, row in rows.items()}
    assert slow["free", 2] > -12
    assert slow["order 1 projected", 2] < -15
    assert slow["order 2 factor", 3] < -50
    droop = {key: row["kernel"]["droop_quarter_db"] for key, row in rows.items()}
    assert droop["order 3 factor", 3] < droop["order 1 factor", 3] < 0
    assert set(result["relative_step_time"]) == {"L = 2 s, order 1", "L = 3 s, order 1", "L = 3 s, order 2"}
    assert timed == [0, 1, 0, 1, 2]
    assert "order 2 projected" in capsys.readouterr().out
    assert (tmp_path / "regularity.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "bad",
    [
        ["--seeds", "1"],
        ["--signals", "2"],
        ["--strides", "4", "1", "2"],
        ["--slow", "0"],
        ["--frames", "0"],
        ["--frames", "15"],
        ["--repeats", "-1"],
        ["--slope", "nan"],
        ["--threads", "99999999"],
    ],
    ids=lambda bad: bad[0],
)
def test_refusals(bad: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert regularity.main(["--out", str(tmp_path), *bad]) == 2
    assert f"{bad[0]}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
