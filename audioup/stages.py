"""Where a network upsamples: its stages and their strides, found by running it on two lengths."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from audioup.rates import Rates, Rise, Step, near
from audioup.tracing import Record, Trace, tensors

LARGEST_DENOMINATOR = 640  # of the ratio between two rates: from 44.1 to 48 kHz it is 160 / 147


@dataclass(frozen=True)
class Stage:
    """An upsampling stage of a network.

    Attributes:
        name: Dotted path of the innermost module that upsamples; ``(model)`` for the model itself.
        kind: The torch function that it does so by, such as ``"conv_transpose1d"``, ``"interpolate"``, ``"reshape"``,
            ``"fold"`` or ``"istft"``; the module's class where its inside could not be seen.
        position: Place in the schedule, 0 the first; None for what is not in it.
        stride: Output samples per input sample. Where the rate rises from ``q`` to ``p`` samples, no multiple of ``q``,
            the ``p`` of the lowest terms: the pattern that the stage may leave repeats after so many.
        rate_in: Samples per input frame that go in.
        rate_out: Samples per input frame that come out.
        integer: Whether ``rate_out`` is ``stride * rate_in``.
        rises: The calls: one, or several where branches rise side by side and meet.
    """

    name: str
    kind: str
    position: int | None
    stride: int
    rate_in: float
    rate_out: float
    integer: bool
    rises: tuple[Rise, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the stage as plain values that ``json`` can write; of the calls their names."""
        return {**asdict(self), "rises": [rise.call._asdict() for rise in self.rises]}


@dataclass(frozen=True)
class Schedule:
    """How a network gets from its input to sound.

    Attributes:
        stages: From input to output.
        others: What else upsamples: oversampled activations, side branches.
        rate: Samples of sound per input frame.
        output: Which of the output's tensors is the sound, the first that has the most samples.
        axis: Its time axis, counted from the last, which is -1.
    """

    stages: tuple[Stage, ...]
    others: tuple[Stage, ...]
    rate: Fraction
    output: int
    axis: int


def find_stages(model: nn.Module, x: Tensor, step: int, call: Callable[[Tensor], Any] | None = None) -> Schedule:
    """Find the upsampling stages of a model by running it on two lengths and following the lengths of all tensors.

    Args:
        model: Any module, in the mode and on the device wanted.
        x: An input, time on its last axis; it is repeated or cut to ``2 * step`` and to ``step`` frames.
        step: A number of frames that all divisions on the way leave whole.
        call: Runs the model on an input; by default the model itself.

    Returns:
        The schedule. A stage that later falls undo only in part (up by 3, then down by 2) counts as far as it holds.

    Raises:
        ValueError: If no tensor of the output grows with the input, or nothing on the way to it upsamples.

    Example:
        >>> model = nn.Sequential(nn.ConvTranspose1d(80, 8, 16, 8), nn.Upsample(scale_factor=2), nn.Conv1d(8, 1, 3))
        >>> [(stage.name, stage.kind, stage.stride) for stage in find_stages(model, torch.zeros(1, 80, 9), 48).stages]
        [('0', 'conv_transpose1d', 8), ('1', 'interpolate', 2)]
    """
    _run(model, x, step, call)  # a first run may also compute what the next ones keep
    longer, shorter = _run(model, x, 2 * step, call), _run(model, x, step, call)
    network = Rates(step)
    network.follow(longer, shorter)

    ends = longer[-1].outputs, shorter[-1].outputs
    found = [network.rate(a, b) for (_, a), (_, b) in zip(*ends, strict=False)]
    rate, axis = max(found, key=lambda one: one[0], default=(Fraction(0), -1))
    if rate <= 0:
        raise ValueError(
            "the output must grow with the input's last axis, got shapes "
            + " and ".join(f"{[shape for _, shape in end]}" for end in ends)
            + f" for {2 * step} and {step} frames"
        )
    output = [one[0] for one in found].index(rate)
    signal = network.signals.get(ends[0][output][0])
    if signal is None or not signal.way:
        unrelated = signal is not None and signal.way is None
        reason = "it is not made from the input" if unrelated else "no call gives more samples than go in"
        raise ValueError(f"no upsampling found on the way to the output: {reason}")
    used = {rise.call for step_ in signal.way for rise in step_}
    return Schedule(
        tuple(_stage(one, n) for n, one in enumerate(signal.way)),
        tuple(_stage((rise,), None) for rise in network.rises if rise.call not in used),
        rate,
        output,
        axis,
    )


def repeated(x: Tensor, frames: int) -> Tensor:
    """Repeat or cut an input to so many frames, time on its last axis."""
    return x[..., torch.arange(frames, device=x.device) % x.shape[-1]]


def _run(model: nn.Module, x: Tensor, frames: int, call: Callable[[Tensor], Any] | None) -> list[Record]:
    given = repeated(x, frames)
    with Trace(model, given) as trace:
        output = (call or model)(given)
        trace.finish(given, output)
    if next(tensors(output), None) is None:
        raise ValueError(f"the model must return tensors, got {type(output).__name__}")
    return trace.records


def _stage(step: Step, position: int | None) -> Stage:
    first = step[0]
    ratio = first.rate_out / first.rate_in
    integer = near(ratio, Fraction(round(ratio)))
    stride = round(ratio) if integer else ratio.limit_denominator(LARGEST_DENOMINATOR).numerator
    name, rates = first.call.module or "(model)", (float(first.rate_in), float(first.rate_out))
    return Stage(name, first.call.function, position, stride, *rates, integer, step)
