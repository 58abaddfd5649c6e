"""What one layer must remember of a signal that comes in pieces: a window that slides, a queue where branches meet."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Timing(NamedTuple):
    """How a signal somewhere in a module follows the input: ``T`` frames of that make ``stride * T + extra`` samples.

    Attributes:
        stride: Samples per input frame.
        extra: Samples more, or fewer, when all is done.
        lags: What every layer passed holds back, by name, in samples: of ``m`` frames, ``stride * m - lag`` are there.
    """

    stride: int = 1
    extra: int = 0
    lags: tuple[tuple[str, int], ...] = ()

    @property
    def lag(self) -> int:
        """Samples that all layers passed hold back."""
        return sum(samples for _, samples in self.lags)


class Window:
    """A layer that makes ``ratio`` samples of every frame beyond the first ``reach``, which it keeps for the next.

    The signal is given ``before`` frames at its beginning and ``after`` at its end, and what comes out is cropped: so
    the window is a convolution, a transposed one, a pad or a crop.

    Args:
        name: For errors and lags.
        compute: Turns ``(batch, inputs, reach + n)`` into ``(batch, outputs, ratio * n)``.
        reach: Frames of context.
        before: Frames put before the beginning.
        after: Frames put after the end.
        fill: Their value; None repeats the first and the last frame.
        ratio: Output samples per frame.
        first: Output samples to drop at the beginning.
        spare: Output samples to drop at the end.
        weight: Tensor of the type, and on the device, that the input must have, if it matters.
        inputs: Channels that the input must have, if it matters.
        outputs: Channels of the output; None for those of the input.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[Tensor], Tensor],
        *,
        reach: int = 0,
        before: int = 0,
        after: int = 0,
        fill: float | None = 0.0,
        ratio: int = 1,
        first: int = 0,
        spare: int = 0,
        weight: Tensor | None = None,
        inputs: int | None = None,
        outputs: int | None = None,
    ) -> None:
        self.name, self.compute, self.ratio = name, compute, ratio
        self.reach, self.before, self.after, self.fill = reach, before, after, fill
        self.first, self.spare = first, spare
        self._withheld = spare
        self.weight, self.inputs, self.outputs = weight, inputs, outputs
        self._buffer: Tensor | None = None
        self._held: Tensor | None = None
        self._edge: Tensor | None = None
        self._to_drop = first
        self._begun = False

    def reset(self) -> None:
        """Forget the signal."""
        self._buffer = self._held = self._edge = None
        self._to_drop = self.first
        self._begun = False

    def through(self, timing: Timing) -> Timing:
        """Say how the output follows the module's input, given how this layer's input does."""
        # What the end will bring need not be held back to be dropped.
        pending = timing.extra + timing.lag + self.after
        self._withheld = max(0, self.spare - pending * self.ratio)
        own = (self.reach - self.before) * self.ratio + self.first + self._withheld
        lags = [(name, samples * self.ratio) for name, samples in timing.lags]
        extra = (timing.extra + self.before + self.after - self.reach) * self.ratio - self.first - self.spare
        return Timing(timing.stride * self.ratio, extra, (*lags, *([(self.name, own)] if own else [])))

    def push(self, x: Tensor, last: bool) -> Tensor:
        """Take the next frames, return the samples they make known; ``last`` says that no more will come.

        Raises:
            ValueError: If the input does not fit the weight, or ends before the layer could make anything of it.
        """
        buffer = self._extend(x, last)
        frames = buffer.shape[-1] - self.reach
        if frames > 0:
            self._begun = True
            kept = buffer[..., frames:]
            # Without a copy the whole of a long chunk would be kept.
            self._buffer, y = kept.clone() if frames > self.reach else kept, self.compute(buffer)
        elif last and not self._begun:
            raise ValueError(f"{self.name} needs more frames than were streamed before flush()")
        else:
            self._buffer, y = buffer, x.new_empty(x.shape[0], self.outputs or x.shape[1], 0)
        if self._to_drop:
            dropped = min(self._to_drop, y.shape[-1])
            self._to_drop -= dropped
            y = y[..., dropped:]
        if not self.spare:
            return y
        if self._held is not None:
            y = torch.cat([self._held, y], -1)
        known = max(0, y.shape[-1] - (self.spare if last else self._withheld))
        self._held = y[..., known:].clone()
        return y[..., :known]

    def _extend(self, x: Tensor, last: bool) -> Tensor:
        pieces = [x]
        if self._buffer is None:
            self._check(x)
        if x.shape[-1]:
            if self._edge is None:
                pieces.insert(0, self._padding(x[..., :1], self.before))
            self._edge = x[..., -1:].clone()
        if self._buffer is not None:
            pieces.insert(0, self._buffer)
        if last and self._edge is not None:
            pieces.append(self._padding(self._edge, self.after))
        pieces = [piece for piece in pieces if piece.shape[-1]] or [x]
        # A copy even of one: the caller may write to the memory of a chunk before the next.
        return torch.cat(pieces, -1)

    def _padding(self, edge: Tensor, frames: int) -> Tensor:
        shape = (*edge.shape[:-1], frames)
        return edge.expand(shape) if self.fill is None else edge.new_full(shape, self.fill)

    def _check(self, x: Tensor) -> None:
        if self.inputs not in (None, x.shape[1]):
            raise ValueError(f"{self.name} takes {self.inputs} channels, got {x.shape[1]}")
        if self.weight is not None and (x.dtype, x.device) != (self.weight.dtype, self.weight.device):
            raise ValueError(
                f"{self.name} holds {self.weight.dtype} on {self.weight.device}, got {x.dtype} on {x.device}"
            )


