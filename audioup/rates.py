"""Follow the rate of a signal through a network, from call to call.

An axis of a tensor whose length changes with the input's is time, and the slope is that tensor's rate, in samples per
input frame; nothing about layouts has to be known. A call whose output has a higher rate than what went in is an
upsampling. A later fall of the rate undoes those above it, as in an oversampled activation; branches that rise between
the same rates and meet again are one stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from audioup.tracing import Call, Record, Shape

TOLERANCE = 0.02  # relative; a length may be off by one
CONVOLUTIONS = ("conv1d", "conv2d", "linear")
LAYOUT = (  # functions that move values about and change none
    "view",
    "reshape",
    "unflatten",
    "flatten",
    "permute",
    "transpose",
    "movedim",
    "swapaxes",
    "contiguous",
    "squeeze",
    "unsqueeze",
    "__getitem__",
    "pixel_shuffle",
)


@dataclass(frozen=True)
class Rise:
    """One upsampling call.

    Attributes:
        call: The call.
        rate_in: Of what went in, in samples per input frame.
        rate_out: Of what came out.
        axis: Its time axis, counted from the last, which is -1.
        convolution: The call whose output is only rearranged here, as a pixel shuffle does, and the time axis of that
            output; or None.
    """

    call: Call
    rate_in: Fraction
    rate_out: Fraction
    axis: int
    convolution: tuple[Call, int] | None


Step = tuple[Rise, ...]  # side by side, between the same rates
Way = tuple[Step, ...]  # one after the other


@dataclass(frozen=True)
class Signal:
    """What a tensor is made of.

    Attributes:
        rate: In samples per input frame; 0 where no axis is time.
        way: The steps that lead to it; None if it does not come from the input.
        convolution: As in `Rise`.
        unseen: Whether it comes from a tensor of which nothing is known: one that a scripted module made, say.
    """

    rate: Fraction
    way: Way | None
    convolution: tuple[Call, int] | None = None
    unseen: bool = False


class Rates:
    """The signals of one run, by the numbers of its tensors.

    Args:
        step: Input frames that this run has more than the other.

    Attributes:
        signals: The signals; number 0 is the input.
        rises: All upsampling calls, in order.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.signals = {0: Signal(Fraction(1), ())}
        self.rises: list[Rise] = []

    def rate(self, longer: Shape, shorter: Shape) -> tuple[Fraction, int]:
        """Return the largest slope among the axes of a tensor, and that axis, counted from the last."""
        if len(longer) != len(shorter) or not longer:
            return Fraction(0), -1
        slopes = [Fraction(a - b, self.step) for a, b in zip(longer, shorter, strict=True)]
        best = max(range(len(slopes)), key=lambda n: (slopes[n], n))
        return slopes[best], best - len(slopes)

    def follow(self, longer: Sequence[Record], shorter: Sequence[Record]) -> None:
        """Say of each tensor of the longer run where it comes from; calls that the shorter has not are passed over."""
        others = {record.call: record for record in shorter}
        for record in longer:
            if record.call in others:
                self._follow(record, others[record.call])

    def _follow(self, record: Record, other: Record) -> None:
        inputs, unseen = [], False
        for (number, a), (_, b) in zip(record.inputs, other.inputs, strict=False):
            if number in self.signals:
                inputs.append(self.signals[number])
                unseen |= self.signals[number].unseen
            else:
                unseen |= self.rate(a, b)[0] > 0
        for (number, a), (_, b) in zip(record.outputs, other.outputs, strict=False):
            before = self.signals.get(number)
            if not record.whole or before is None or before.unseen:  # otherwise its parts have said it already
                self.signals[number] = self._of_call(record.call, *self.rate(a, b), inputs, unseen)

    def _of_call(self, call: Call, rate: Fraction, axis: int, inputs: Sequence[Signal], unseen: bool) -> Signal:
        convolution: tuple[Call, int] | None = None
        if call.function in CONVOLUTIONS:
            convolution = (call, axis)
        elif call.function in LAYOUT and len(inputs) == 1:
            convolution = inputs[0].convolution
        known = [one for one in inputs if one.way is not None]
        return Signal(rate, self._way(call, rate, axis, known, convolution), convolution, unseen)

    def _way(
        self, call: Call, rate: Fraction, axis: int, known: Sequence[Signal], convolution: tuple[Call, int] | None
    ) -> Way | None:
        if not known:
            return None
        if same := [one for one in known if near(one.rate, rate)]:
            return _merged(same)
        if above := [one.rate for one in known if one.rate > rate]:
            return _undone(_merged([one for one in known if one.rate == min(above)]), rate)
        highest = max(one.rate for one in known)
        if highest <= 0:  # something that holds for the whole input, spread over time
            return ()
        rise = Rise(call, highest, rate, axis, convolution)
        self.rises.append(rise)
        return (*_merged([one for one in known if one.rate == highest]), (rise,))


def near(a: Fraction, b: Fraction) -> bool:
    """Whether two rates are the same but for a sample more or less."""
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def _merged(signals: Sequence[Signal]) -> Way:
    # The way of the most steps; what rises beside it between the same rates belongs to it.
    ways = [one.way for one in signals if one.way is not None]
    longest = max(ways, key=len)
    steps = list(longest)
    for other in ways:
        if list(map(_ends, other)) == list(map(_ends, longest)):
            steps = [
                (*step, *(one for one in more if one not in step)) for step, more in zip(steps, other, strict=True)
            ]
    return tuple(steps)


def _ends(step: Step) -> tuple[Fraction, Fraction]:
    return step[0].rate_in, step[0].rate_out


def _undone(way: Way, rate: Fraction) -> Way:
    # What rose above the rate counts no more, or only as far as the rate.
    kept = [step for step in way if step[0].rate_in < rate and not near(step[0].rate_in, rate)]
    if kept and kept[-1][0].rate_out > rate:
        kept[-1] = tuple(replace(rise, rate_out=rate) for rise in kept[-1])
    return tuple(kept)
