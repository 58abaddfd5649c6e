"""Upsampling in ONNX graphs: what exporters write of each layer, and what is refused."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from networks import Shuffle
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from audioup import ResizeConv1d, SubPixelConv1d, TransposedConv1d, regular, regularity_order, tonal_fraction
from audioup.init import weight_norm
from audioup.inspect import inspect_model
from audioup.onnx_model import read_onnx
from audioup.upsampler import of_model

logging.getLogger("torch.onnx").setLevel(logging.ERROR)


def exported(model: nn.Module, path: Path, image: bool = False, optimize: bool = True) -> Path:
    x = torch.randn(2, 8, 17, *[19] * image)
    dims = {0: torch.export.Dim("batch"), 2: torch.export.Dim("time")} | (
        {3: torch.export.Dim("width")} if image else {}
    )
    program = torch.onnx.export(
        model.eval(), (x,), dynamic_shapes=(dims,), dynamo=True, verbose=False, optimize=optimize
    )
    onnx.save(program.model_proto, path)
    return path


def sound() -> nn.Module:
    """Return one of each that a graph can hold, and a convolution that is none."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(8, 6, 16, 8, 4)),
        nn.LeakyReLU(0.1),
        nn.Upsample(scale_factor=4, mode="nearest"),
        nn.Conv1d(6, 6, 5, padding=2),
        Shuffle(6, 4, 3),
        nn.ConvTranspose1d(4, 2, 7, 4, 1, groups=2),
        nn.Conv1d(2, 1, 3, padding=1),
    )


@pytest.mark.parametrize("optimize", [True, False])  # weight norm multiplied out, or nodes of the graph
def test_every_form_is_read_with_its_kernel(tmp_path: Path, optimize: bool) -> None:
    model = sound()
    layers, skipped, _, _ = read_onnx(exported(model, tmp_path / "m.onnx", optimize=optimize))
    assert not skipped
    assert [(one.name, one.kind, one.strides, one.kernel_sizes, one.overlap) for one in layers] == [
        ("0", "ConvTranspose1d", (8,), (16,), "even"),
        ("3", "Resize + Conv", (4,), (5,), "even"),
        ("4.conv", "Conv + shuffle", (3,), (3,), "even"),
        ("5", "ConvTranspose1d", (4,), (7,), "uneven"),
    ]
    assert [float(one.rate) for one in layers] == [1 / 48, 1 / 12, 1 / 4, 1]
    torch.testing.assert_close(layers[0].kernel, model[0].weight.detach())
    torch.testing.assert_close(layers[3].kernel, model[5].weight.detach())
    subpixel = SubPixelConv1d(6, 4, 3, 3)
    subpixel.weight.data = model[4].conv.weight.data
    torch.testing.assert_close(layers[2].kernel, subpixel.kernel().detach())
    resize = ResizeConv1d(6, 6, 5, 4, mode="nearest")
    resize.weight.data = model[3].weight.data
    torch.testing.assert_close(layers[1].kernel.float(), resize.kernel().detach())
    assert "a bias for every phase" in layers[2].note


def test_the_module_and_its_graph_tell_the_same(tmp_path: Path) -> None:
    model = nn.Sequential(*list(sound())[:4], nn.ConvTranspose1d(6, 1, 7, 4, 1))
    of_graph = inspect_model(exported(model, tmp_path / "m.onnx"), 16000).layers
    of_module = inspect_model(model, 16000).layers
    assert len(of_graph) == len(of_module) == 3
    for one, other in zip(of_graph, of_module, strict=True):
        assert (one.stride, one.kernel_size, one.in_channels, one.out_channels, one.overlap, one.lines_hz) == (
            (other.stride, other.kernel_size, other.in_channels, other.out_channels, other.overlap, other.lines_hz)
        )
        assert one.regularity_order == other.regularity_order
        assert one.tonal_fraction_db == pytest.approx(other.tonal_fraction_db, abs=1e-4) or one.regularity_order > 0


def test_layers_of_this_library_export_as_what_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    held = regular(weight_norm(TransposedConv1d(8, 4, 12, 4)), order=2)
    model = nn.Sequential(held, SubPixelConv1d(4, 4, 3, 2), ResizeConv1d(4, 2, 5, 4, mode="linear"))
    layers, _, _, _ = read_onnx(exported(model, tmp_path / "m.onnx"))
    expected = [layer.kernel().detach() for layer in model]
    for one, kernel in zip(layers, expected, strict=True):
        torch.testing.assert_close(one.kernel, kernel, rtol=1e-5, atol=1e-6)
    assert [regularity_order(one.kernel, one.strides) for one in layers][:2] == [2, 1]


