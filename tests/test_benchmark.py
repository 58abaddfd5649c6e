"""The benchmark: contenders of a case compute the same thing, ratios are what the times say, memory is what is held."""

import json
import sys
from pathlib import Path
from typing import Any

import benchmark
import pytest
import reference
import torch
from benchmarks import cases, memory
from benchmarks.profile import profile_step
from benchmarks.purity import measure_stride_tones
from torch import nn
from vocoder.model import GeneratorShape

one_thread = reference.one_thread


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every case small, and the generator one of two stages."""
    shape = GeneratorShape((2, 2), 8, (3,), ((1,),), 1)
    presets = {name: type("P", (), {"generator": shape})() for name in ("v1", "v2", "v3")}
    monkeypatch.setattr(cases, "PRESETS", presets)
    monkeypatch.setattr(cases, "TRAINING", (2, 8))
    monkeypatch.setattr(memory, "TRAINING", (2, 8))
    monkeypatch.setattr(cases, "INFERENCE", (1, 20))
    monkeypatch.setattr(cases, "IMAGES", ((1, 4, 5),))
    monkeypatch.setattr(cases, "SOUNDS", ((1, 2, 400),))


def test_stages_are_hifi_gans() -> None:
    found = [(s.in_channels, s.stride, s.frames) for s in cases.stages(1, 32)]
    v1 = [(512, 8, 32), (256, 8, 256), (128, 2, 2048), (64, 2, 4096)]
    v2 = [(128, 8, 32), (64, 8, 256), (32, 2, 2048), (16, 2, 4096)]
    v3 = [(256, 8, 32), (128, 8, 256), (64, 4, 2048)]
    assert found == v1 + v2 + v3


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_contenders_have_the_same_output_length(stride: int) -> None:
    stage = cases.Stage("V0", 1, 4, stride, 2, 9)
    x = stage.draw()
    shapes = {layer(x).shape for layer in (stage.resize(), stage.transposed(), stage.naive())}
    assert shapes == {(2, 2, 9 * stride)}
    assert stage.resize().kernel_length == stage.transposed().kernel_size[0] - stride % 2


@pytest.mark.usefixtures("small")
def test_contenders_that_have_one_weight_agree() -> None:
    for case in (*cases.engines(), *cases.separable()):
        layers = [c for c in case.contenders.values() if isinstance(c, nn.Module)]
        assert len(layers) == len(case.contenders)
        first = layers[0](case.x)
        for layer in layers[1:]:
            layer.load_state_dict(layers[0].state_dict())
            assert (layer(case.x) - first).abs().max() < 1e-5 * first.abs().max()


@pytest.mark.usefixtures("small")
def test_resizing_is_the_naive_form_inside() -> None:
    for case in (*cases.nearest(), *cases.images()):
        ours, naive = (
            case.contenders[name] for name in list(case.contenders) if "Resize" in name or "Upsample" in name
        )
        naive[1].load_state_dict(ours.state_dict())
        inside = (..., *[slice(8, -8) if size > 16 else slice(3, -3) for size in ours(case.x).shape[2:]])
        assert (ours(case.x)[inside] - naive(case.x)[inside]).abs().max() < 1e-5
        assert ours.training == case.backward


@pytest.mark.usefixtures("small")
def test_the_peers_do_the_same_job() -> None:
    slow = torch.sin(2 * torch.pi * 0.02 * torch.arange(400.0)).expand(1, 2, 400)
    for case in (*cases.oversampled_activations(), *cases.sincs()):
        outputs = {name: contender(slow) for name, contender in case.contenders.items()}
        ours = next(iter(outputs.values()))
        edge = ours.shape[-1] // 8
        for name, other in outputs.items():
            assert other.shape == ours.shape
            # julius puts its first sample on the input's first; the others are half-pixel aligned, 7 / 16 frames off.
            aside = 2 * torch.pi * 0.02 * 7 / 16 if name == "julius" else 0.0
            assert (other - ours)[..., edge:-edge].abs().max() < aside + 0.003


@pytest.mark.usefixtures("small")
def test_generators_differ_in_their_upsamplers_only() -> None:
    for case in cases.generators():
        ours, *peers = case.contenders.values()
        for peer in peers:
            assert peer(case.x).shape == ours(case.x).shape == (case.x.shape[0], 1, 4 * case.x.shape[-1])
            assert [name for name, _ in peer.named_children()] == [name for name, _ in ours.named_children()]
            assert torch.equal(peer.conv_pre.weight, ours.conv_pre.weight)
            assert peer.training == case.backward
        kinds = [{type(m).__name__ for up in n.ups for m in up.modules()} for n in (ours, *peers)]
        assert not kinds[0] & {"ConvTranspose1d", "Upsample"}
        assert any("ConvTranspose1d" in kind for kind in kinds[1])
        assert "Upsample" in kinds[2]


def test_sinc_tones_are_at_rounding_and_at_stride_8_below_the_peers() -> None:
    levels = {(row["stride"], row["way"]): row["tonal_fraction_db"] for row in measure_stride_tones()}
    assert max(level for (_, way), level in levels.items() if way == "upsample1d") < -140
    assert -75 < levels[8, "alias_free_torch"] < -50
    assert levels[8, "julius"] < -130


@pytest.mark.parametrize("backward", [True, False])
def test_a_round_asks_for_the_gradients_of_a_training_case_only(backward: bool) -> None:
    seen: list[str] = []

    class Spy(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            seen.append("forward")
            return x * w

        @staticmethod
        def backward(
            context: torch.autograd.function.FunctionCtx, g: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(f"backward {context.needs_input_grad}")
            return g, g

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Spy.apply(x, self.weight)

    contenders = {"ours": Layer(), "peer": Layer()}
    benchmark.measure(cases.Case("g", "s", torch.ones(2), contenders, backward), rounds=1, seconds=0)
    assert seen == (["forward", "backward (True, True)"] if backward else ["forward"]) * 4


def test_threads_are_those_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(cases, "SOUNDS", ((1, 2, 40),))
    assert benchmark.main(["--out", str(tmp_path), "--rounds", "1", "--threads", "1", "--only", "sinc"]) == 0
    assert asked == [1]


def test_ratios_are_what_the_times_say(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def taking(seconds: float) -> nn.Module:
        class Contender(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                clock[0] += seconds
                return x

        return Contender()

    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock[0])
    contenders = {"ours": taking(0.2), "slow": taking(0.5), "fast": taking(0.1)}
    row = benchmark.measure(cases.Case("g", "s", torch.ones(2), contenders, True), rounds=7, seconds=1e9)
    assert row["rounds"] == 7
    assert row["seconds"] == pytest.approx({"ours": 0.2, "slow": 0.5, "fast": 0.1})
    assert row["ratios"] == pytest.approx({"slow": 2.5, "fast": 0.5})
    other = {**row, "ratios": {"slow": 10.0, "fast": 2.0}}
    summary = benchmark.summarise([row, other])["g"]
    assert summary["slow"] == pytest.approx({"mean": 5.0, "least": 2.5})
    assert summary["best"] == pytest.approx({"mean": 1.0, "least": 0.5})


def test_a_slow_case_ends_early() -> None:
    calls = []
    case = cases.Case("g", "s", torch.ones(2), {"ours": torch.sin, "peer": lambda x: calls.append(1) or x}, False)
    assert benchmark.measure(case, rounds=50, seconds=0.0)["rounds"] == benchmark.LEAST_ROUNDS
    assert len(calls) == benchmark.LEAST_ROUNDS + 1


def test_profile_tells_products_from_convolutions() -> None:
    class Products(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ torch.ones(x.shape[-1], 1000)

    spent = profile_step(Products(), torch.randn(1, 100, 500))
    assert spent["convolution"] == 0
    assert spent["product"] > 0.5 * sum(spent.values())
    spent = profile_step(nn.Conv1d(100, 100, 9), torch.randn(1, 100, 2000))
    assert spent["product"] == 0
    assert spent["convolution"] > 0.5 * sum(spent.values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_what_a_step_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Holds(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.held = torch.ones(64 * 2**20)  # 256 MiB
            y = x * self.held[0]
            del self.held
            return y

    monkeypatch.setattr(memory, "LAYERS", {"holds": lambda _: Holds(), "none": lambda _: nn.Identity()})
    row = memory.measure_stage(cases.Stage("V0", 1, 4, 2, 2, 9), torch.get_num_threads())
    assert 250 < row["extra_mib"]["holds"] < 300
    assert row["extra_mib"]["none"] < 8


@pytest.mark.usefixtures("small")
def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = str(torch.get_num_threads())
    assert benchmark.main(["--out", str(tmp_path), "--rounds", "1", "--threads", threads]) == 0
    result = json.loads((tmp_path / "benchmark.json").read_text())
    groups = {row["group"] for row in result["cases"]}
    assert groups == set(result["summary"])
    assert len(groups) == 11
    for row in result["cases"]:
        ours, *peers = row["seconds"].values()
        assert list(row["ratios"].values()) == [peer / ours for peer in peers]
    if sys.platform == "linux":
        assert len(result["memory"]) == 6
    assert len(result["profile"]) == 12
    aliases = {(row["activation"], row["way"]): row["aliases_db"] for row in result["aliases"]}
    assert len(aliases) == 10
    for name in ("LeakyReLU", "Snake"):
        twice = aliases[name, "Oversampled(activation, 2)"]
        assert twice < aliases[name, "plain"] - 5
        assert abs(twice - aliases[name, "alias_free_torch"]) < 1
        assert aliases[name, "Oversampled(activation, 4, zeros=16, rolloff=0.9)"] < twice - 10
    out = capsys.readouterr().out
    assert (tmp_path / "benchmark.txt").read_text() == out
    assert all(group in out for group in groups)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds"),
        (["--seconds", "nan"], "--seconds"),
        (["--threads", "0"], "--threads"),
        (["--threads", "99999999"], "--threads"),
        (["--only", "nothing"], "--only"),
    ],
)
def test_refusals(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--out", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err
