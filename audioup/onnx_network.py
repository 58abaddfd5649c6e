"""An ONNX graph as a torch module that `audioup.probe` can look into.

Transposed convolutions are run by torch, so that they are seen and can be changed; all between them by onnxruntime.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import audioup.telemetry  # noqa: F401

# isort: split
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audioup.onnx_graph import Graph
from audioup.onnx_model import MALFORMED, load_graph
from audioup.onnx_tensors import attribute, integers, within
from audioup.probe_report import ProbeReport
from audioup.source import Unsuitable

MOST_PIECES = 1000
SLASH = "/"  # in names of modules, where the graph's have a dot


class OnnxNetwork(nn.Module):
    """Runs an ONNX graph of one input and at least one output on the CPU.

    Args:
        path: The file. Its external data must lie in its folder.
        threads: Of onnxruntime.

    Raises:
        ValueError: If the file is no ONNX model, onnxruntime refuses it, or it has several inputs.
        OSError: If a file cannot be read.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        super().__init__()
        model, graph = load_graph(path)
        within(graph.tensors(), path.parent)
        self.inputs = graph.inputs
        if len(self.inputs) != 1:
            raise ValueError(f"the graph must have one input, got {len(self.inputs)}: {', '.join(self.inputs)}")
        self.outputs = [one.name for one in model.graph.output]
        self.steps = nn.ModuleDict()
        self._order: list[Layer | Piece] = []
        pieces = _pieces(graph)
        if len(pieces) > MOST_PIECES:
            raise ValueError(f"more than {MOST_PIECES // 2} layers that upsample")
        for node in graph.nodes:  # the inference of shapes makes as many as it is told
            if node.op_type == "Split" and attribute(node, "num_outputs", len(node.output)) != len(node.output):
                raise ValueError(f"damaged: Split says another number of outputs than its {len(node.output)}")
        try:
            typed = onnx.shape_inference.infer_shapes(model)
            for n, nodes in enumerate(pieces):
                layer = _layer(graph, nodes[0])
                if layer is not None:
                    step: Layer | Piece = layer
                    self.steps[SLASH.join(graph.name(nodes[0]).split("."))] = layer
                else:
                    later = {name for piece in pieces[n + 1 :] for node in piece for name in node.input}
                    step = Piece(typed, nodes, later | set(self.outputs), threads)
                    self.steps[f"graph {n}"] = step
                self._order.append(step)
        except Exception as error:  # whatever onnxruntime and the inference of shapes may raise
            raise ValueError(f"onnxruntime refuses it: {' '.join(str(error).split())[:200]}") from None

    def forward(self, x: Tensor) -> Tensor:
        """Return the first output."""
        found = {self.inputs[0]: x}
        for step in self._order:
            outputs = step(*(found[name] for name in step.takes))
            found.update(zip(step.gives, outputs, strict=True))
        return found[self.outputs[0]]


def in_graphs_names(report: ProbeReport) -> ProbeReport:
    """Call stages as the graph does, in a report on an `OnnxNetwork`."""

    def name(path: str) -> str:
        return path.removeprefix("steps.").replace(SLASH, ".")

    attribution = report.attribution
    if attribution is not None:
        attribution = replace(
            attribution, trials=tuple(replace(one, name=name(one.name)) for one in attribution.trials)
        )
    return replace(
        report,
        stages=tuple(replace(stage, name=name(stage.name)) for stage in report.stages),
        others=tuple(replace(stage, name=name(stage.name)) for stage in report.others),
        attribution=attribution,
    )


class Layer(nn.ConvTranspose1d):
    """A transposed convolution of the graph; ``takes`` and ``gives`` name tensors."""

    def __init__(self, node: Any, weight: Tensor, bias: Tensor | None, groups: int) -> None:
        stride, pads = integers(node, "strides", (1,)), _whole(node, "pads", 2)
        channels = weight.shape[0], weight.shape[1] * groups
        super().__init__(*channels, weight.shape[2], stride[0], groups=groups, bias=bias is not None, device="meta")
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.crop, self.more = pads, _whole(node, "output_padding", 1)[0]
        self.takes, self.gives = [node.input[0]], [node.output[0]]

    def reset_parameters(self) -> None:
        """Leave them: the graph has its own, and to draw others takes longer than all the rest."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> list[Tensor]:  # type: ignore[override]
        """Return one tensor, in a list."""
        common = min(self.crop)  # what torch can crop by itself
        first, last = (n - common for n in self.crop)
        y = F.conv_transpose1d(x, self.weight, self.bias, self.stride, common, self.more, self.groups)
        return [y[..., first : y.shape[-1] - last]]


class Piece(nn.Module):
    """Nodes of a graph that onnxruntime runs together."""

    def __init__(self, model: onnx.ModelProto, nodes: Sequence[Any], wanted: set[str], threads: int) -> None:
        super().__init__()
        graph = model.graph
        made = {name for node in nodes for name in node.output}
        used = {name for node in nodes for name in node.input if name}
        stored = [one for one in graph.initializer if one.name in used]
        types = {one.name: one for one in (*graph.input, *graph.value_info, *graph.output)}
        self.takes = sorted(used - made - {one.name for one in stored})
        self.gives = sorted(made & wanted)
        part = onnx.helper.make_graph(
            list(nodes),
            "piece",
            [_described(types, name) for name in self.takes],
            [_described(types, name) for name in self.gives],
            stored,
        )
        whole = onnx.helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            whole.SerializeToString(),
            settings,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"],  # a few bytes may unfold to any size before anything is run
        )

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        """Return the tensors named by ``gives``."""
        given = {name: x.detach().cpu().numpy() for name, x in zip(self.takes, tensors, strict=True)}
        try:
            outputs = self.session.run(self.gives, given)
        except Exception as error:  # onnxruntime has many of its own
            raise ValueError(f"onnxruntime: {' '.join(str(error).split())[:200]}") from None
        return [torch.from_numpy(y) for y in outputs]


def _described(types: dict[str, Any], name: str) -> Any:
    # Their lengths vary, whatever the file says.
    return onnx.helper.make_tensor_value_info(name, types[name].type.tensor_type.elem_type, None)


def _pieces(graph: Graph) -> list[list[Any]]:
    """Cut the nodes, in their order, before and after every transposed convolution that upsamples sound."""
    pieces: list[list[Any]] = [[]]
    for node in graph.nodes:
        if _layer(graph, node) is None:
            pieces[-1].append(node)
        else:
            pieces += [[node], []]
    return [piece for piece in pieces if piece]


def _layer(graph: Graph, node: Any) -> Layer | None:
    # What does not fit is left to onnxruntime, which knows what to make of it.
    if node.op_type != "ConvTranspose" or attribute(node, "output_shape") is not None:
        return None
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", ""):
        return None
    try:
        if integers(node, "dilations", (1,)) != (1,) or integers(node, "strides", (1,)) == (1,):
            return None
        weights = [graph.constant(name) for name in node.input[1:]]
        if node.input[0] not in graph.made or any(one.dtype != "f4" for one in weights) or weights[0].ndim != 3:
            return None
        weight, *biases = (torch.from_numpy(one.copy()) for one in weights)
        return Layer(node, weight, biases[0] if biases else None, integers(node, "group", (1,))[0])
    except (*MALFORMED, Unsuitable):
        return None


def _whole(node: Any, name: str, count: int) -> tuple[int, ...]:
    values = tuple(attribute(node, name, (0,) * count))
    if len(values) != count or any(not isinstance(n, int) or n < 0 for n in values):
        raise Unsuitable(f"its {name} must be {count} integers >= 0, got {values!r}")
    return values
