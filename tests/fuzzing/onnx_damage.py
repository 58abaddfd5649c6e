"""Damage to what is in an ONNX model: tensors, shapes, nodes and attributes, so that its bytes are still a model."""

from random import Random
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fuzzing.mutate import NUMBERS, scrambled, wrong

KINDS = ("ConvTranspose", "Conv", "Resize", "Upsample", "DepthToSpace", "Reshape", "Transpose", "Identity", "Cast")
KINDS += ("Expand", "Tile", "Range", "ConstantOfShape", "Concat", "Gather", "MatMul", "Slice", "ReduceL2", "Squeeze")
KINDS += (
    "Pow",
    "Mod",
    "Where",
    "DequantizeLinear",
    "Constant",
    "Shape",
    "Size",
    "Loop",
    "If",
    "Split",
    "Einsum",
    "Pad",
)
KINDS += ("Unsqueeze", "Clip", "Add", "Div", "Mul", "Sqrt", "RandomNormal", "EyeLike", "OneHot", "NonZero", "Sequence")
PLACES = (
    "weights.bin",
    "link.bin",
    "zeros",
    "pipe",
    "../secret.bin",
    "/dev/zero",
    "/etc/passwd",
    "",
    ".",
    "..",
    "a\0b",
)
PLACES += (
    "main.onnx",
    "a" * 5000,
    "sub/../../secret.bin",
    "/proc/self/mem",
    "\udc80".encode("utf-8", "replace").decode(),
)


def edit(model: Any, random: Random) -> None:
    """Change one thing in a model: a tensor, what is declared, or a node."""
    graph = model.graph
    kind = random.random()
    if kind < 0.2 and graph.initializer:
        _stored(random.choice(graph.initializer), random)
    elif kind < 0.35:
        _declared(model, random)
    elif graph.node:
        _node(graph, random)


def _stored(tensor: Any, random: Random) -> None:
    kind = random.random()
    if kind < 0.3 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = _dim(random)
    elif kind < 0.4:
        tensor.dims.append(random.choice((0, 1, 2, 2**31)))
    elif kind < 0.5:
        tensor.data_type = random.randrange(-1, 30)
    elif kind < 0.65:
        tensor.raw_data = scrambled(tensor.raw_data or b"x", random)
    elif kind < 0.75:
        tensor.float_data.extend([random.choice((0.0, 1e38, float("nan"), float("inf")))] * random.choice((1, 16, 64)))
    elif kind < 0.95:
        numbers = [str(random.choice((-1, *NUMBERS))) for _ in range(2)]
        offset, length = (
            random.choice((one, usual, "", "1e3", "x", " 8", "9" * 5000))
            for one, usual in zip(numbers, ("16", "64"), strict=True)
        )
        move_out(tensor, random.choice(PLACES), offset, length)
    else:
        tensor.name = random.choice(("x", "y", "", "w", "ups.0.weight"))


def _declared(model: Any, random: Random) -> None:
    graph = model.graph
    kind = random.random()
    if kind < 0.3:
        shape = random.choice((*graph.input, *graph.output)).type.tensor_type.shape
        if kind < 0.1:
            shape.dim.add().dim_value = _dim(random)
        elif shape.dim:
            dim = random.choice(shape.dim)
            if kind < 0.2:
                dim.dim_value = _dim(random)
            else:
                dim.dim_param = random.choice(("t", "4*t", "t*999999999", "-t", "9" * 500, "t" * 5000, "0*t", "("))
    elif kind < 0.4:
        model.opset_import[0].version = (
            random.choice((0, 1, 6, 9, 10, 13, 18, 22, 10**6, -1)) if model.opset_import else 1
        )
    elif kind < 0.5:
        model.ir_version = random.choice((0, 1, 3, 4, 8, 10, 99, -1))
    elif kind < 0.6:
        entry = model.metadata_props.add()
        entry.key, entry.value = "sample_rate", str(random.choice((*NUMBERS, -1, "", "²", "١٢", "9" * 5000)))
    elif kind < 0.75 and graph.output:
        random.choice(graph.output).name = random.choice(("x", "a", "", "w", "nowhere"))
    elif kind < 0.85:
        graph.input.add().CopyFrom(random.choice(graph.input))
        graph.input[-1].name = random.choice(("x", "z", "w", ""))
    elif graph.node:
        function = model.functions.add()
        function.name, function.domain = random.choice(("Twice", "ConvTranspose")), random.choice(("", "own"))
        function.input.append("p")
        function.output.append("q")
        function.node.add().CopyFrom(helper.make_node(function.name, ["p"], ["q"], domain=function.domain))
        random.choice(graph.node).domain = function.domain


