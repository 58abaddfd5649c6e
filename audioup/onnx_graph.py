"""An ONNX graph to look things up in, and what it computes of constants alone."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from audioup.effort import Effort
from audioup.onnx_tensors import literal, outside, stored
from audioup.source import Unsuitable
from audioup.upsampler import LARGEST_KERNEL

# Of constants these are computed, and nothing else; none is larger than `_largest` says before.
ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Where", "Equal", "Less", "Greater", "And", "Or"}
ELEMENTWISE |= {"DequantizeLinear"}
SHRINKING = {
    "Sqrt",
    "Abs",
    "Neg",
    "Exp",
    "Log",
    "Reciprocal",
    "Clip",
    "Not",
    "Sign",
    "Floor",
    "Ceil",
    "Identity",
    "Cast",
}
SHRINKING |= {"ReduceL2", "ReduceL1", "ReduceSum", "ReduceSumSquare", "ReduceMean", "ReduceMax", "ReduceMin"}
SHRINKING |= {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "CastLike", "Shape", "Size"}
NO_SIGNAL = ("Shape", "Size")  # what these take goes nowhere
MOST_NODES = 2000  # that one weight may take
# Values computed in a graph, and how many more they may be than what they are computed of: little must not make much.
MOST_COMPUTED, MOST_GROWTH = 2**27, 2**23
VISIT = 2**12  # values' worth of effort to look at a node
TOO_MUCH = "too much is computed of constants in this graph"
MOST_BYTES = 2**28 + 2**27  # at a time, of one weight; those of published vocoders take up to 2**28
LAYER = re.compile(r"(.*)\.(?:weight(?:_[gv])?|parametrizations\.weight\.original[01]|bias)")


class Graph:
    """The main graph of a model.

    Args:
        model: Without external data.
        folder: Of the file; external data must lie in it.

    Attributes:
        nodes: In their order, which is that of computing.
        counts: How many nodes there are of each kind.
        made: Names of what depends on an input, or is computed at least.
        hidden: Kinds of nodes that hold graphs or functions of their own.

    Raises:
        ValueError: If external data lies elsewhere, or the nodes are in no order in which they can be computed.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        graph = model.graph
        self.nodes: Sequence[Any] = graph.node
        self._shapes = {one.name: one for one in (*graph.input, *graph.output)}
        stored_names = {one.name for one in graph.initializer}
        self.inputs = [one.name for one in graph.input if one.name not in stored_names]
        self.outputs = [one.name for one in graph.output]
        self.counts = Counter(node.op_type for node in self.nodes)
        self.hidden = sorted(
            {
                node.op_type
                for node in self.nodes
                if node.domain not in ("", "ai.onnx") or any(a.HasField("g") or a.graphs for a in node.attribute)
            }
        )
        self.made = {*self.inputs, *(name for node in self.nodes if node.input for name in node.output)}
        self._folder = folder
        self._opsets = {one.domain: one.version for one in model.opset_import}
        self._stored = {one.name: one for one in graph.initializer}
        self._producers = {name: node for node in self.nodes for name in node.output if name}
        self._consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input if node.op_type not in NO_SIGNAL else ():
                self._consumers.setdefault(name, []).append(node)
        for name in self.outputs:
            self._consumers.setdefault(name, []).append(None)
        self._values: dict[str, NDArray[Any]] = {}
        self._effort, self._growth = Effort(MOST_COMPUTED), Effort(MOST_GROWTH)
        _check_order(graph)
        for tensor in self.tensors():
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                outside(tensor, folder)

    def tensors(self) -> Iterator[Any]:
        """Yield all that the file stores."""
        yield from self._stored.values()
        for node in self.nodes:
            yield from (one.t for one in node.attribute if one.HasField("t"))

    def length(self, name: str) -> int | str | None:
        """Return what an input or output of the graph says of its last axis: a number, an expression, or nothing."""
        dims = self._shapes[name].type.tensor_type.shape.dim
        if not dims:
            return None
        return int(dims[-1].dim_value) or str(dims[-1].dim_param) or None

    def producer(self, name: str) -> Any:
        """Return the node that a tensor comes from, or None."""
        return self._producers.get(name)

    def consumers(self, name: str) -> list[Any]:
        """Return the nodes that a tensor goes to, but for its shape; None for an output of the graph."""
        return self._consumers.get(name, [])

    def name(self, node: Any) -> str:
        """Name a layer as the module that it was, by what its weights are called."""
        for key in [*self._ancestors(node.input[1]), *node.input[1:]] if len(node.input) > 1 else []:
            if key in self._stored and (found := LAYER.fullmatch(key)):
                return found[1]
        return str(node.name or (node.output[0] if node.output else node.op_type))

    def constant(self, name: str) -> NDArray[Any]:
        """Compute a tensor that follows from constants alone.

        Raises:
            Unsuitable: If it does not, or takes too much.
            ValueError: If external data is missing or cut off.
        """
        if name not in self._values:
            order = self._ancestors(name)
            uses = Counter(given for one in order for given in self._given(one))
            if not self._effort.spent(len(order) * VISIT):
                raise Unsuitable(TOO_MUCH)
            values: dict[str, NDArray[Any]] = {}
            held = 0
            for one in order:
                values[one] = self._values[one] if one in self._values else self._computed(one, values)
                held += values[one].nbytes
                if held > MOST_BYTES:
                    raise Unsuitable(f"it is computed by way of more than {MOST_BYTES >> 20} MB")
                for given in self._given(one):
                    uses[given] -= 1
                    if not uses[given]:  # what is needed no more makes room
                        held -= values.pop(given).nbytes
            self._values[name] = values[name]
        return self._values[name]

    def _given(self, name: str) -> list[str]:
        node = None if name in self._stored or name in self._values else self.producer(name)
        return [] if node is None else [one for one in node.input if one]

    def entries(self, name: str) -> list[int | None] | None:
        """Return the numbers of a shape, None for those that are not constant, or None if not even their count is."""
        numbers = self._numbers(name)
        if numbers is None:
            node = self.producer(name)
            if node is None or node.op_type != "Concat":
                return None
            return [n for one in node.input for n in self._numbers(one) or [None]]  # what is not constant is one number

        return [*numbers]

    def _numbers(self, name: str) -> list[int | None] | None:
        try:
            values = self.constant(name)
        except Unsuitable:
            return None
        return [int(n) for n in values.reshape(-1)] if values.dtype.kind in "iu" and values.size <= 16 else None

    def _ancestors(self, name: str) -> list[str]:
        """Return what a tensor is computed from, each after what it is computed from itself, the tensor last."""
        found: dict[str, None] = {}
        waiting = [(name, False)]
        while waiting:
            one, ready = waiting.pop()
            if ready:
                found[one] = None
            elif one not in found:
                if len(waiting) > MOST_NODES or len(found) > MOST_NODES:
                    raise Unsuitable(f"what it is computed from takes more than {MOST_NODES} nodes")
                waiting.append((one, True))
                waiting += [(given, False) for given in self._given(one) if given not in found]
        return list(found)

    def _computed(self, name: str, values: dict[str, NDArray[Any]]) -> NDArray[Any]:
        if name in self._stored:
            return stored(self._stored[name], self._folder)
        node = self.producer(name)
        if node is None:
            raise Unsuitable(f"it depends on {name}, which is no constant")
        if node.op_type == "Constant":
            return literal(node, self._folder)
        given = [values[one] for one in node.input if one]
        if (largest := _largest(node, given)) is None:
            raise Unsuitable(f"it is computed by {node.op_type}")
        if largest > LARGEST_KERNEL:
            raise Unsuitable(f"it is computed by way of {largest} values")
        grown = largest - max((one.size for one in given), default=0)
        if (grown > 0 and not self._growth.spent(grown)) or not self._effort.spent(largest):
            raise Unsuitable(TOO_MUCH)
        try:
            with np.errstate(all="ignore"):
                outputs = ReferenceEvaluator(node, opsets=self._opsets).run(
                    None, {one: values[one] for one in node.input if one}
                )
        except Exception as error:  # whatever a node that does not fit its inputs may raise
            raise Unsuitable(f"{node.op_type} cannot be computed ({type(error).__name__})") from None
        return np.asarray(list(outputs)[list(node.output).index(name)])


