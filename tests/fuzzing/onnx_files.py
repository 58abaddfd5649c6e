"""ONNX files: seeds, damage to what is in the graph or to its bytes, and what `audioup inspect` and `report` do."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuzzing.cases import Case
from fuzzing.mutate import NUMBERS, scrambled, wrong

DOCUMENTED = (OSError, ValueError)
OPENED = 0.25  # of the inputs are cut into pieces for onnxruntime too, as `audioup report --inputs` does
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


def seeds() -> list[Case]:
    """Make small graphs of every form that is read."""
    node = helper.make_node
    chain = [
        node("Mul", ["v", "v"], ["v2"]),
        node("ReduceSum", ["v2", "axes"], ["sum"]),
        node("Sqrt", ["sum"], ["norm"]),
        node("Div", ["v", "norm"], ["unit"]),
        node("Mul", ["unit", "g"], ["ups.0.weight"]),
        node("ConvTranspose", ["x", "ups.0.weight", "b"], ["a"], strides=[4], kernel_shape=[8], pads=[2, 2]),
        node("LeakyRelu", ["a"], ["c"], alpha=0.1),
        node("ConvTranspose", ["c", "ups.1.weight"], ["y"], strides=[2], group=1),
    ]
    weights = {"v": _weight(2, 2, 8), "axes": np.array([1, 2]), "g": _weight(2, 1, 1), "b": _weight(2)}
    weights["ups.1.weight"] = _weight(2, 1, 4)
    resize = [
        node("Resize", ["x", "", "scales"], ["a"], mode="nearest", coordinate_transformation_mode="asymmetric"),
        node("Conv", ["a", "w"], ["b"], pads=[1, 1]),
        node("Resize", ["b", "", "scales"], ["c"], mode="linear"),
        node("Conv", ["c", "w"], ["y"], pads=[1, 1]),
    ]
    shuffle = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1]),
        node("Reshape", ["a", "apart"], ["b"]),
        node("Transpose", ["b"], ["c"], perm=[0, 1, 3, 2]),
        node("Reshape", ["c", "together"], ["y"]),
    ]
    image = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("DepthToSpace", ["a"], ["b"], blocksize=2, mode="CRD"),
        node("ConvTranspose", ["b", "u"], ["y"], strides=[2, 2]),
    ]
    computed = [
        node("Constant", [], ["shape"], value_ints=[2, 1, 8]),
        node("Expand", ["one", "shape"], ["grown"]),
        node("Range", ["zero", "eight", "one_"], ["ramp"]),
        node("Concat", ["grown", "grown"], ["both"], axis=1),
        node("Mul", ["both", "ramp"], ["w"]),
        node("Tile", ["bias", "twice"], ["b"]),
        node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[4]),
    ]
    scalars = {"one": np.ones(1, "f4"), "zero": np.float32(0), "eight": np.float32(8), "one_": np.float32(1)}
    pieces = {"apart": np.array([0, 3, 2, -1]), "together": np.array([0, 3, -1]), "w": _weight(6, 2, 3)}
    graphs = [
        _model(chain, weights),
        _model(resize, {"scales": np.array([1, 1, 4], "f4"), "w": _weight(2, 2, 3)}),
        _model(shuffle, pieces),
        _model(image, {"w": _weight(8, 2, 3, 3), "u": _weight(2, 1, 4, 4)}, (1, 2, "h", "w")),
        _model(computed, {**scalars, "bias": _weight(1), "twice": np.array([2])}),
    ]
    cases = [Case({"main.onnx": model.SerializeToString()}) for model in graphs]
    return [*cases, external("weights.bin")]


def external(location: str, offset: str = "16", length: str = "64") -> Case:
    """Make a model whose weights lie in another file."""
    model = _model([helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2])], {"w": _weight(2, 1, 8)})
    content = model.graph.initializer[0].raw_data
    _move_out(model.graph.initializer[0], location, offset, length)
    return Case({"main.onnx": model.SerializeToString(), "weights.bin": bytes(16) + content})


def mutated(case: Case, random: Random, other: Case) -> Case:
    """Damage a graph, as a graph or as bytes."""
    data = case.files["main.onnx"]
    if random.random() < 0.25:
        return case.replaced("main.onnx", scrambled(data, random, other.files["main.onnx"], kept=random.choice((0, 2))))
    try:
        model = onnx.load_from_string(data)
        for _ in range(random.randint(1, 4)):
            _edit(model, random)
    except Exception:  # protobuf has kinds of its own; an earlier input may be no message any more
        return case.replaced("main.onnx", scrambled(data, random, kept=2))
    return case.replaced("main.onnx", model.SerializeToString())


def recognised(path: Path) -> bool:
    """Say whether protobuf reads a model with a graph that has nodes."""
    try:
        return bool(onnx.load(path, load_external_data=False).graph.node)
    except Exception:  # protobuf's own kinds
        return False


def check(path: Path, random: Random | None) -> str:
    """Inspect a graph or cut it into what onnxruntime runs, both if nothing is left to chance; return what came out.

    Raises:
        OSError: As documented.
        ValueError: As documented.
    """
    from audioup.onnx_network import OnnxNetwork
    from fuzzing.checkpoint import inspect_and_print, tried

    ways = [lambda: inspect_and_print(path), lambda: f"{len(OnnxNetwork(path).steps)} pieces"]
    return tried(ways if random is None else [ways[random.random() < OPENED]])


def _edit(model: Any, random: Random) -> None:
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
        _move_out(tensor, random.choice(PLACES), offset, length)
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


def _move_out(tensor: Any, location: str, offset: str, length: str) -> None:
    for field in ("raw_data", "float_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value or key == "location":
            tensor.external_data.add(key=key, value=value)


def _model(nodes: list[Any], weights: dict[str, Any], shape: tuple[Any, ...] = (1, 2, "t")) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    helper.set_model_props(model, {"sample_rate": "16000"})
    return model


def _weight(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype("f4")
