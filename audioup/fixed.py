"""Tensors that are designed, not learned: filters and projections, rounded once from float64 wherever a module goes."""

from collections.abc import Callable

from torch import Tensor, nn
from typing_extensions import Self


class FixedModule(nn.Module):
    """A module with fixed tensors, ready in the type and on the device of the parameters they are used with.

    They follow from the module's arguments, so they stay out of the state dict, and they are rounded anew from float64
    after every move: ``.half().double()`` loses nothing, and they are there after the meta device.
    """

    _designs: dict[str, Tensor]

    def _fix(self, name: str, design: Tensor, like: Tensor) -> None:
        # Never on the meta device, from which nothing but a move would bring it back.
        ready = design.to(like.dtype) if like.is_meta else design.to(like)
        self._designs = {**getattr(self, "_designs", {}), name: design}
        self.register_buffer(name, ready, persistent=False)

    def _fixed(self, name: str, like: Tensor) -> Tensor:
        ready: Tensor = getattr(self, name)
        # Loading with assign=True can change a parameter's type without moving the module.
        same = ready.dtype == like.dtype and ready.device == like.device
        return ready if same else self._designs[name].to(like)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for name, design in self._designs.items():
            setattr(self, name, design.to(self.get_buffer(name)))
        return self


def along(taps: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply a tensor by a matrix along one of its axes, counted from the end: ``taps @ matrix`` for the last."""
    return taps @ matrix if axis == -1 else (taps.movedim(axis, -1) @ matrix).movedim(-1, axis)