def _check_order(graph: Any) -> None:
    known = {one.name for one in (*graph.input, *graph.initializer)} | {""}
    for node in graph.node:
        for name in node.input:
            if name not in known:
                raise ValueError(f"damaged: {node.op_type} takes {name!r}, which no node before it makes")
        for name in node.output:
            if name and name in known:
                raise ValueError(f"damaged: {name!r} is made twice")
            known.add(name)
    for one in graph.output:
        if one.name not in known:
            raise ValueError(f"damaged: no node makes the output {one.name!r}")


def _largest(node: Any, given: Sequence[NDArray[Any]]) -> int | None:
    """Bound the values that a node may make of constants; None if it is not one of those computed here."""
    kind = node.op_type
    if node.domain not in ("", "ai.onnx") or any(one.dtype.kind not in "fiub" for one in given):
        return None
    try:
        if kind in ELEMENTWISE:
            return math.prod(np.broadcast_shapes(*(one.shape for one in given)))
        if kind in SHRINKING:
            return max(one.size for one in given)
        if kind == "Concat":
            return sum(one.size for one in given)
        if kind == "Gather":
            return given[0].size * given[1].size
        if kind == "MatMul":
            return given[0].size * given[1].size // max(1, min(given[0].shape[-1], given[1].shape[0]) ** 2)
        if kind == "Expand":
            return math.prod(
                max(1, n) for n in np.broadcast_shapes(given[0].shape, tuple(int(n) for n in given[1].reshape(-1)))
            )
        if kind == "ConstantOfShape":
            return math.prod(max(1, int(n)) for n in given[0].reshape(-1))
        if kind == "Tile":
            return max(1, given[0].size) * math.prod(max(1, int(n)) for n in given[1].reshape(-1))
        if kind == "Range":
            start, limit, step = (float(one) for one in given)
            return max(0, math.ceil((limit - start) / step))
    except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError):
        return None
    return None
