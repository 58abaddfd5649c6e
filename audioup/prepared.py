"""What a layer's weight is turned into before an engine uses it, kept for as long as the weight is what it was."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Prepared:
    """Keep what was made of a weight, and make it anew when the weight has changed.

    The weight is compared by value with a copy. Its version counter would be quicker to ask, but does not see
    ``weight.data.copy_()``, by which some averages of weights (EMA) are loaded. Copies and pickles begin empty.
    """

    def __init__(self) -> None:
        self._kept: tuple[Tensor, dict[str, Tensor]] = torch.empty(0), {}

    def __reduce__(self) -> tuple[type["Prepared"], tuple[()]]:
        return Prepared, ()

    @staticmethod
    def suits(layer: nn.Module, x: Tensor) -> bool:
        """Whether nothing but its weight decides what a layer makes of it, and comparing costs less than making.

        Not while it is trained, differentiated, traced (``x`` is then of another type) or cast by autocast; not where
        the weight neither is a plain parameter nor comes from some (a functional call, say); not off the CPU, which
        would have to wait for the answer.
        """
        if layer.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return False
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
        if traced or type(x) not in (Tensor, nn.Parameter):
            return False
        if "weight" not in layer._parameters and not parametrize.is_parametrized(layer, "weight"):
            return False
        return all(type(value) is nn.Parameter and value.device.type == "cpu" for value in layer.parameters())

    def get(self, weight: Tensor, name: str, make: Callable[[], Tensor]) -> Tensor:
        """Return what ``make`` makes of a weight.

        Args:
            weight: As it is now.
            name: Tells apart what is made of the same weight.
            make: Called if there is nothing of that name yet or the weight has changed.
        """
        then, made = self._kept
        with torch.inference_mode(False), torch.no_grad():
            if then.dtype != weight.dtype or not torch.equal(then, weight):
                self._kept = _, made = weight.clone(), {}
            if name not in made:
                made[name] = make()
        return made[name]
