"""The same seed gives the same result; the number of threads changes rounding and no verdict."""

from pathlib import Path

import pytest
import torch
import train_gan
from endurance.trainings import differences, gan, run
from vocoder.mel import input_mel
from vocoder.model import Generator
from vocoder.presets import PRESETS
from vocoder.report import vocode

from audioup import measure_tones, probe


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_number_of_threads_changes_no_verdict(threads) -> None:
    torch.manual_seed(0)
    mel, generator = input_mel(16000, 256), Generator(80, PRESETS["tiny"].generator, "transposed").eval()
    sound = 0.1 * torch.randn(4 * 16000) * torch.linspace(0, 1, 4 * 16000)
    reports, probes = [], []
    for count in (1, 2, 4):
        threads(count)
        reports.append(measure_tones(vocode(generator, mel, sound).numpy(), 16000, generator.shape.strides))
        with torch.no_grad():
            probes.append(probe(generator, mel(sound)[None], 16000))
    for other in (1, 2):
        assert reports[other].verdict == reports[0].verdict
        for line, first in zip(reports[other].lines, reports[0].lines, strict=True):
            assert line.detected == first.detected
            assert line.level_dbfs == pytest.approx(first.level_dbfs, abs=1e-2)
        assert probes[other].verdict == probes[0].verdict
    assert any(line.detected for line in reports[0].lines)


def test_the_same_seed_gives_the_same_bits_in_another_process(tmp_path: Path) -> None:
    training = gan(5)
    for name in ("one", "other"):
        done = run(training.command(tmp_path / name))
        assert done.returncode == 0, done.stderr
    assert train_gan.main(training.command(tmp_path / "another", "--seed", "1")[2:]) == 0
    assert differences(tmp_path / "one", tmp_path / "other") == []
    assert any("generator.safetensors" in place for place in differences(tmp_path / "one", tmp_path / "another"))
