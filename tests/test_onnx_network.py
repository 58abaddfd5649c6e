"""ONNX graphs run in pieces: the same sound as in one piece, and stages that a probe can see and change."""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import Shuffle
from test_onnx_model import external, graph, weight
from torch import nn

from audioup import ResizeConv1d, SubPixelConv1d, probe
from audioup.onnx_network import OnnxNetwork, in_graphs_names

logging.getLogger("torch.onnx").setLevel(logging.ERROR)


class Net(nn.Module):
    """With what makes pieces hard: a way past two stages, a value used late, weight norm, uneven crops."""

    def __init__(self) -> None:
        super().__init__()
        self.pre = nn.Conv1d(8, 6, 3, padding=1)
        self.ups = nn.ModuleList(
            [
                nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(6, 4, 16, 8, 4)),
                nn.ConvTranspose1d(4, 2, 7, 4, 2, output_padding=1, groups=2),
            ]
        )
        self.resize = ResizeConv1d(2, 2, 5, 4, mode="nearest")
        self.shuffle = Shuffle(2, 2, 2)

    def forward(self, x):
        first = self.pre(x)
        gain = first.mean(dim=(1, 2), keepdim=True)
        y = self.ups[1](torch.tanh(self.ups[0](first)))
        past = nn.functional.interpolate(first[:, :2], scale_factor=32)
        return self.shuffle(self.resize(y + past)) * gain


def saved(model: nn.Module, path: Path) -> Path:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 17)
    program = torch.onnx.export(
        model.eval(),
        (x,),
        dynamic_shapes=({0: torch.export.Dim("batch"), 2: torch.export.Dim("frames")},),
        dynamo=True,
        verbose=False,
    )
    onnx.save(program.model_proto, path)
    return path


def whole(path: Path, x: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return saved(Net(), tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.mark.parametrize("shape", [(2, 8, 17), (1, 8, 1), (3, 8, 50)])
def test_in_pieces_it_makes_the_same_sound(path: Path, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    network = OnnxNetwork(path)
    with torch.no_grad():
        y = network(x)
    expected = whole(path, x)
    assert y.shape == expected.shape == (shape[0], 2, 256 * shape[2])
    np.testing.assert_allclose(y.numpy(), expected, atol=2e-6 * abs(expected).max())
    # The resize of this library is folded: one transposed convolution more.
    assert [layer.stride for layer in network.modules() if isinstance(layer, nn.ConvTranspose1d)] == [(8,), (4,), (4,)]


def test_a_probe_sees_what_it_sees_in_the_model_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.ConvTranspose1d(8, 8, 4, 2, 1), nn.LeakyReLU(0.1), SubPixelConv1d(8, 1, 3, 8, init="default")
    )
    x = 1 + 0.3 * torch.randn(1, 8, 1500, generator=torch.Generator().manual_seed(1))
    found = in_graphs_names(probe(OnnxNetwork(saved(model, tmp_path / "m.onnx")), x, 16000, seconds=1))
    expected = probe(model, x, 16000, seconds=1)
    assert [(one.name, one.stride) for one in found.stages] == [("0", 2), ("2", 8)]
    assert found.strides == expected.strides
    for name in ("real", "silence", "constant", "noise"):
        levels, others = ([one.level_dbfs for one in getattr(of, name).lines] for of in (found, expected))
        np.testing.assert_allclose(levels, others, atol=0.01)
    drops, others = ([trial.drop_db for trial in of.attribution.trials] for of in (found, expected))
    np.testing.assert_allclose(drops, others, atol=0.5)
    assert np.max(drops) > 20


def test_crops_that_differ_at_the_ends(tmp_path: Path) -> None:
    w = weight(2, 1, 9)
    for pads in ([1, 4], [4, 1], [0, 5], [2, 2]):
        node = onnx.helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[4], pads=pads, output_padding=[1])
        graph([node], {"w": w}, tmp_path / "m.onnx")
        x = torch.randn(1, 2, 11, generator=torch.Generator().manual_seed(0))
        y = OnnxNetwork(tmp_path / "m.onnx")(x).numpy()
        np.testing.assert_allclose(y, whole(tmp_path / "m.onnx", x), atol=1e-6)


def test_external_data_are_read(tmp_path: Path) -> None:
    file = external(tmp_path / "m", "weights.bin")
    x = torch.randn(1, 2, 11)
    y = nn.functional.conv_transpose1d(x, torch.from_numpy(weight(2, 1, 8)), stride=2)
    torch.testing.assert_close(OnnxNetwork(file)(x), y)


def test_graphs_that_cannot_be_run_are_errors(tmp_path: Path) -> None:
    node = onnx.helper.make_node("NoSuchThing", ["x"], ["y"])
    graph([node], {}, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="onnxruntime refuses it"):
        OnnxNetwork(tmp_path / "m.onnx")
    two = graph([onnx.helper.make_node("Add", ["x", "z"], ["y"])], {})
    two.graph.input.add(name="z")
    onnx.save(two, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="must have one input, got 2: x, z"):
        OnnxNetwork(tmp_path / "m.onnx")
