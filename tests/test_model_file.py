"""Model files, good and hostile: what is read of them, and that nothing in them runs."""

import json
import os
import pickle
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from audioup import TransposedConv1d, regular
from audioup.inspect import inspect_model
from audioup.model_file import read_model
from audioup.state_dict import METADATA, layer_metadata


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose1d(8, 4, 16, 8), nn.LeakyReLU(), nn.ConvTranspose1d(4, 1, 4, 2))


def strides(path: Path):
    return [one.strides[0] for one in read_model(path).layers]


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "g_02500000", "m.ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_read(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / name
    torch.save(model().state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert strides(path) == [8, 2]


def test_training_checkpoints_are_searched(tmp_path: Path) -> None:
    network = model()
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(1, 8, 4)).sum().backward()
    optimizer.step()
    content = {"generator": network.state_dict(), "optim_g": optimizer.state_dict(), "steps": 3, "epoch": None}
    torch.save(content, tmp_path / "m.pt")
    assert [one.name for one in read_model(tmp_path / "m.pt").layers] == ["generator.0", "generator.2"]


def test_safetensors_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    network = nn.Sequential(*[nn.ConvTranspose1d(n + 3, n + 2, 4, 2) for n in reversed(range(11))])
    save_file(network.state_dict(), tmp_path / "m.safetensors")
    assert [one.name for one in read_model(tmp_path / "m.safetensors").layers] == [str(n) for n in range(11)]


def test_metadata_of_safetensors_are_believed(tmp_path: Path) -> None:
    network = nn.Sequential(regular(TransposedConv1d(8, 4, 12, 4)))
    metadata = {METADATA: json.dumps(layer_metadata(network)), "sample_rate": "24000"}
    save_file(network.state_dict(), tmp_path / "m.safetensors", metadata)
    found = read_model(tmp_path / "m.safetensors")
    assert [one.strides for one in found.layers] == [(4,)]
    assert found.sample_rate == 24000
    torch.testing.assert_close(found.layers[0].kernel, network[0].weight.detach())
    # Without them only the model knows what its parametrisation computes.
    save_file(network.state_dict(), tmp_path / "m.safetensors")
    with pytest.raises(
        ValueError, match=r"no layer that upsamples was.*0 was left out: 0\.weight does not"
    ):
        read_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("config", "expected", "rate", "note"),
    [
        ({"upsample_rates": [4, 4], "sampling_rate": 22050}, [4, 4], 22050, "strides 4, 4 are those of config.json"),
        ({"decoder_rates": [5, 2]}, [5, 2], None, "strides 5, 2"),
        ({"upsampling_ratios": [4, 4, 2]}, [8, 2], None, "config.json has 3 strides for 2 layers: not used"),
        ({"upsample_rates": [4, -4], "sampling_rate": -1}, [8, 2], None, ""),
        ({"upsample_rates": "4,4", "sampling_rate": True}, [8, 2], None, ""),
        ([1, 2], [8, 2], None, ""),
    ],
)
def test_a_configuration_beside_the_file_tells_strides(tmp_path: Path, config, expected, rate, note: str) -> None:
    torch.save(model().state_dict(), tmp_path / "m.pt")
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = read_model(tmp_path / "m.pt")
    assert [one.strides[0] for one in found.layers] == expected
    assert found.sample_rate == rate
    assert note in "; ".join(found.notes)
    given = read_model(tmp_path / "m.pt", (2, 2))
    assert [one.strides[0] for one in given.layers] == [2, 2]


def test_a_configuration_that_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "m.pt")
    for content in (b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "config.json").write_bytes(content)
        assert "config.json beside it cannot be read" in read_model(tmp_path / "m.pt").notes[0]


# --- hostile files ---


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": Runs(tmp_path / "ran")}, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"refused: it holds \w+\.system, which is code"):
        read_model(tmp_path / "m.pt")
    (tmp_path / "p.pt").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(ValueError, match=r"refused|cannot be read"):
        read_model(tmp_path / "p.pt")
    assert not (tmp_path / "ran").exists()


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    torch.save(model(), tmp_path / "m.pt")
    with pytest.raises(ValueError, match=r"refused: it holds torch\.nn\.modules.*save the state dict alone"):
        read_model(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["m.onnx", "m.pt", "m.safetensors"])
def test_files_that_are_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_model(path)
    path.mkdir()
    with pytest.raises(FileNotFoundError, match="not a file"):
        read_model(path)
    path.rmdir()
    path.touch()
    with pytest.raises(ValueError, match="the file is empty"):
        read_model(path)
    for content in (b"text\n" * 100, bytes(100), bytes(range(256)), b"PK\x03\x04" + bytes(50), b"\x80\x02" + bytes(9)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"no ONNX model|no file that torch|cannot be read|refused|no safetensors"):
            read_model(path)


@pytest.mark.parametrize("name", ["m.onnx", "m.pt", "m.safetensors"])
def test_a_sparse_file_of_2_gb_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**31)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"no ONNX model|no file that torch.save made|no safetensors file"):
        read_model(tmp_path / name)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("name", ["m.onnx", "m.safetensors"])
def test_archives_under_another_name(tmp_path: Path, name: str) -> None:
    torch.save(model().state_dict(), tmp_path / "m.pt")
    (tmp_path / "m.pt").rename(tmp_path / name)
    with pytest.raises(ValueError, match=r"no ONNX model|no safetensors file"):
        read_model(tmp_path / name)


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "m.pt")
    save_file(model().state_dict(), tmp_path / "m.safetensors")
    for path in (tmp_path / "m.pt", tmp_path / "m.safetensors"):
        whole = path.read_bytes()
        for length in (10, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=r"cannot be read|no safetensors file"):
                read_model(path)


def test_an_archive_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            archive.writestr(name, bytes(2**28) if name.endswith("data/0") else value)
    with pytest.raises(ValueError, match="cannot be read"):
        read_model(tmp_path / "bomb.pt")


@pytest.mark.skipif(os.geteuid() == 0 or sys.platform == "win32", reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"PK")
    (tmp_path / "m.pt").chmod(0)
    with pytest.raises(PermissionError):
        read_model(tmp_path / "m.pt")


def test_inspection_takes_paths_as_text(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "m.pt")
    assert [one.name for one in inspect_model(str(tmp_path / "m.pt")).layers] == ["0", "2"]