class Join:
    """A pointwise function of one signal, or of several that wait for the latest of them.

    Args:
        name: For errors.
        compute: Takes as many tensors of equal length as there are signals.
    """

    def __init__(self, name: str, compute: Callable[..., Tensor]) -> None:
        self.name, self.compute = name, compute
        self._waiting: list[Tensor | None] = []

    def reset(self) -> None:
        """Forget what waits."""
        self._waiting = []

    def through(self, timings: list[Timing]) -> Timing:
        """Say how the output follows the module's input, given how the signals do.

        Raises:
            ValueError: If they are of different lengths.
        """
        lengths = {(timing.stride, timing.extra) for timing in timings}
        if len(lengths) > 1:
            words = " and ".join(f"{stride} T + {extra}" for stride, extra in sorted(lengths))
            raise ValueError(f"{self.name} joins signals of {words} samples for T frames: they must be equally long")
        return max(timings, key=lambda timing: timing.lag)

    def push(self, signals: list[Tensor]) -> Tensor:
        """Take the next samples of every signal, return the function of those that all have."""
        waiting = self._waiting or [None] * len(signals)
        there = [x if old is None else torch.cat([old, x], -1) for old, x in zip(waiting, signals, strict=True)]
        ready = min(x.shape[-1] for x in there)
        self._waiting = [x[..., ready:].clone() if x.shape[-1] > ready else None for x in there]
        if ready:
            return self.compute(*[x[..., :ready] for x in there])
        # The channels of what is to come are those made of any frame.
        return self.compute(*[x.new_zeros(*x.shape[:-1], 1) for x in there])[..., :0]


class Structure(NamedTuple):
    """What a module is made of.

    Attributes:
        steps: In order, each with the name of what it makes and those of what it takes; ``"x"`` is the input.
        output: The name of the output.
        timing: How the output follows the input.
        shortest: The fewest frames of which every layer makes something.
        enough: Frames of which every layer sees all of its context, and some more.
    """

    steps: list[tuple[str, list[str], Window | Join]]
    output: str
    timing: Timing
    shortest: int
    enough: int
