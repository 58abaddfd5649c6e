"""The monitor gives a known line to its stage at its level, and costs next to nothing."""

import math

import pytest
import reference
import torch
from conversions import old_weight_norm
from reference import noise
from torch import nn

from audioup import SubPixelConv1d, TransposedConv1d, measure_tones, regular, tonal_fraction
from audioup.monitor import ToneMonitor, tonal_fractions

one_thread = reference.one_thread
STRIDES = (4, 1, 2, 4)
RATE = 32000  # lines 1000 Hz apart


def line(hz: float, amplitude: float, examples: int = 32, samples: int = 1024) -> torch.Tensor:
    return amplitude * torch.cos(2 * math.pi * hz / RATE * torch.arange(samples)).expand(examples, -1)


@pytest.mark.parametrize(("hz", "stage"), [(3000, 0), (5000, 0), (4000, 2), (12000, 2), (8000, 3), (16000, 3)])
def test_a_line_belongs_to_the_latest_stage_at_the_level_of_its_sine(hz: int, stage: int) -> None:
    monitor = ToneMonitor(STRIDES, RATE)
    sound = line(hz, 0.01) + 1e-4 * noise(32, 1024).float()
    monitor.update(sound)
    levels = monitor.levels()
    assert levels[f"tones/stage{stage}_dbfs"] == pytest.approx(-40, abs=0.05)
    assert levels[f"tones/stage{stage}_hz"] == hz
    assert levels[f"tones/stage{stage}_total_dbfs"] == pytest.approx(-40, abs=0.2)
    others = {f"tones/stage{other}_dbfs" for other in (0, 2, 3) if other != stage}
    assert all(levels[name] < -90 for name in others)
    assert not any("stage1" in name for name in levels)  # of stride 1
    measured = measure_tones(list(sound[:4].repeat(1, 40)), RATE, STRIDES).strongest
    assert measured is not None
    assert (measured.frequency_hz, measured.stages[0]) == (hz, stage)
    assert measured.level_dbfs == pytest.approx(levels[f"tones/stage{stage}_dbfs"], abs=0.05)


def test_chance_is_told_and_falls_with_the_batches() -> None:
    monitor = ToneMonitor((4, 2), 16000, momentum=0.98)
    found = []
    for seed in range(300):
        monitor.update(0.1 * noise(8, 512, seed=seed).float())
        found.append(monitor.levels())
    # The Hann window of 512 samples passes 1.5 / 512 of the power of white noise, 0.01; four times that is a sine's
    # square; over 8 examples, and 99 = 1.98 / 0.02 batches.
    one = 10 * math.log10(4 * 0.01 * 1.5 / 512 / 8)
    assert found[0]["tones/stage0_chance_dbfs"] == pytest.approx(one, abs=2)
    assert found[-1]["tones/stage0_chance_dbfs"] == pytest.approx(one - 10 * math.log10(99), abs=0.5)
    assert found[-1]["tones/stage0_dbfs"] == pytest.approx(one - 20, abs=6)


def test_the_total_is_all_lines_without_chance() -> None:
    monitor = ToneMonitor((8, 2), 16000, momentum=0.98)
    for seed in range(200):
        monitor.update(
            0.1 * noise(16, 512, seed=seed).float() + line(2 * 2000, 0.02, 16, 512) + line(6000, 0.02, 16, 512)
        )
    levels = monitor.levels()
    assert levels["tones/stage0_dbfs"] == pytest.approx(20 * math.log10(0.02), abs=0.5)
    assert levels["tones/stage0_total_dbfs"] == pytest.approx(20 * math.log10(0.02 * 2**0.5), abs=0.3)


def test_the_means_run_and_resume_to_the_bit() -> None:
    one, two = ToneMonitor((4, 2), 16000), ToneMonitor((4, 2), 16000)
    assert one.levels() == {}
    one.update(noise(4, 256).float().requires_grad_())
    two.load_state_dict(one.state_dict())
    for monitor in (one, two):
        monitor.update(noise(4, 256, seed=1).float())
    assert one.levels() == two.levels()
    assert int(one.running.batches) == 2
    assert not one.running.lines.requires_grad


class Writer:
    def __init__(self) -> None:
        self.scalars: dict[str, tuple[float, int]] = {}

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.scalars[tag] = (scalar_value, global_step)


def test_scalars_are_written_with_the_layers_of_a_generator() -> None:
    generator = nn.Sequential()
    generator.add_module("up", regular(TransposedConv1d(4, 4, 16, 8)))
    generator.add_module("sub", nn.Sequential(SubPixelConv1d(4, 4, 3, 2), TransposedConv1d(4, 4, 3, 1)))
    generator.add_module("torch", nn.ConvTranspose1d(4, 1, 4, 2))
    generator.add_module("image", nn.ConvTranspose2d(1, 1, 4, (1, 2)))
    generator.add_module("same", nn.Conv1d(1, 1, 3))
    monitor, writer = ToneMonitor((8, 2), 16000), Writer()
    monitor.update(noise(4, 256).float())
    monitor.write(writer, 7, generator)
    fractions = {tag: value for tag, (value, _) in writer.scalars.items() if tag.startswith("tonal")}
    assert fractions.keys() == {f"tonal_fraction_db/{path}" for path in ("up", "sub.0", "torch", "image")}
    assert fractions["tonal_fraction_db/up"] < -130
    assert fractions["tonal_fraction_db/torch"] == pytest.approx(tonal_fraction(generator[2].weight, 2).item())
    assert fractions["tonal_fraction_db/image"] == pytest.approx(tonal_fraction(generator[3].weight, (1, 2)).item())
    assert {tag: value for tag, (value, _) in writer.scalars.items() if tag not in fractions} == monitor.levels()
    assert {step for _, step in writer.scalars.values()} == {7}


def test_a_kernel_without_tone_has_the_smallest_level() -> None:
    layer = nn.ConvTranspose1d(1, 1, 2, 2)
    nn.init.ones_(layer.weight)
    assert tonal_fractions(layer) == {"tonal_fraction_db/": -200}


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("every stride must be an integer >= 1, got 0", ((8, 0), 16000)),
        ("sample_rate must be an integer >= 1, got 0", ((8,), 0)),
        ("momentum must be from 0 to below 1, got -0.1", ((8,), 16000, -0.1)),
    ],
)
def test_refusals_name_the_argument(message: str, arguments: tuple) -> None:
    with pytest.raises(ValueError, match=message):
        ToneMonitor(*arguments)


def test_the_monitor_follows_in_any_mode():
    audio = 0.1 * torch.cos(torch.pi / 4 * torch.arange(64)).expand(16, -1)
    one, other = ToneMonitor((2, 4), 16000), ToneMonitor((2, 4), 16000).eval()
    one.update(audio)
    other.update(audio)
    assert one.levels() == other.levels() != {}


def test_old_weight_norm_is_read_as_the_next_run_will_use_it():
    layer = old_weight_norm(torch.nn.ConvTranspose1d(1, 1, 3, 2, bias=False))
    layer.load_state_dict({"weight_g": torch.full((1, 1, 1), 3**0.5), "weight_v": torch.ones(1, 1, 3)})
    assert tonal_fractions(layer)["tonal_fraction_db/"] == pytest.approx(-10, abs=1e-5)