def test_images(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1),
        nn.PixelShuffle(2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ConvTranspose2d(4, 3, (4, 5), 2, 1),
    )
    layers, _, _, _ = read_onnx(exported(model, tmp_path / "m.onnx", image=True))
    of_module, _ = of_model(nn.Sequential(*list(model)[:2], *list(model)[2:]))
    assert [(one.strides, one.overlap) for one in layers] == [((2, 2), "even"), ((2, 2), "even"), ((2, 2), "uneven")]
    for one, other in zip(layers, of_module, strict=True):
        torch.testing.assert_close(one.kernel.float(), other.kernel.float())


# --- graphs by hand ---


def graph(nodes, weights, path: Path | None = None, *, metadata: dict[str, str] | None = None, shape=(1, 2, "t")):
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    helper.set_model_props(model, metadata or {})
    if path is not None:
        onnx.save(model, path)
    return model


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype("f4")


def test_phases_that_come_first_are_found_in_their_channels(tmp_path: Path) -> None:
    # Channel r * C + o is phase r: Reshape to (N, s, C, T), transposed to (N, C, T, s).
    w = weight(6, 2, 3)
    nodes = [
        helper.make_node("Conv", ["x", "up.weight"], ["a"], pads=[1, 1]),
        helper.make_node("Reshape", ["a", "apart"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["c", "merged"], ["y"]),
    ]
    shapes = {"apart": np.array([0, 3, 2, -1]), "merged": np.array([0, 2, -1])}
    graph(nodes, {"up.weight": w, **shapes}, tmp_path / "m.onnx")
    (layer,), _, _, _ = read_onnx(tmp_path / "m.onnx")
    subpixel = SubPixelConv1d(2, 2, 3, 3)
    subpixel.weight.data = torch.from_numpy(w.reshape(3, 2, 2, 3).swapaxes(0, 1).reshape(6, 2, 3).copy())
    torch.testing.assert_close(layer.kernel, subpixel.kernel().detach())
    assert (layer.name, layer.strides, layer.rate) == ("up", (3,), 1)


def test_heads_of_attention_are_no_shuffle(tmp_path: Path) -> None:
    # Merged into other channels than those apart.
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1]),
        helper.make_node("Reshape", ["a", "apart"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", ["c", "merged"], ["y"]),
    ]
    shapes = {"apart": np.array([1, 2, 3, -1]), "merged": np.array([1, 6, -1])}
    graph(nodes, {"w": weight(6, 2, 3), **shapes}, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="nothing in the graph upsamples"):
        read_onnx(tmp_path / "m.onnx")


def resized(tmp_path: Path, w: np.ndarray, scales: tuple[float, ...] = (1, 1, 2), **attributes):
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["a"], **attributes),
        helper.make_node("Conv", ["a", "w"], ["y"], pads=[1, 1]),
    ]
    graph(nodes, {"w": w, "scales": np.array(scales, "f4")}, tmp_path / "m.onnx")
    return read_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("attributes", "taps"),
    [
        ({"mode": "nearest"}, [1, 1]),
        ({"mode": "linear"}, [0.25, 0.75, 0.75, 0.25]),
        ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, [0.5, 1, 0.5]),
    ],
)
def test_filters_of_resizes(tmp_path: Path, attributes: dict[str, str], taps: list[float]) -> None:
    (layer,), _, _, _ = resized(tmp_path, np.array([[[0, 1, 0]]], "f4"), **attributes)
    assert layer.kernel.flatten().tolist() == [0, *taps, 0]


