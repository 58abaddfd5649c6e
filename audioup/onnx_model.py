"""What upsamples in an ONNX graph: transposed convolutions, resizes and shuffles with their convolutions."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import onnx
import torch
from google.protobuf.message import DecodeError
from torch import Tensor

from audioup.conversion import Skipped
from audioup.onnx_graph import Graph
from audioup.onnx_rates import Rates
from audioup.onnx_tensors import LARGEST_MODEL, attribute, integers, is_text
from audioup.source import Unsuitable
from audioup.upsampler import Upsampler, resized, subpixel, transposed

T = TypeVar("T")
PASSED = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")  # between two that belong together
# Axes of the transpose in a shuffle of sound or images, and where the phases stand before it.
SHUFFLES = {
    (0, 1, 3, 2): (slice(2, 3), 1),
    (0, 2, 3, 1): (slice(1, 2), 2),
    (0, 1, 4, 2, 5, 3): (slice(2, 4), 1),
    (0, 3, 4, 1, 5, 2): (slice(1, 3), 3),
}
RESIZES = {
    ("linear", "half_pixel"): "linear",
    ("linear", "pytorch_half_pixel"): "linear",
    ("linear", "asymmetric"): "bspline-2",
    ("cubic", "half_pixel"): "cubic",
    ("cubic", "pytorch_half_pixel"): "cubic",
}
TORCHS_CUBIC = -0.75
MOST_BYTES = 2**28  # of all kernels: layers may share one that is stored once
# What a node raises that is not as its kind has to be: inputs missing, attributes of another type.
MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError)


class Read(NamedTuple):
    """What a file holds; see `audioup.inspect.Inspection`."""

    layers: list[Upsampler]
    skipped: list[Skipped]
    sample_rate: int | None
    notes: list[str]


class Shuffle(NamedTuple):
    """A convolution whose channels are interleaved; ``phase_first`` where channel ``r * C + o`` is phase ``r``."""

    convolution: Any
    strides: tuple[int, ...]
    phase_first: bool


def read_onnx(path: Path) -> Read:
    """Read the upsampling layers of an ONNX file, whose weights may lie in files beside it.

    Weight norm, and what else the graph computes of constants alone, is computed. Nothing is run.

    Raises:
        ValueError: If the file is no ONNX model, has nothing that upsamples, or keeps weights outside its own folder.
        OSError: If a file cannot be read.
    """
    model, graph = load_graph(path)
    rates = Rates(graph, lambda node: read_strides(graph, node)[-1])
    layers: list[Upsampler] = []
    skipped: list[Skipped] = []
    held = 0
    for node in graph.nodes:
        try:
            found = _tried(_read, graph, node)
            if found is not None and not node.output:
                raise Unsuitable("it makes nothing")
        except Unsuitable as error:
            skipped.append(Skipped(str(node.name), node.op_type, str(error)))
            continue
        held += 0 if found is None else found.kernel.nbytes
        if held > MOST_BYTES:
            raise ValueError(f"the kernels of what upsamples have more than {MOST_BYTES >> 20} MB")
        if found is not None:
            rate, undone = rates.of(node.output[0])
            layers.append(replace(found, rate=rate, undone=undone))
    if not layers and not skipped:
        raise ValueError("nothing in the graph upsamples")
    notes = [rates.note] if rates.note else []
    if graph.hidden:
        notes.append(f"not looked into: {', '.join(graph.hidden)}")
    said = next((one.value for one in model.metadata_props if one.key == "sample_rate"), "")
    return Read(layers, skipped, int(said) if said.isdecimal() and len(said) < 10 and int(said) else None, notes)


def load_graph(path: Path) -> tuple[onnx.ModelProto, Graph]:
    """Open an ONNX file, without its external data; see `read_onnx` for what is refused."""
    if path.stat().st_size > LARGEST_MODEL:
        raise ValueError(f"larger than {LARGEST_MODEL >> 20} MB: keep weights in external data")
    with path.open("rb") as file:
        try:
            model = onnx.load(file, load_external_data=False)
            if not is_text(model):
                raise ValueError("names that are no text")
        except (DecodeError, ValueError, RuntimeError):
            raise ValueError("no ONNX model, or a damaged one") from None
    if not model.graph.node:
        raise ValueError("no ONNX model: its graph is empty")
    return model, Graph(model, path.parent)


def read_strides(graph: Graph, node: Any) -> tuple[int, ...]:
    """Return what a node upsamples by along each axis, ones if it does not; `Unsuitable` if that cannot be told."""
    return _tried(_strides, graph, node)


def _tried(function: Callable[[Graph, Any], T], graph: Graph, node: Any) -> T:
    try:
        return function(graph, node)
    except MALFORMED as error:
        raise Unsuitable(f"it is not as {node.op_type} has to be ({type(error).__name__})") from None


def _read(graph: Graph, node: Any) -> Upsampler | None:
    """Return the layer that upsamples in a node, or None."""
    strides = _strides(graph, node)
    if max(strides) == 1:
        return None
    if node.op_type == "ConvTranspose":
        if max(integers(node, "dilations", (1,))) > 1:
            raise Unsuitable("its kernel is dilated")
        weight = _weight(graph, node, strides)
        return transposed(graph.name(node), f"ConvTranspose{len(strides)}d", weight, strides, _groups(node))
    if node.op_type in ("Resize", "Upsample"):
        mode, convolution = _mode(graph, node), _after(graph, node)
        weight = _weight(graph, convolution, strides)
        return resized(graph.name(convolution), "Resize + Conv", weight, strides, mode, _groups(convolution))
    shuffle = _shuffle(graph, node)
    if shuffle is None:
        raise Unsuitable("no convolution alone is before it")
    convolution, phases, groups = shuffle.convolution, math.prod(strides), _groups(shuffle.convolution)
    weight, bias = _weight(graph, convolution, strides), None
    if len(convolution.input) > 2:
        bias = _tensor(graph, convolution.input[2])
    if shuffle.phase_first:
        if groups > 1 or len(weight) % phases:
            raise Unsuitable("its channels are no whole number of phases in every group")
        weight = weight.unflatten(0, (phases, -1)).transpose(0, 1).flatten(0, 1)
        bias = bias.unflatten(0, (phases, -1)).T.flatten() if bias is not None and len(bias) == len(weight) else None
    return subpixel(graph.name(convolution), "Conv + shuffle", weight, strides, groups, bias=bias)


def _strides(graph: Graph, node: Any) -> tuple[int, ...]:
    """Return what a node upsamples by along each axis, ones if it does not."""
    if node.op_type == "ConvTranspose":
        return integers(node, "strides", (1,))
    if node.op_type in ("Resize", "Upsample"):
        return _scales(graph, node)
    shuffle = _shuffle(graph, node) if node.op_type == "Reshape" else None
    if shuffle is not None:
        return shuffle.strides
    return integers(node, "blocksize", (1,)) * 2 if node.op_type == "DepthToSpace" else (1,)


def _scales(graph: Graph, node: Any) -> tuple[int, ...]:
    place = 1 if node.op_type == "Upsample" else 2
    scales = attribute(node, "scales")
    if scales is None:
        if len(node.input) <= place or not node.input[place]:
            raise Unsuitable("its size is computed")
        scales = graph.constant(node.input[place]).reshape(-1).tolist()
    by_axis = dict(zip(attribute(node, "axes", range(len(scales))), scales, strict=False))
    if any(by_axis.get(axis, 1) != 1 for axis in (0, 1)):
        raise Unsuitable("it resizes the channels")
    factors = [scale for axis, scale in sorted(by_axis.items()) if axis > 1]
    if not factors or any(not 1 <= scale < 2**16 or scale != int(scale) for scale in factors):
        raise Unsuitable(f"it resizes by {factors}, by no integer factor")
    return tuple(int(scale) for scale in factors)


def _mode(graph: Graph, node: Any) -> str:
    mode = attribute(node, "mode", "nearest")
    default = "asymmetric" if node.op_type == "Upsample" else "half_pixel"
    places = attribute(node, "coordinate_transformation_mode", default)
    if mode == "nearest" and places in ("half_pixel", "pytorch_half_pixel", "asymmetric"):
        return "nearest"
    if mode == "cubic" and abs(attribute(node, "cubic_coeff_a", TORCHS_CUBIC) - TORCHS_CUBIC) > 1e-6:
        mode = "another cubic"
    if (mode, places) not in RESIZES:
        raise Unsuitable(f"mode {mode!r} at {places!r} is no filter of this library")
    return RESIZES[mode, places]


def _after(graph: Graph, node: Any) -> Any:
    """Return the convolution that a resize belongs to."""
    while True:
        users = graph.consumers(node.output[0])
        if len(users) != 1 or users[0] is None:
            raise Unsuitable("no convolution alone follows it")
        (node,) = users
        if node.op_type == "Conv":
            if max(*integers(node, "strides", (1,)), *integers(node, "dilations", (1,))) > 1:
                raise Unsuitable("its convolution is strided or dilated")
            return node
        if node.op_type not in (*PASSED, "Pad"):
            raise Unsuitable("no convolution alone follows it")


def _before(graph: Graph, name: str, kind: str) -> Any:
    """Return the node of a kind that a tensor comes from, unless it also goes elsewhere."""
    node = graph.producer(name)
    while node is not None and len(graph.consumers(node.output[0])) == 1:
        if node.op_type == kind:
            return node
        node = graph.producer(node.input[0]) if node.op_type in PASSED else None
    return None


def _shuffle(graph: Graph, node: Any) -> Shuffle | None:
    """Return what a node interleaves: DepthToSpace, or the last of Reshape, Transpose, Reshape."""
    if node.op_type == "DepthToSpace":
        convolution = _before(graph, node.input[0], "Conv")
        phase_first = attribute(node, "mode", "DCR") != "CRD"
        return convolution and Shuffle(convolution, _strides(graph, node), phase_first)
    transpose = _before(graph, node.input[0], "Transpose")
    apart = transpose and _before(graph, transpose.input[0], "Reshape")
    convolution = apart and _before(graph, apart.input[0], "Conv")
    axes = tuple(attribute(transpose, "perm", ())) if convolution else ()
    if axes not in SHUFFLES:
        return None
    place, channel = SHUFFLES[axes]
    entries, merged = graph.entries(apart.input[1]), graph.entries(node.input[1])
    if entries is None or merged is None or len(entries) != len(axes) or len(merged) != 2 + (len(axes) - 2) // 2:
        return None
    strides, channels = entries[place], entries[channel]
    if any(n is None or n < 1 for n in strides) or (None not in (merged[1], channels) and merged[1] != channels):
        return None
    return Shuffle(convolution, tuple(n for n in strides if n is not None), place.start < channel)


def _weight(graph: Graph, node: Any, strides: tuple[int, ...]) -> Tensor:
    weight = _tensor(graph, node.input[1])
    if weight.dim() != 2 + len(strides) or len(strides) > 2:
        raise Unsuitable(f"a weight of shape {tuple(weight.shape)} is neither for sound nor for images")
    return weight


def _tensor(graph: Graph, name: str) -> Tensor:
    values = graph.constant(name)
    if values.dtype.kind == "c":
        raise Unsuitable("its weight is complex")
    if values.dtype.kind not in "fiu":  # bfloat16 and others that torch cannot take from NumPy
        values = values.astype("f4")
    return torch.from_numpy(values.copy())


def _groups(node: Any) -> int:
    return integers(node, "group", (1,))[0]
