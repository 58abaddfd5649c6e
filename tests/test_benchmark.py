"""The benchmark: contenders of a case compute the same thing, ratios are what the times say."""

import json
from pathlib import Path

import benchmark
import pytest
import reference
import torch

one_thread = reference.one_thread


def test_separable_and_folded_are_the_same_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SINC_STAGES", ((2, 4, 3, 4, 10),))
    (case,) = benchmark.separable_sinc()
    first, second = (contender(case.x) for contender in case.contenders.values())
    assert (first - second).abs().max() < 1e-5 * first.abs().max()


def test_the_peer_does_the_same_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SOUNDS", ((1, 2, 400),))
    for case in benchmark.oversampled_activations():
        slow = torch.sin(2 * torch.pi * 0.02 * torch.arange(400.0)).expand(1, 2, 400)
        first, second = (contender(slow)[..., 50:-50] for contender in case.contenders.values())
        assert (first - second).abs().max() < 0.05


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SOUNDS", ((1, 2, 100),))
    monkeypatch.setattr(benchmark, "SINC_STAGES", ((1, 4, 3, 4, 10),))
    threads = torch.get_num_threads()
    assert benchmark.main(["--out", str(tmp_path), "--rounds", "1", "--threads", "1"]) == 0
    torch.set_num_threads(threads)
    result = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["group"] for row in result["cases"]] == ["oversampled activation"] * 2 + ["separable sinc"]
    for row in result["cases"]:
        ours, peer = row["seconds"].values()
        assert row["ratio"] == peer / ours > 0
    aliases = {(row["activation"], row["way"]): row["aliases_db"] for row in result["aliases"]}
    assert len(aliases) == 10
    for name in ("LeakyReLU", "Snake"):
        twice = aliases[name, "Oversampled(activation, 2)"]
        assert twice < aliases[name, "plain"] - 5
        assert abs(twice - aliases[name, "alias_free_torch"]) < 1
        assert aliases[name, "Oversampled(activation, 4, zeros=16, rolloff=0.9)"] < twice - 10
    assert set(result["geometric_mean_ratio"]) == {"oversampled activation", "separable sinc"}


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--out", str(tmp_path), "--rounds", "0"]) == 2
    assert "--rounds" in capsys.readouterr().err