@pytest.mark.parametrize(
    ("scales", "attributes", "reason"),
    [
        ((1, 1, 1.5), {"mode": "nearest"}, "by no integer factor"),
        ((1, 2, 2), {"mode": "nearest"}, "it resizes the channels"),
        ((1, 1, 2), {"mode": "cubic", "cubic_coeff_a": -0.5}, "no filter of this library"),
        ((1, 1, 2), {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, "no filter of this library"),
    ],
)
def test_other_resizes_are_named(tmp_path: Path, scales: tuple[float, ...], attributes: dict, reason: str) -> None:
    layers, (skipped,), _, _ = resized(tmp_path, weight(1, 1, 3), scales, **attributes)
    assert not layers
    assert reason in skipped.reason


def test_a_quantised_weight_is_multiplied_out(tmp_path: Path) -> None:
    codes = np.arange(-4, 4, dtype="i1").reshape(1, 1, 8)
    nodes = [
        helper.make_node("DequantizeLinear", ["codes", "scale"], ["w"]),
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[4]),
    ]
    graph(nodes, {"codes": codes, "scale": np.float32(0.5)}, tmp_path / "m.onnx", shape=(1, 1, "t"))
    (layer,), _, _, _ = read_onnx(tmp_path / "m.onnx")
    assert layer.kernel.flatten().tolist() == [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5]
    assert float(tonal_fraction(layer.kernel, 4)) > -5


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("ConvTranspose", ["x", "x"], ["y"], strides=[2]), "depends on x, which is no constant"),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2], dilations=[2]), "dilated"),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[-2]), "strides must be positive integers"),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]), "neither for sound nor for images"),
        (helper.make_node("ConvTranspose", ["x", "nan"], ["y"], strides=[2]), "holds NaN"),
        (helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2), "no convolution alone is before it"),
        (helper.make_node("Resize", ["x", "", "", "x"], ["y"]), "its size is computed"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, node, reason: str) -> None:
    graph([node], {"w": weight(2, 1, 4), "nan": np.full((2, 1, 4), np.nan, "f4")}, tmp_path / "m.onnx")
    layers, (skipped,), _, _ = read_onnx(tmp_path / "m.onnx")
    assert not layers
    assert reason in skipped.reason


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Expand", ["one", "shape"], ["w"]),
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2]),
    ]
    graph(nodes, {"one": np.ones(1, "f4"), "shape": np.array([2**20, 2**10, 2**10])}, tmp_path / "m.onnx")
    _, (skipped,), _, _ = read_onnx(tmp_path / "m.onnx")
    assert f"by way of {2**40} values" in skipped.reason


def test_metadata_tell_the_sample_rate(tmp_path: Path) -> None:
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2])]
    for said, rate in (("24000", 24000), ("-1", None), ("a", None), ("9" * 400, None)):
        graph(nodes, {"w": weight(2, 1, 4)}, tmp_path / "m.onnx", metadata={"sample_rate": said})
        assert read_onnx(tmp_path / "m.onnx").sample_rate == rate


# --- external data ---


def external(folder: Path, location: str, length: int = 64) -> Path:
    model = graph([helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2])], {"w": weight(2, 1, 8)})
    (tensor,) = model.graph.initializer
    values = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "16"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(bytes(16) + values)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    (layer,), _, _, _ = read_onnx(external(tmp_path / "model", "weights.bin"))
    np.testing.assert_array_equal(layer.kernel.numpy(), weight(2, 1, 8))


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "", "sub/../../secret.bin", "link.bin", "a\0b"])
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    path = external(tmp_path / "model", location)
    (tmp_path / "secret.bin").write_bytes(bytes(200))
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ValueError, match="refused: external data"):
        read_onnx(path)


def test_weights_that_are_cut_off_or_missing_are_an_error(tmp_path: Path) -> None:
    for location, length in (("weights.bin", 65), ("none.bin", 64)):
        with pytest.raises(ValueError, match="missing or cut off"):
            read_onnx(external(tmp_path / "model", location, length))
    path = external(tmp_path / "model", "weights.bin")
    (tmp_path / "model" / "weights.bin").write_bytes(bytes(20))
    with pytest.raises(ValueError, match="missing or cut off"):
        read_onnx(path)


@pytest.mark.parametrize(
    "content", [b"\x08\x09", b"\x08\x09:\xff\xff\xff\xff\x0f", b"\x0aabc", b"\x08" + bytes(range(200))]
)
def test_damaged_files_are_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ValueError, match="no ONNX model"):
        read_onnx(tmp_path / "m.onnx")


