"""One training step of the GAN, the mean of its generators, and all that a checkpoint has to hold."""

import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from vocoder.checkpoint import load_checkpoint, save_checkpoint

from audioup import checkerboard_energy
from gan.data import Patches
from gan.losses import discriminator_loss, generator_loss, r1_penalty
from gan.models import Discriminator, Generator
from gan.options import Options

BETAS = (0.5, 0.99)
PENALTY_EVERY = 4  # steps; its weight is as many times larger
MEASURED = 256  # images, of latents that are the same in all runs
LATENT_SEED = 20161017


class Trainer:
    """Two networks, their optimizers, the running mean of the generator, and the curve so far."""

    def __init__(self, options: Options, fabric: Fabric, patches: Patches) -> None:
        self.options, self.fabric, self.patches = options, fabric, patches
        torch.manual_seed(options.seed)
        generator = Generator(options.upsamplers, options.latent, options.width)
        discriminator = Discriminator(generator.size, options.discriminator_stride, options.width)
        self.mean = copy.deepcopy(generator).eval().requires_grad_(False).to(fabric.device)
        self.networks: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
        self.wrapped: dict[str, Any] = {}
        self.optimizers: dict[str, Any] = {}
        for name, network in self.networks.items():
            optimizer = torch.optim.Adam(network.parameters(), options.learning_rate, betas=BETAS)
            self.wrapped[name], self.optimizers[name] = fabric.setup(network, optimizer)
        self.step, self.seconds = 0, 0.0
        self.curve: list[dict[str, float]] = []
        self.fixed = latents(MEASURED, options.latent).to(fabric.device)

    def resume(self, path: Path) -> None:
        """Restore networks, optimizers, mean, curve and the step; patches and latents follow from the step."""
        weights, state = load_checkpoint(path, (*self.networks, "mean"))
        for name, network in self.networks.items():
            network.load_state_dict(weights[name])
            self.optimizers[name].load_state_dict(state["optimizers"][name])
        self.mean.load_state_dict(weights["mean"])
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        weights = {name: network.state_dict() for name, network in {**self.networks, "mean": self.mean}.items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        state = {"seconds": self.seconds, "curve": self.curve, "optimizers": optimizers}
        save_checkpoint(folder, self.step, weights, state)

    def train_step(self) -> dict[str, float]:
        """Update the discriminator and then the generator, each once; return the losses."""
        start = time.perf_counter()
        options, generator, discriminator = self.options, self.wrapped["generator"], self.wrapped["discriminator"]
        torch.manual_seed(options.seed * 1_000_003 + self.step + 1)  # so a resumed run draws the same
        real = self.patches.draw(options.batch_size).to(self.fabric.device)
        generated = generator(torch.randn(options.batch_size, options.latent).to(self.fabric.device))

        penalised = self.step % PENALTY_EVERY == 0 and options.r1 > 0
        real.requires_grad_(penalised)
        of_real = discriminator(real)
        loss = discriminator_loss(of_real, discriminator(generated.detach()))
        total = loss + PENALTY_EVERY * options.r1 * r1_penalty(real, of_real) if penalised else loss
        self._update("discriminator", total)

        discriminator.requires_grad_(False)
        deceived = generator_loss(discriminator(generated))
        discriminator.requires_grad_(True)
        self._update("generator", deceived)

        self._average()
        self.step += 1
        losses = {"discriminator": loss.item(), "generator": deceived.item()}
        if not all(map(math.isfinite, losses.values())):
            raise FloatingPointError(f"a loss is not finite at step {self.step}: {losses}")
        self.seconds += time.perf_counter() - start
        return losses

    def measure(self) -> dict[str, float]:
        """Add a point to the curve: the energy at periods 2 and 4 of what the mean generator makes now."""
        with torch.no_grad():
            images = self.mean(self.fixed)
        self.curve.append({"step": self.step, **energies(images)})
        return self.curve[-1]

    def _update(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        self.fabric.backward(loss)
        self.optimizers[name].step()

    @torch.no_grad()
    def _average(self) -> None:
        # Early steps count for less than the decay says, or the start would last.
        decay = min(self.options.ema, (self.step + 1) / (self.step + 10))
        for mean, value in zip(
            self.mean.state_dict().values(), self.networks["generator"].state_dict().values(), strict=True
        ):
            if value.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def energies(images: Tensor) -> dict[str, float]:
    """Return the mean share of energy at period 2 (``E2``) and at period 4 (``E4``) of images."""
    return {f"E{period}": checkerboard_energy(images, period).mean().item() for period in (2, 4)}


def latents(n: int, size: int, seed: int = LATENT_SEED) -> Tensor:
    """Draw ``(n, size)`` latents that only depend on the arguments."""
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))
