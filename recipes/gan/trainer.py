"""One training step of the GAN, the mean of its generators, and all that a checkpoint has to hold."""

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from training.machine import average, wide
from training.updates import Updates, keep_buffers
from vocoder.checkpoint import load_checkpoint, place_of, restore, save_checkpoint

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
        self.dtype = wide(options)
        self.mean = copy.deepcopy(generator).eval().requires_grad_(False).to(fabric.device, self.dtype)
        self.networks: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
        self.wrapped: dict[str, Any] = {}
        self.optimizers: dict[str, Any] = {}
        for name, network in self.networks.items():
            optimizer = torch.optim.Adam(network.parameters(), options.learning_rate, betas=BETAS)
            self.wrapped[name], self.optimizers[name] = fabric.setup(network, optimizer)
        self.updates = Updates(fabric, options.on_nan)
        self.step, self.seconds = 0, 0.0
        self.curve: list[dict[str, float]] = []
        self.fixed = latents(MEASURED, options.latent).to(fabric.device, self.dtype)

    def resume(self, path: Path) -> None:
        """Restore networks, optimizers, mean, curve and the step; patches and latents follow from the step."""
        networks = {**self.networks, "mean": self.mean}
        weights, state = load_checkpoint(path, tuple(networks))
        restore(path, weights, state, networks, self.optimizers)
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        self.updates.skipped = state.get("skipped", 0)

    def save(self, folder: Path) -> Path:
        """Write a checkpoint, or in another process than the first only say where it is written; return its place."""
        if not self.fabric.is_global_zero:
            return place_of(folder, self.step)
        weights = {name: network.state_dict() for name, network in {**self.networks, "mean": self.mean}.items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        state = {"seconds": self.seconds, "curve": self.curve, "skipped": self.updates.skipped}
        return save_checkpoint(folder, self.step, weights, {**state, "optimizers": optimizers})

    def train_step(self) -> dict[str, float]:
        """Update the discriminator and then the generator, each once; return the losses, means over processes.

        Raises:
            FloatingPointError: If a gradient is not finite, as `Updates` says; if a loss is not, with that policy.
        """
        start = time.perf_counter()
        options, generator = self.options, self.wrapped["generator"]
        torch.manual_seed(options.seed * 1_000_003 + self.step + 1)  # so a resumed run draws the same
        share = options.batch_size // self.fabric.world_size
        own = slice(self.fabric.global_rank * share, (self.fabric.global_rank + 1) * share)
        real = self.patches.draw(options.batch_size, own).to(self.fabric.device, self.dtype)
        drawn = torch.randn(options.batch_size, options.latent)[own].to(self.fabric.device, self.dtype)
        reals, sources = real.chunk(options.accumulate), drawn.chunk(options.accumulate)
        whole, skipped = options.accumulate == 1, self.updates.skipped
        put_back = keep_buffers(self.networks["generator"])
        with torch.set_grad_enabled(whole):
            made = [generator(source) for source in sources]
        losses = self._update("discriminator", lambda n: self._judged(reals[n], made[n].detach()))
        if not whole:
            put_back()  # the generator's statistics: each part is made once more, with a graph
        losses |= self._update("generator", lambda n: self._deceived(made[n] if whole else generator(sources[n])))
        if self.updates.skipped > skipped:
            put_back()
        self._average()
        self.step += 1
        values = dict(zip(losses, average(self.fabric, torch.stack(list(losses.values()))), strict=True))
        if options.on_nan == "stop" and not all(map(math.isfinite, values.values())):
            raise FloatingPointError(f"a loss is not finite at step {self.step}: {values}")
        self.seconds += time.perf_counter() - start
        return values

    def _judged(self, real: Tensor, generated: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the discriminator minimises, and its loss by name."""
        discriminator = self.wrapped["discriminator"]
        penalised = self.step % PENALTY_EVERY == 0 and self.options.r1 > 0
        real = real.detach().requires_grad_(penalised)
        # Not by Fabric's wrapper, whose outputs have no gradient but by its `backward`; averaged it is with the other.
        with self.fabric.autocast():
            of_real = self.networks["discriminator"](real).to(self.dtype)
        loss = discriminator_loss(of_real, discriminator(generated))
        total = loss + PENALTY_EVERY * self.options.r1 * r1_penalty(real, of_real) if penalised else loss
        return total, {"discriminator": loss}

    def _deceived(self, generated: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the generator's loss, and it by name."""
        discriminator = self.wrapped["discriminator"]
        discriminator.requires_grad_(False)
        with self.fabric.no_backward_sync(discriminator):
            loss = generator_loss(discriminator(generated))
        discriminator.requires_grad_(True)
        return loss, {"generator": loss}

    def _update(self, name: str, losses: Callable[[int], tuple[Tensor, dict[str, Tensor]]]) -> dict[str, Tensor]:
        return self.updates(name, self.wrapped[name], self.optimizers[name], losses, self.options.accumulate)

    def measure(self) -> dict[str, float]:
        """Add a point to the curve: the energy at periods 2 and 4 of what the mean generator makes now."""
        with torch.no_grad():
            images = self.mean(self.fixed)
        self.curve.append({"step": self.step, **energies(images)})
        return self.curve[-1]

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
