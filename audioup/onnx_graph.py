"""An ONNX graph to look things up in, and what it computes of constants alone."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

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
LAYER = re.compile(r"(.*)\.(?:weight(?:_[gv])?|parametrizations\.weight\.original[01]|bias)")


class Graph:
    """The main graph of a model.

    Args:
        model: Without external data.
        folder: Of the file; external data must lie in it.

    Attributes:
        nodes: In their order, which is that of computing.
        counts: How many nodes there are of each kind.
        hidden: Kinds of nodes that hold graphs or functions of their own.

    Raises:
        ValueError: If external data lies elsewhere.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        graph = model.graph
        self.nodes: Sequence[Any] = graph.node
        self.inputs = [one.name for one in graph.input]
        self.outputs = [one.name for one in graph.output]
        self.counts = Counter(node.op_type for node in self.nodes)
        self.hidden = sorted(
            {
                node.op_type
                for node in self.nodes
                if node.domain not in ("", "ai.onnx") or any(a.HasField("g") or a.graphs for a in node.attribute)
            }
        )
        self._folder = folder
        self._opsets = {one.domain: one.version for one in model.opset_import}
        self._stored = {one.name: one for one in graph.initializer}
        self._producers = {name: node for node in self.nodes for name in node.output if name}
        self._consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        self._values: dict[str, NDArray[Any]] = {}
        for tensor in graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                _outside(tensor, folder)

    def producer(self, name: str) -> Any:
        """Return the node that a tensor comes from, or None."""
        return self._producers.get(name)

    def consumers(self, name: str) -> list[Any]:
        """Return the nodes that a tensor goes to, but for its shape; None for an output of the graph."""
        nodes = [node for node in self._consumers.get(name, []) if node.op_type not in NO_SIGNAL]
        return nodes + [None] * (name in self.outputs)

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
        order = self._ancestors(name)
        for one in reversed(order):
            if one not in self._values:
                self._values[one] = self._computed(one)
        return self._values[name]

    def entries(self, name: str) -> list[int | None] | None:
        """Return the numbers of a shape, None for those that are not constant, or None if not even their count is."""
        try:
            return [int(n) for n in self.constant(name).reshape(-1)]
        except Unsuitable:
            node = self.producer(name)
            if node is None or node.op_type != "Concat":
                return None
            parts = [self.entries(one) or [None] for one in node.input]  # what is not constant is one number
            return [n for part in parts for n in part]

    def _ancestors(self, name: str) -> list[str]:
        # Breadth first, each as late as it is needed, so that the reverse order computes.
        found: dict[str, None] = {}
        waiting = [name]
        while waiting:
            one = waiting.pop(0)
            found.pop(one, None)
            found[one] = None
            if len(found) > MOST_NODES or len(waiting) > MOST_NODES:
                raise Unsuitable(f"what it is computed from takes more than {MOST_NODES} nodes")
            node = None if one in self._stored or one in self._values else self.producer(one)
            waiting += [] if node is None else [given for given in node.input if given]
        return list(found)

    def _computed(self, name: str) -> NDArray[Any]:
        if name in self._stored:
            return _stored(self._stored[name], self._folder)
        node = self.producer(name)
        if node is None:
            raise Unsuitable(f"it depends on {name}, which is no constant")
        if node.op_type == "Constant":
            return _literal(node, self._folder)
        given = [self._values[one] for one in node.input if one]
        if (largest := _largest(node, given)) is None:
            raise Unsuitable(f"it is computed by {node.op_type}")
        if largest > LARGEST_KERNEL:
            raise Unsuitable(f"it is computed by way of {largest} values")
        try:
            with np.errstate(all="ignore"):
                outputs = ReferenceEvaluator(node, opsets=self._opsets).run(
                    None, {one: self._values[one] for one in node.input if one}
                )
        except Exception as error:  # whatever a node that does not fit its inputs may raise
            raise Unsuitable(f"{node.op_type} cannot be computed ({type(error).__name__})") from None
        return np.asarray(list(outputs)[list(node.output).index(name)])


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a node as a plain value."""
    for one in node.attribute:
        if one.name == name:
            value = onnx.helper.get_attribute_value(one)
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return default


def integers(node: Any, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return an attribute of positive integers; `Unsuitable` if it is anything else."""
    value = attribute(node, name, default)
    values = (value,) if isinstance(value, int) else tuple(value) if isinstance(value, (list, tuple)) else ()
    if not values or not all(isinstance(n, int) and 0 < n < 2**16 for n in values):
        raise Unsuitable(f"its {name} must be positive integers, got {value!r}")
    return values


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
            return math.prod(np.broadcast_shapes(given[0].shape, tuple(int(n) for n in given[1])))
        if kind == "ConstantOfShape":
            return math.prod(int(n) for n in given[0])
        if kind == "Tile":
            return given[0].size * math.prod(int(n) for n in given[1])
        if kind == "Range":
            start, limit, step = (float(one) for one in given)
            return max(0, math.ceil((limit - start) / step))
    except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError):
        return None
    return None


def _literal(node: Any, folder: Path) -> NDArray[Any]:
    for name, kind in (("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8"), ("value_ints", "i8")):
        value = attribute(node, name)
        if value is not None:
            return np.asarray(value, dtype=kind)
    value = attribute(node, "value")
    if value is None:
        raise Unsuitable("it depends on a constant that is no tensor")
    return _stored(value, folder)


def _stored(tensor: Any, folder: Path) -> NDArray[Any]:
    count = math.prod(tensor.dims)
    if not 0 <= count <= LARGEST_KERNEL or tensor.data_type == onnx.TensorProto.STRING:
        raise Unsuitable(f"a tensor of shape {tuple(tensor.dims)} is none of an upsampling layer")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        tensor = _loaded(tensor, folder, count)
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # whatever values that are not as many as said may raise
        raise ValueError(f"tensor {tensor.name!r} is damaged ({type(error).__name__})") from None


def _loaded(tensor: Any, folder: Path, count: int) -> Any:
    # Read by hand, so that nothing but the bytes that belong to it is read.
    path, said = _outside(tensor, folder), {one.key: one.value for one in tensor.external_data}
    try:
        size = count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        offset, length = int(said.get("offset", 0)), int(said.get("length", size))
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"external data of {tensor.name!r} is not described as it must be") from None
    if offset < 0 or length != size or not path.is_file() or path.stat().st_size < offset + length:
        raise ValueError(f"external data of {tensor.name!r} is missing or cut off: {path.name}")
    whole = onnx.TensorProto()
    whole.CopyFrom(tensor)
    del whole.external_data[:]
    whole.data_location = onnx.TensorProto.DEFAULT
    with path.open("rb") as file:
        file.seek(offset)
        whole.raw_data = file.read(length)
    return whole


def _outside(tensor: Any, folder: Path) -> Path:
    """Return where external data lies; `ValueError` if that is not in the folder of the model."""
    location = next((one.value for one in tensor.external_data if one.key == "location"), "")
    given = Path(location)
    if not location or "\0" in location or given.is_absolute() or ".." in given.parts:
        raise ValueError(f"refused: external data at {location!r}, not in the folder of the model")
    path = (folder / given).resolve()
    if not path.is_relative_to(folder.resolve()):  # a link leads out
        raise ValueError(f"refused: external data at {location!r} leads out of the folder of the model")
    return path
