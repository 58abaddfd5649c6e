"""One training step, and all that a checkpoint has to hold."""

import json
import math
import time
from pathlib import Path

import torch
from lightning_fabric import Fabric

from audioup.loss import StrideToneLoss
from audioup.monitor import ToneMonitor
from audioup.state_dict import METADATA, layer_metadata
from vocoder.checkpoint import load_checkpoint, save_checkpoint
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
        self.mel = input_mel(sample_rate, preset.generator.hop_length).to(fabric.device)
        self.reconstruction = ReconstructionLoss(sample_rate, preset.generator.hop_length).to(fabric.device)
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
        self.step, self.seconds = 0, 0.0

    def resume(self, path: Path) -> None:
        """Restore weights, optimizers, running means and the step; noise and data order follow from the step.

        After `wrap`: an optimizer puts its state where the parameters are at this moment.
        """
        weights, state = load_checkpoint(path, tuple(self.networks))
        self.step, self.seconds = state["step"], state["seconds"]
        for name, means in self.running_means.items():
            if name in state:  # earlier checkpoints have none
                means.load_state_dict(state[name])
        for name, network in self.networks.items():
            network.load_state_dict(weights[name])
            self.optimizers[name].load_state_dict(state["optimizers"][name])

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        weights = {name: network.state_dict() for name, network in self.networks.items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        means = {name: module.state_dict() for name, module in self.running_means.items()}
        state = {"seconds": self.seconds, "optimizers": optimizers, **means}
        layers = json.dumps(layer_metadata(self.networks["generator"]))
        metadata = {"generator": {METADATA: layers, "sample_rate": str(self.sample_rate)}}
        save_checkpoint(folder, self.step, weights, state, metadata)

    def wrap(self) -> None:
        """Hand both networks to Fabric: device, precision, gradients averaged over processes."""
        wrapped = {name: self.fabric.setup(network, self.optimizers[name]) for name, network in self.networks.items()}
        self.generator, self.generator_optimizer = wrapped["generator"]
        self.discriminators, self.discriminator_optimizer = wrapped["discriminators"]

    def train_step(self, audio: torch.Tensor) -> dict[str, float]:
        """Take one step on ``audio`` of shape ``(batch, segment_size)``; return the losses."""
        start = time.perf_counter()
        # Noise is a function of seed, process and step, so a resumed run hears the same.
        torch.manual_seed((self.options.seed * 1_000_003 + self.step) * 1024 + self.fabric.global_rank)
        real = audio.unsqueeze(1)
        generated = self.generator(self.mel(audio)).float()
        self.monitor.update(generated)
        losses: dict[str, torch.Tensor] = {}
        adversarial = self.step >= self.options.warmup_steps
        if adversarial:
            losses["discriminator"] = discriminator_loss(*self.discriminators(real, generated.detach()))
            self._update("discriminator", losses["discriminator"])
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
        self._update("generator", total)
        self.step += 1
        values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(
                f"a loss is not finite at step {self.step}: {values}; the last checkpoint is unharmed"
            )
        self.seconds += time.perf_counter() - start
        return values

    def _update(self, name: str, loss: torch.Tensor) -> None:
        network = self.generator if name == "generator" else self.discriminators
        optimizer = self.generator_optimizer if name == "generator" else self.discriminator_optimizer
        for group in optimizer.param_groups:
            group["lr"] = self.options.learning_rate * 0.5 ** (self.step / self.preset.halving_steps)
        optimizer.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(network, optimizer, max_norm=self.preset.clip_norm)
        optimizer.step()
