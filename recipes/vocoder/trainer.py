"""One training step, and all that a checkpoint has to hold."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from training.machine import average, wide
from training.updates import Updates

from audioup.loss import StrideToneLoss
from audioup.monitor import ToneMonitor
from audioup.state_dict import METADATA, layer_metadata
from vocoder.checkpoint import load_checkpoint, place_of, restore, save_checkpoint
from vocoder.discriminators import Discriminators
from vocoder.losses import (
    ADVERSARIAL_WEIGHT,
    FEATURE_WEIGHT,
    MEL_WEIGHT,
    STFT_WEIGHT,
    ReconstructionLoss,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from vocoder.mel import input_mel
from vocoder.model import Generator
from vocoder.options import Settings, generator_shape
from vocoder.presets import PRESETS


class Trainer:
    """Two networks, their optimizers and losses, and the step that trains them."""

    def __init__(self, options: Settings, fabric: Fabric, sample_rate: int) -> None:
        self.preset = preset = PRESETS[options.preset]
        shape = generator_shape(options)
        self.options, self.fabric, self.sample_rate = options, fabric, sample_rate
        fabric.seed_everything(options.seed, workers=False, verbose=False)
        self.dtype = wide(options)
        self.mel = input_mel(sample_rate, preset.generator.hop_length).to(fabric.device, self.dtype)
        self.reconstruction = ReconstructionLoss(sample_rate, preset.generator.hop_length).to(fabric.device, self.dtype)
        self.tone_loss = StrideToneLoss(preset.generator.strides).to(fabric.device)
        self.monitor = ToneMonitor(preset.generator.strides, sample_rate).to(fabric.device)
        self.generator_network = Generator(self.mel.mel.n_mels, shape, options.upsampler, options.noise)
        self.networks: dict[str, torch.nn.Module] = {
            "generator": self.generator_network,
            "discriminators": Discriminators(preset.discriminators),
        }
        self.optimizers = {
            name: torch.optim.AdamW(network.parameters(), options.learning_rate, betas=(0.8, 0.99))
            for name, network in self.networks.items()
        }
        self.running_means: dict[str, torch.nn.Module] = {"tone_loss": self.tone_loss, "tone_monitor": self.monitor}
        self.updates = Updates(fabric, options.on_nan)
        self.step, self.seconds = 0, 0.0

    def resume(self, path: Path) -> None:
        """Restore weights, optimizers, running means and the step; noise and data order follow from the step.

        After `wrap`: an optimizer puts its state where the parameters are at this moment.

        Raises:
            ValueError: If the checkpoint is damaged or of other networks.
        """
        weights, state = load_checkpoint(path, tuple(self.networks))
        restore(path, weights, state, self.networks, self.optimizers)
        self.step, self.seconds, self.updates.skipped = state["step"], state["seconds"], state.get("skipped", 0)
        for name, means in self.running_means.items():
            if name in state:  # earlier checkpoints have none
                means.load_state_dict(state[name])

    def save(self, folder: Path) -> Path:
        """Write a checkpoint, or in another process than the first only say where it is written; return its place."""
        if not self.fabric.is_global_zero:
            return place_of(folder, self.step)
        weights = {name: network.state_dict() for name, network in self.networks.items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        means = {name: module.state_dict() for name, module in self.running_means.items()}
        state = {"seconds": self.seconds, "skipped": self.updates.skipped, "optimizers": optimizers, **means}
        layers = json.dumps(layer_metadata(self.networks["generator"]))
        metadata = {"generator": {METADATA: layers, "sample_rate": str(self.sample_rate)}}
        return save_checkpoint(folder, self.step, weights, state, metadata)

    def wrap(self) -> None:
        """Hand both networks to Fabric: device, precision, gradients averaged over processes."""
        self.wrapped: dict[str, tuple[Any, Any]] = {
            name: self.fabric.setup(network, self.optimizers[name]) for name, network in self.networks.items()
        }
        self.generator, self.discriminators = self.wrapped["generator"][0], self.wrapped["discriminators"][0]

    def train_step(self, audio: Tensor) -> dict[str, float]:
        """Take one step on ``audio`` of shape ``(batch, segment_size)``, this process's share; return the mean losses.

        Raises:
            FloatingPointError: If a gradient is not finite, as `Updates` says; if a loss is not, with that policy.
        """
        start = time.perf_counter()
        parts = audio.to(self.dtype).chunk(self.options.accumulate)
        # Of several parts the graph is made once more for the generator's update, so that one at a time takes memory.
        whole, adversarial = len(parts) == 1, self.step >= self.options.warmup_steps
        losses: dict[str, Tensor] = {}
        self._seed_noise()
        with torch.set_grad_enabled(whole):
            made = [self._generate(part) for part in parts]
        if adversarial:
            losses |= self._update("discriminators", len(parts), lambda n: self._judged(parts[n], made[n].detach()))
        if not whole:
            self.reconstruction.announce(made, [part.unsqueeze(1) for part in parts])
            self._seed_noise()

        def reproduced(n: int) -> tuple[Tensor, dict[str, Tensor]]:
            return self._reproduced(parts[n], made[n] if whole else self._generate(parts[n]), adversarial)

        losses |= self._update("generator", len(parts), reproduced)
        self.monitor.update(torch.cat(made).detach())
        self.step += 1
        values = dict(zip(losses, average(self.fabric, torch.stack(list(losses.values()))), strict=True))
        if self.options.on_nan == "stop" and not all(map(math.isfinite, values.values())):
            raise FloatingPointError(
                f"a loss is not finite at step {self.step}: {values}; the last checkpoint is unharmed"
            )
        self.seconds += time.perf_counter() - start
        return values

    def _seed_noise(self) -> None:
        # Noise is a function of seed, process and step, so a resumed run hears the same.
        torch.manual_seed((self.options.seed * 1_000_003 + self.step) * 1024 + self.fabric.global_rank)

    def _generate(self, audio: Tensor) -> Tensor:
        generated: Tensor = self.generator(self.mel(audio))
        return generated.to(self.dtype)

    def _judged(self, audio: Tensor, generated: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the discriminators' loss, and it by name."""
        loss = discriminator_loss(*self.discriminators(audio.unsqueeze(1), generated))
        return loss, {"discriminator": loss}

    def _reproduced(self, audio: Tensor, generated: Tensor, adversarial: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the generator's loss, and what it consists of."""
        real = audio.unsqueeze(1)
        losses: dict[str, Tensor] = {}
        losses["mel"], losses["stft"] = self.reconstruction(generated, real)
        total = MEL_WEIGHT * losses["mel"] + STFT_WEIGHT * losses["stft"]
        if self.options.tone_loss:
            losses["tones"] = self.tone_loss(generated, real)
            total = total + self.options.tone_loss * losses["tones"]
        if adversarial:
            # The discriminators only pass gradients on here; their own are neither wanted nor shared.
            self.discriminators.requires_grad_(False)
            with self.fabric.no_backward_sync(self.discriminators):
                of_real, of_generated = self.discriminators(real, generated)
            self.discriminators.requires_grad_(True)
            losses["adversarial"] = adversarial_loss(of_generated)
            losses["feature"] = feature_loss(of_real, of_generated)
            total = total + ADVERSARIAL_WEIGHT * losses["adversarial"] + FEATURE_WEIGHT * losses["feature"]
        return total, losses

    def _update(
        self, name: str, parts: int, losses: Callable[[int], tuple[Tensor, dict[str, Tensor]]]
    ) -> dict[str, Tensor]:
        network, optimizer = self.wrapped[name]
        for group in optimizer.param_groups:
            group["lr"] = self.options.learning_rate * 0.5 ** (self.step / self.preset.halving_steps)
        return self.updates(name, network, optimizer, losses, parts, self.preset.clip_norm)
