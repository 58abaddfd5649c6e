"""How many samples the tensors of an ONNX graph have, as far as its nodes say it."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from audioup.onnx_graph import NO_SIGNAL, Graph
from audioup.onnx_tensors import integers
from audioup.source import Unsuitable
from audioup.upsampler import DEEPEST_SCHEDULE

STRIDED = ("Conv", "MaxPool", "AveragePool", "LpPool")
UNKNOWN = "lines cannot be placed: "
COUNT = re.compile(r"(?:(\d{1,9})\s*\*\s*)?([A-Za-z_]\w*)(?:\s*\*\s*(\d{1,9}))?")


class Rates:
    """Samples of each tensor for one of the graph's input.

    Args:
        graph: The graph.
        stride: What a node upsamples by; raises `Unsuitable` where that cannot be told.

    Attributes:
        note: Why rates cannot be trusted, or what they take for granted; empty where the graph declares as much.
    """

    def __init__(self, graph: Graph, stride: Callable[[Any], int]) -> None:
        self._rates = {name: Fraction(1) for name in graph.inputs}
        for node in graph.nodes:
            rate = next((self._rates[name] for name in node.input if name in self._rates), None)
            if rate is None or node.op_type in NO_SIGNAL:
                continue
            try:
                rate *= stride(node)
                if node.op_type in STRIDED:
                    rate /= integers(node, "strides", (1,))[-1]
            except Unsuitable:
                continue
            if not 1 / DEEPEST_SCHEDULE <= rate <= DEEPEST_SCHEDULE:
                continue  # followed any further, the fractions would grow with every node
            self._rates.update(dict.fromkeys(node.output, rate))
        self._kept = self._falls(graph)
        followed = max((self._rates[name] for name in graph.outputs if name in self._rates), default=None)
        declared = _declared(graph)
        self._whole: Fraction | None = followed
        self.note = ""
        if followed is None:
            self.note = f"{UNKNOWN}the way to the output could not be followed"
        elif declared is not None and declared != followed:
            self._whole = None
            self.note = (
                f"{UNKNOWN}the output has {declared} samples for one of the input, and the layers found make {followed}"
            )
        elif declared is None:
            self.note = "lines are placed as if nothing else in the graph changed the rate"

    def of(self, name: str) -> tuple[Fraction | None, bool]:
        """Return the rate of a tensor over that of the output, and whether it falls behind it on every way there."""
        rate = self._rates.get(name)
        if rate is None or self._whole is None:
            return None, False
        return rate / self._whole, self._kept.get(name, rate) < rate

    def _falls(self, graph: Graph) -> dict[str, Fraction]:
        """Return to what each tensor's rate falls at most on the best way from it to an output."""
        kept = {name: self._rates[name] for name in graph.outputs if name in self._rates}
        for node in reversed(graph.nodes):
            for out in node.output:
                if out not in kept or out not in self._rates:
                    continue
                least = min(kept[out], self._rates[out])
                for name in node.input:
                    if name in self._rates:
                        kept[name] = max(kept.get(name, Fraction(0)), min(least, self._rates[name]))
        return kept


def _declared(graph: Graph) -> Fraction | None:
    """Return what the shapes of input and output say: ``3`` for ``t`` and ``3*t``, or for 10 and 30 samples."""
    lengths = [graph.length(names[0]) for names in (graph.inputs, graph.outputs) if names]
    counts = [COUNT.fullmatch(length) if isinstance(length, str) else None for length in lengths]
    if len(lengths) == 2 and all(isinstance(length, int) and length > 0 for length in lengths):
        ratio = Fraction(int(lengths[1]), int(lengths[0]))  # type: ignore[arg-type]
        return ratio if ratio.denominator == 1 else None  # cropped or padded by some samples
    if len(counts) == 2 and counts[0] and counts[1] and counts[0][2] == counts[1][2]:
        into, out = (int(found[1] or 1) * int(found[3] or 1) for found in counts if found)
        return Fraction(out, into) if into else None
    return None