def _node(graph: Any, random: Random) -> None:
    node = random.choice(graph.node)
    names = ["", "x", "y", "none", *(one.name for one in graph.initializer), *(o for n in graph.node for o in n.output)]
    kind = random.random()
    if kind < 0.4 and node.attribute:
        _attribute(random.choice(node.attribute), random)
    elif kind < 0.5:
        node.op_type = random.choice(KINDS)
    elif kind < 0.62 and node.input:
        node.input[random.randrange(len(node.input))] = random.choice(names)
    elif kind < 0.67:
        (node.input if random.random() < 0.7 else node.output).append(random.choice(names))
    elif kind < 0.72 and node.output:
        node.output[random.randrange(len(node.output))] = random.choice(names)
    elif kind < 0.76:
        del (node.input if random.random() < 0.7 else node.output)[:]
    elif kind < 0.8:
        graph.node.remove(node)
    elif kind < 0.84:
        graph.node.append(node)
    else:
        _inserted(graph, node, random, names)


def _inserted(graph: Any, node: Any, random: Random, names: list[str]) -> None:
    """Put a node that may make much of little, or hide a graph, before another."""
    given, new = random.choice(names), f"new{len(graph.node)}"
    shape = numpy_helper.from_array(
        np.array([random.choice((1, 2, 2**10, 2**20, 2**40, -1)) for _ in range(3)]), f"s{new}"
    )
    graph.initializer.append(shape)
    kind = random.choice(KINDS)
    arguments = {"If": {}, "Loop": {}}.get(
        kind, {"axis": random.choice((0, 1, -1, 2**31))} if random.random() < 0.2 else {}
    )
    made = helper.make_node(
        kind, random.choice(([given], [given, shape.name], [shape.name], [given] * 3, [])), [new], **arguments
    )
    if random.random() < 0.05:
        inner = helper.make_graph([helper.make_node("Identity", ["x"], ["i"])], "inner", [], [])
        for _ in range(random.choice((0, 3, 30))):
            inner = helper.make_graph([helper.make_node("If", ["c"], ["i"], then_branch=inner)], "inner", [], [])
        made.attribute.append(helper.make_attribute("body", inner))
    at = list(graph.node).index(node)
    rest = list(graph.node)[at:]
    if node.input:
        rest[0].input[random.randrange(len(node.input))] = new
    del graph.node[at:]
    graph.node.extend([made, *rest])


def _attribute(one: Any, random: Random) -> None:
    if one.ints and random.random() < 0.8:
        n = random.randrange(len(one.ints))
        one.ints[n] = _bounded(
            random.choice((wrong(one.ints[n], random), random.choice((1, 2, 3, 512, 1024, 4096, 65535))))
        )
    elif one.HasField("i") and random.random() < 0.8:
        one.i = _bounded(wrong(one.i, random))
    elif one.HasField("s") and random.random() < 0.8:
        one.s = random.choice(
            (b"linear", b"cubic", b"nearest", b"", b"\xff\xfe", b"CRD", b"DCR", b"SAME_UPPER", b"half_pixel")
        )
    elif one.HasField("t"):
        _stored(one.t, random)
    elif random.random() < 0.5:
        one.name = random.choice(
            ("strides", "dilations", "group", "pads", "output_shape", "auto_pad", "scales", "axes", "")
        )
    elif random.random() < 0.5:
        one.type = random.randrange(0, 15)
    else:
        one.ints.extend([1] * random.choice((1, 3, 1000)))


def _bounded(value: int) -> int:
    return max(-(2**63), min(2**63 - 1, value))


def _dim(random: Random) -> int:
    return random.choice(
        (0, 1, 2, 3, 8, 63, 1024, 4096, 2**15, 2**20, 2**25, 2**31, 2**40, 2**62, 2**63 - 1, -1, -(2**63))
    )


def move_out(tensor: Any, location: str, offset: str, length: str) -> None:
    """Say of a tensor that its values lie elsewhere."""
    for field in ("raw_data", "float_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value or key == "location":
            tensor.external_data.add(key=key, value=value)
