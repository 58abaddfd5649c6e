"""The estimate of training times: its counts are those of real operations, its sums are as described."""

import json
from pathlib import Path

import estimate_training
import pytest
import torch
from estimate_training import OPTIMIZER_BYTES, Counter, Options, count_step, estimate
from torch.utils.flop_counter import FlopCounterMode
from vocoder.discriminators import Discriminators
from vocoder.losses import adversarial_loss, discriminator_loss, feature_loss
from vocoder.mel import input_mel
from vocoder.model import Generator
from vocoder.presets import PRESETS

SMALL = Options(preset="tiny", segment_size=2048, sample_rate=16000)


def test_flops_are_those_that_torch_counts_in_a_real_step() -> None:
    preset = PRESETS["tiny"]
    mel = input_mel(16000, 256)
    generator, judges = Generator(80, preset.generator, "transposed"), Discriminators(preset.discriminators)
    with FlopCounterMode(display=False) as flops:
        real = torch.randn(2, 1, 2048)
        generated = generator(mel(real.squeeze(1)))
        discriminator_loss(*judges(real, generated.detach())).backward()
        judges.requires_grad_(False)
        of_real, of_generated = judges(real, generated)
        (generated.square().mean() + adversarial_loss(of_generated) + feature_loss(of_real, of_generated)).backward()
    counted, parameters = count_step(SMALL, 2)
    # Convolutions and the mel's matrix product, which the losses take again of both sounds, with a gradient of one.
    with FlopCounterMode(display=False) as of_mel:
        mel(torch.randn(2, 2048))
    assert counted.flops - flops.get_total_flops() == pytest.approx(3 * of_mel.get_total_flops(), abs=1)
    assert parameters["generator"] == sum(p.numel() for p in generator.parameters())
    assert parameters["discriminators"] == sum(p.numel() for p in judges.parameters())


def test_an_operation_takes_its_arithmetic_or_its_memory() -> None:
    a, b = torch.randn(8, 4), torch.randn(4, 16)
    moved = 4 * (8 * 4 + 4 * 16 + 8 * 16)
    for flops_per_s, bytes_per_s, seconds in ((1.0, 1e9, 2 * 8 * 4 * 16), (1e9, 1.0, moved)):
        with Counter(flops_per_s, bytes_per_s) as counter:
            (a @ b).view(-1).unsqueeze(0)  # views take no time
        assert (counter.counted.kernels, counter.counted.flops) == (1, 2 * 8 * 4 * 16)
        assert counter.counted.moved_bytes == moved
        assert counter.counted.kernels_s == pytest.approx(seconds)


def test_gpus_share_the_batch_and_exchange_gradients() -> None:
    one, four = estimate(Options(**{**vars(SMALL), "batch_size": 8, "devices": (1, 4), "launch_us": 0.0}))
    parameters = sum(one["parameters"].values())
    assert one["exchanged_bytes"] == 0
    assert four["exchanged_bytes"] == 2 * 3 / 4 * 4 * parameters
    assert four["exchange_s"] == pytest.approx(four["exchanged_bytes"] / (450e9 * 0.7))
    assert one["flops"] == pytest.approx(4 * four["flops"])
    assert one["kernels"] == four["kernels"]
    assert four["moved_bytes"] - OPTIMIZER_BYTES * parameters < (one["moved_bytes"] - OPTIMIZER_BYTES * parameters) / 2
    assert one["step_s"] == one["kernels_s"]
    assert one["hours"] == pytest.approx(one["step_s"] * PRESETS["tiny"].steps / 3600)


def test_the_program_says_that_it_estimates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "tiny", "--batch-size", "4", "--devices", "1", "2", "--json", str(tmp_path / "e.json")]
    assert estimate_training.main(words) == 0
    assert "An estimate, not a measurement: tiny, 2,000 steps" in capsys.readouterr().out
    assert [row["devices"] for row in json.loads((tmp_path / "e.json").read_text())["rows"]] == [1, 2]
    for words, message in ((["--devices", "3"], "multiple"), (["--upsampler", "x"], "--upsampler must be one of")):
        assert estimate_training.main(["--preset", "tiny", *words]) == 2
        assert message in capsys.readouterr().err
