"""What a layer's weights are turned into before they are used, kept for as long as they stay what they were."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Prepared:
    """Keep what was made of a layer's weights, and make it anew when any of them has changed.

    The weights are compared by value with a copy. Their version counters would be quicker to ask, but do not see
    ``weight.data.copy_()``, by which some averages of weights (EMA) are loaded. Copies and pickles begin empty.
    """

    def __init__(self) -> None:
        self._kept: tuple[list[Tensor], dict[str, Tensor]] = [], {}

    def __reduce__(self) -> tuple[type["Prepared"], tuple[()]]:
        return Prepared, ()

    @staticmethod
    def suits(layer: nn.Module, weights: Sequence[Tensor]) -> bool:
        """Whether nothing but its weights decides what a layer makes of them, and comparing costs less than making.

        Not while it is trained, differentiated, traced or cast by autocast; not where the weights are no plain
        parameters (a functional call); not off the CPU, which would have to wait for the answer.
        """
        if layer.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return False
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
            return False
        return all(type(weight) is nn.Parameter and weight.device.type == "cpu" for weight in weights)

    def get(self, weights: Sequence[Tensor], name: str, make: Callable[[], Tensor]) -> Tensor:
        """Return what ``make`` makes of the weights.

        Args:
            weights: As they are now.
            name: Tells apart what is made of the same weights.
            make: Called if there is nothing of that name yet or a weight has changed.
        """
        then, made = self._kept
        with torch.inference_mode(False), torch.no_grad():
            if not (len(then) == len(weights) and all(map(_same, then, weights))):
                self._kept = _, made = [weight.clone() for weight in weights], {}
            if name not in made:
                made[name] = make()
        return made[name]


def _same(then: Tensor, now: Tensor) -> bool:
    return then.dtype == now.dtype and torch.equal(then, now)
