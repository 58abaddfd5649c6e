"""What each variant costs: parameters, multiply-adds, time to train a step and to make a second of sound."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from train_vocoder import make_fabric
from vocoder.options import Settings
from vocoder.trainer import Trainer

WARM_UP = 2  # rounds that are not counted
SOUND_S = 5.0


def measure_speeds(settings: Mapping[str, Settings], sample_rate: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Time all variants in turns, so that what else the machine does meets all of them; medians.

    Args:
        settings: Of each variant's training, by name.
        sample_rate: In Hz.
        rounds: How often each is timed.

    Returns:
        For each variant ``parameters``, ``multiply_adds`` for a second of sound (torch's flop counter, halved),
        ``real_time_factor``, ``step_s`` of a warm-up step and ``adversarial_step_s``, in seconds.
    """
    fabric = make_fabric(next(iter(settings.values())))
    trainers = {}
    for name, options in settings.items():
        trainers[name] = Trainer(dataclasses.replace(options, warmup_steps=0), fabric, sample_rate)
        trainers[name].wrap()
    jobs: dict[tuple[str, str], Callable[[], object]] = {}
    for name, trainer in trainers.items():
        sound = torch.randn(trainer.options.batch_size, trainer.options.segment_size, device=fabric.device) / 10
        frames = round(SOUND_S * sample_rate / trainer.mel.hop_length)
        mel = torch.randn(1, trainer.mel.mel.n_mels, frames, device=fabric.device) - 5  # about the level of speech
        jobs[name, "step_s"] = lambda t=trainer, x=sound: _step(t, x, adversarial=False)  # type: ignore[misc]
        jobs[name, "adversarial_step_s"] = lambda t=trainer, x=sound: _step(t, x, adversarial=True)  # type: ignore[misc]
        jobs[name, "real_time_factor"] = lambda t=trainer, x=mel: _generate(t.generator_network, x)  # type: ignore[misc]
    times: dict[tuple[str, str], list[float]] = {job: [] for job in jobs}
    for _ in tqdm(range(rounds + WARM_UP), desc="speeds", unit="round"):
        for job, work in jobs.items():
            start = time.perf_counter()
            work()
            if fabric.device.type == "cuda":
                torch.cuda.synchronize(fabric.device)
            times[job].append(time.perf_counter() - start)
    found: dict[str, dict[str, Any]] = {}
    for name, trainer in trainers.items():
        generator, rate = trainer.generator_network, sample_rate / trainer.mel.hop_length
        medians = {kind: statistics.median(times[name, kind][WARM_UP:]) for kind in ("step_s", "adversarial_step_s")}
        found[name] = {
            "parameters": sum(p.numel() for p in generator.parameters()),
            "multiply_adds": count_multiply_adds(generator, trainer.mel.mel.n_mels) * rate,
            "real_time_factor": statistics.median(times[name, "real_time_factor"][WARM_UP:]) / SOUND_S,
            **medians,
        }
    return found


@torch.no_grad()
def count_multiply_adds(generator: nn.Module, n_mels: int, frames: int = 100) -> float:
    """Count the multiply-adds of convolutions and matrix products for one mel frame, in ``eval()``."""
    generator.eval()
    mel = torch.zeros(1, n_mels, frames, device=next(generator.parameters()).device)
    generator(mel)  # what a layer computes of its weight once is no cost of a frame
    with FlopCounterMode(display=False) as counter:
        generator(mel)
    return counter.get_total_flops() / 2 / frames


def _step(trainer: Trainer, sound: torch.Tensor, adversarial: bool) -> None:
    trainer.generator_network.train()
    trainer.options = dataclasses.replace(trainer.options, warmup_steps=0 if adversarial else trainer.step + 1)
    trainer.train_step(sound)


@torch.no_grad()
def _generate(generator: nn.Module, mel: torch.Tensor) -> None:
    generator.eval()(mel)