class Activation(nn.Module):
    """Twice the rate and back, as BigVGAN's activations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("taps", torch.ones(channels, 1, 4) / 2)
        self.channels = channels

    def forward(self, x):
        y = nn.functional.conv_transpose1d(x, self.taps, stride=2, padding=1, groups=self.channels)
        return nn.functional.conv1d(torch.sin(y), self.taps, stride=2, padding=1, groups=self.channels)


def test_what_is_undone_is_no_stage(tmp_path: Path) -> None:
    model = nn.Sequential(
        Activation(8),
        nn.ConvTranspose1d(8, 4, 16, 8, 4),
        Activation(4),
        nn.ConvTranspose1d(4, 1, 4, 2, 1),
        Activation(1),
    )
    found = inspect_model(exported(model, tmp_path / "m.onnx"), 16000)
    assert [one.undone for one in found.layers] == [True, False, True, False, True]
    assert found.strides == (8, 2)
    # At twice the rates: before, between and behind.
    assert [one.lines_hz[0] for one in found.layers] == [1000, 1000, 8000, 8000, 16000]
    assert "undone behind them, as in oversampled activations: " in str(found)


# --- rates ---

UP = {"strides": [4], "kernel_shape": [8], "pads": [2, 2]}


def chain(*nodes, tmp_path: Path, shape=(1, 2, "t"), weights=None):
    graph(
        list(nodes),
        weights or {"u.weight": weight(2, 2, 8), "v.weight": weight(2, 2, 8)},
        tmp_path / "m.onnx",
        shape=shape,
    )
    return inspect_model(tmp_path / "m.onnx", 16000)


def up(given: str, made: str, name: str = "u", **more):
    return helper.make_node("ConvTranspose", [given, f"{name}.weight"], [made], **{**UP, **more})


def test_branches_side_by_side_count_once(tmp_path: Path) -> None:
    found = chain(
        up("x", "a"),
        up("x", "b", "v"),
        up("a", "c"),
        up("b", "d", "v"),
        helper.make_node("Add", ["c", "d"], ["y"]),
        tmp_path=tmp_path,
    )
    assert found.strides == (4, 4)
    assert [one.lines_hz for one in found.layers] == [(1000, 2000)] * 2 + [(4000, 8000)] * 2


def test_a_rate_that_falls_in_between_leaves_no_schedule(tmp_path: Path) -> None:
    found = chain(
        up("x", "a"),
        up("a", "b", "v"),
        helper.make_node("AveragePool", ["b"], ["y"], kernel_shape=[2], strides=[2]),
        tmp_path=tmp_path,
    )
    assert [float(one.rate) for one in found.layers] == [0.5, 2]
    assert found.strides == ()


def test_lines_are_not_placed_where_the_rate_is_lost(tmp_path: Path) -> None:
    sizes = helper.make_node("Shape", ["x"], ["size"])
    resize = helper.make_node("Resize", ["a", "", "", "size"], ["y"])
    found = chain(up("x", "a"), sizes, resize, tmp_path=tmp_path)
    assert [(one.stride, one.rate, one.lines_hz) for one in found.layers] == [(4, None, ())]
    assert found.strides == ()
    assert found.notes == ("lines cannot be placed: the way to the output could not be followed",)


@pytest.mark.parametrize(
    ("given", "made", "lines"), [("t", "4*t", 2), (10, 40, 2), (10, 41, 2), ("t", "8*t", 0), (10, 80, 0)]
)
def test_what_the_shapes_declare_is_compared(tmp_path: Path, given, made, lines: int) -> None:
    nodes = [up("x", "a"), helper.make_node("Identity", ["a"], ["y"])]
    model = graph(nodes, {"u.weight": weight(2, 2, 8)}, shape=(1, 2, given))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2, made)))
    onnx.save(model, tmp_path / "m.onnx")
    found = inspect_model(tmp_path / "m.onnx", 16000)
    assert len(found.layers[0].lines_hz) == lines
    assert ("the output has 8 samples for one of the input, and the layers found make 4" in str(found)) == (lines == 0)


# --- damage that checkers may let through ---


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([up("a", "y"), up("x", "a")], "damaged: ConvTranspose takes 'a', which no node before it makes"),
        ([helper.make_node("Identity", ["y"], ["y"])], "damaged: Identity takes 'y'"),
        ([up("x", "y"), up("x", "y")], "damaged: 'y' is made twice"),
        ([up("x", "z")], "damaged: no node makes the output 'y'"),
    ],
)
def test_nodes_in_no_order_are_an_error(tmp_path: Path, nodes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        chain(*nodes, tmp_path=tmp_path)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("ConvTranspose", ["x"], ["y"], strides=[2]),
        helper.make_node("ConvTranspose", ["x", "u.weight"], ["y"], strides=2.5),
        helper.make_node("Resize", ["x"], ["y"], scales="a"),
        helper.make_node("DepthToSpace", [], ["y"], blocksize=2),
        helper.make_node("ConvTranspose", ["x", "c"], ["y"], strides=[2]),
        helper.make_node("ConvTranspose", ["x", "u.weight"], ["y"], strides=[2000]),
    ],
)
def test_nodes_that_are_not_as_they_have_to_be_are_named(tmp_path: Path, node) -> None:
    weights = {"u.weight": weight(2, 2, 8), "c": weight(2, 2, 8).astype("c8")}
    found = chain(node, tmp_path=tmp_path, weights=weights)
    assert not found.layers
    assert len(found.skipped) == 1


def test_shared_ancestors_are_visited_once(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", [f"w{n}", f"w{n}"], [f"w{n + 1}"]) for n in range(300)]
    found = chain(
        *nodes,
        helper.make_node("ConvTranspose", ["x", "w300"], ["y"], **UP),
        tmp_path=tmp_path,
        weights={"w0": np.zeros((2, 2, 8), "f4")},
    )
    assert found.layers[0].kernel_length == 8
    joins = [helper.make_node("Concat", [f"c{n}", f"c{n}"], [f"c{n + 1}"], axis=0) for n in range(60)]
    shuffle = [
        helper.make_node("Shape", ["x"], ["c0"]),
        *joins,
        helper.make_node("Conv", ["x", "u.weight"], ["a"]),
        helper.make_node("Reshape", ["a", "c60"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", ["c", "c60"], ["y"]),
    ]
    with pytest.raises(ValueError, match="nothing in the graph upsamples"):
        chain(*shuffle, tmp_path=tmp_path)


# --- little must not make much ---


def grown(count: int, each: tuple[int, int, int], tmp_path: Path) -> list[str]:
    nodes = [helper.make_node("Expand", ["one", "shape"], [f"e{n}"]) for n in range(count)]
    nodes += [helper.make_node("ConvTranspose", ["x", f"e{n}"], [f"y{n}"], strides=[2]) for n in range(count)]
    nodes.append(helper.make_node("ConvTranspose", ["x", "e0"], ["y"], strides=[2]))
    graph(nodes, {"one": np.ones(1, "f4"), "shape": np.array(each)}, tmp_path / "m.onnx")
    return [one.reason for one in read_onnx(tmp_path / "m.onnx").skipped]


def test_constants_grow_to_8_million_values_in_a_graph(tmp_path: Path) -> None:
    assert grown(3, (2**9, 1, 2**12), tmp_path) == []  # 2 ** 21 each
    assert grown(5, (2**9, 1, 2**12), tmp_path) == ["too much is computed of constants in this graph"]


def test_kernels_of_one_file_share_256_mb(tmp_path: Path) -> None:
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], [f"y{n}"], strides=[2]) for n in range(16)]
    nodes.append(helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2]))
    graph(nodes[1:], {"w": np.zeros((2**10, 1, 2**12), "f4")}, tmp_path / "m.onnx")
    assert len(read_onnx(tmp_path / "m.onnx").layers) == 16
    graph(nodes, {"w": np.zeros((2**10, 1, 2**12), "f4")}, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="the kernels of what upsamples have more than 256 MB"):
        read_onnx(tmp_path / "m.onnx")


def test_a_thousand_stages_have_no_schedule(tmp_path: Path) -> None:
    nodes = [
        up("x", "y0"),
        *(up(f"y{n}", f"y{n + 1}") for n in range(20)),
        helper.make_node("Identity", ["y20"], ["y"]),
    ]
    found = chain(*nodes, tmp_path=tmp_path)  # 4 ** 21 samples for one
    assert len(found.layers) == 21
    assert found.strides == ()


def test_names_that_are_no_text_and_layers_that_make_nothing(tmp_path: Path) -> None:
    model = graph([up("x", "y")], {"u.weight": weight(2, 2, 8)}, metadata={"sample_rate": "text"})
    for was in (b"text", b"u.weight"):
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString().replace(was, b"\xff" * len(was)))
        with pytest.raises(ValueError, match="no ONNX model, or a damaged one"):
            read_onnx(tmp_path / "m.onnx")
    idle = helper.make_node("ConvTranspose", ["x", "u.weight"], [], **UP)
    found = chain(up("x", "y"), idle, tmp_path=tmp_path)
    assert [one.name for one in found.layers] == ["u"]
    assert [one.reason for one in found.skipped] == ["it makes nothing"]
