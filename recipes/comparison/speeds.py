"""What each variant costs: parameters, multiply-adds, time to train a step and to make a second of sound."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from vocoder.options import Settings
from vocoder.trainer import Trainer

WARM_UP = 2  # rounds that are not counted
SOUND_S = 5.0


def measure_speeds(
    settings: Mapping[str, Settings], fabric: Fabric, sample_rate: int, rounds: int
) -> dict[str, dict[str, Any]]:
    """Time all variants in turns, so that what else the machine does meets all of them; medians.

    Args:
        settings: Of each variant's training, by name.
        fabric: Says on which device.
        sample_rate: In Hz.
        rounds: How often each is timed.

    Returns:
        For each variant ``parameters``, ``multiply_adds`` for a second of sound (torch's flop counter, halved),
        ``real_time_factor``, ``step_s`` of a warm-up step and ``adversarial_step_s``, in seconds.
    """
    trainers = {}
    for name, options in settings.items():
        trainers[name] = Trainer(dataclasses.replace(options, warmup_steps=0), fabric, sample_rate)
        trainers[name].wrap()
    steps: dict[tuple[str, str], Callable[[], object]] = {}
    sounds: dict[tuple[str, str], Callable[[], object]] = {}
    for name, trainer in trainers.items():
        sound = torch.randn(trainer.options.batch_size, trainer.options.segment_size, device=fabric.device) / 10
        frames = round(SOUND_S * sample_rate / trainer.mel.hop_length)
        mel = torch.randn(1, trainer.mel.mel.n_mels, frames, device=fabric.device) - 5  # about the level of speech
        steps[name, "step_s"] = partial(_step, trainer, sound, adversarial=False)
        steps[name, "adversarial_step_s"] = partial(_step, trainer, sound, adversarial=True)
        sounds[name, "real_time_factor"] = partial(_generate, trainer.generator_network, mel)
    # One after the other: in eval() a layer keeps what it computed of its weight, until a step changes that.
    times = {**_in_turns(steps, rounds, fabric.device), **_in_turns(sounds, rounds, fabric.device)}
    return {
        name: {
            "parameters": sum(p.numel() for p in trainer.generator_network.parameters()),
            "multiply_adds": count_multiply_adds(trainer.generator_network, trainer.mel.mel.n_mels)
            * (sample_rate / trainer.mel.hop_length),
            "real_time_factor": times[name, "real_time_factor"] / SOUND_S,
            "step_s": times[name, "step_s"],
            "adversarial_step_s": times[name, "adversarial_step_s"],
        }
        for name, trainer in trainers.items()
    }


def _in_turns(
    jobs: Mapping[tuple[str, str], Callable[[], object]], rounds: int, device: torch.device
) -> dict[tuple[str, str], float]:
    """Return the median time of each job, in seconds."""
    times: dict[tuple[str, str], list[float]] = {job: [] for job in jobs}
    for _ in tqdm(range(rounds + WARM_UP), desc="speeds", unit="round"):
        for job, work in jobs.items():
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[job].append(time.perf_counter() - start)
    return {job: statistics.median(values[WARM_UP:]) for job, values in times.items()}


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
