"""Updates that are taken only if their gradient is finite."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

MOST_SKIPPED = 100  # updates of a network, one after the other: no training goes on from there


class Updates:
    """Accumulates gradients over parts of a batch and updates a network, unless the gradient is NaN or infinite.

    All processes see the same gradient, so they decide alike.

    Args:
        fabric: Runs the networks.
        policy: ``"stop"`` or ``"skip"``.

    Attributes:
        skipped: Updates that were left out.
    """

    def __init__(self, fabric: Fabric, policy: Literal["stop", "skip"]) -> None:
        self.fabric, self.policy = fabric, policy
        self.skipped = 0
        self._in_a_row: dict[str, int] = {}

    def __call__(
        self,
        name: str,
        network: Any,
        optimizer: Any,
        losses: Callable[[int], tuple[Tensor, dict[str, Tensor]]],
        parts: int,
        max_norm: float = float("inf"),
    ) -> dict[str, Tensor]:
        """Update a network once.

        Args:
            name: Of the network, for messages.
            network: As Fabric has wrapped it; its optimizer likewise.
            optimizer: Of the network.
            losses: Computes of part ``n`` the loss to minimise, and what it consists of, each a mean over examples.
            parts: How many parts there are, of as many examples each.
            max_norm: Largest norm of the gradient.

        Returns:
            Means over the parts of what the losses consist of.

        Raises:
            FloatingPointError: If the gradient is not finite and the policy is to stop, or for the 100th time running.
                The weights are as they were.
        """
        optimizer.zero_grad()
        found: list[dict[str, Tensor]] = []
        for n in range(parts):
            with self.fabric.no_backward_sync(network, enabled=n + 1 < parts):
                total, terms = losses(n)
                self.fabric.backward(total / parts)
            found.append({key: value.detach() for key, value in terms.items()})
        means = {key: torch.stack([terms[key] for terms in found]).mean() for key in found[0]}
        norm = self.fabric.clip_gradients(network, optimizer, max_norm=max_norm, error_if_nonfinite=False)
        if norm is None or bool(norm.isfinite()):
            optimizer.step()
            self._in_a_row[name] = 0
            return means
        self.skipped += 1
        self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
        if self.policy == "stop" or self._in_a_row[name] >= MOST_SKIPPED:
            values = {key: float(value) for key, value in means.items()}
            times = "" if self.policy == "stop" else f" for the {MOST_SKIPPED}th time running"
            raise FloatingPointError(
                f"the gradient of the {name} is not finite{times}, with losses of {values}; the update was not taken, "
                "and the last checkpoint is unharmed"
            )
        return means


def keep_buffers(module: nn.Module) -> Callable[[], None]:
    """Return a function that puts the buffers of a module, such as means over batches, back to what they are now."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]

    def restore() -> None:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)

    return restore
