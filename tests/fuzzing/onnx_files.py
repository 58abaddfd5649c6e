"""ONNX files: seeds, damage to what is in the graph or to its bytes, and what `audioup inspect` and `report` do."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuzzing.cases import Case
from fuzzing.mutate import scrambled
from fuzzing.onnx_damage import edit, move_out

DOCUMENTED = (OSError, ValueError)
OPENED = 0.25  # of the inputs are cut into pieces for onnxruntime too, as `audioup report --inputs` does


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
        model_of(chain, weights),
        model_of(resize, {"scales": np.array([1, 1, 4], "f4"), "w": _weight(2, 2, 3)}),
        model_of(shuffle, pieces),
        model_of(image, {"w": _weight(8, 2, 3, 3), "u": _weight(2, 1, 4, 4)}, (1, 2, "h", "w")),
        model_of(computed, {**scalars, "bias": _weight(1), "twice": np.array([2])}),
    ]
    cases = [Case({"main.onnx": model.SerializeToString()}) for model in graphs]
    return [*cases, external("weights.bin")]


def external(location: str, offset: str = "16", length: str = "64") -> Case:
    """Make a model whose weights lie in another file."""
    model = model_of([helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2])], {"w": _weight(2, 1, 8)})
    content = model.graph.initializer[0].raw_data
    move_out(model.graph.initializer[0], location, offset, length)
    return Case({"main.onnx": model.SerializeToString(), "weights.bin": bytes(16) + content})


def mutated(case: Case, random: Random, other: Case) -> Case:
    """Damage a graph, as a graph or as bytes."""
    data = case.files["main.onnx"]
    if random.random() < 0.25:
        return case.replaced("main.onnx", scrambled(data, random, other.files["main.onnx"], kept=random.choice((0, 2))))
    try:
        model = onnx.load_from_string(data)
        for _ in range(random.randint(1, 4)):
            edit(model, random)
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


def model_of(nodes: list[Any], weights: dict[str, Any], shape: tuple[Any, ...] = (1, 2, "t")) -> onnx.ModelProto:
    """Make a model of one input and one output."""
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
