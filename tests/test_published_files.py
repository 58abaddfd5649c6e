"""Files and entries of published generators: what is read, and what is refused with a clear error."""

import collections
import json
import os
import re

import pytest
import reference
import torch
from published_models import HIFIGAN, hifigan
from reference import assert_close
from safetensors.torch import save_file
from vocoder.published import generator_from, read_published, read_shape

one_thread = reference.one_thread
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")


class Code:
    """Unpickles by calling a function."""

    def __reduce__(self):
        return os.mkdir, ("was_run",)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in generator"])
@pytest.mark.parametrize("name", ["g_02500000", "weights.safetensors"])
def test_files(tmp_path, name, wrapped):
    model, mel = hifigan()
    weights, path = model.state_dict(), tmp_path / name
    if name.endswith("safetensors"):
        save_file(dict(weights), path)
    else:
        torch.save({"generator": weights} if wrapped else weights, path)
    read = read_published(path)
    assert list(read) == list(weights) or name.endswith("safetensors")
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[key], weights[key]) for key in weights)
    (tmp_path / "config.json").write_text(json.dumps(HIFIGAN))
    assert_close(generator_from(str(path), tmp_path / "config.json")(mel), model(mel))


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"generator": Code()}, "g")
    with pytest.raises(
        ValueError, match=r"^g holds more than tensors \((posix|nt)\.mkdir\); code in a file is not run$"
    ):
        read_published("g")
    assert not (tmp_path / "was_run").exists()
    torch.load("g", weights_only=False)
    assert (tmp_path / "was_run").exists()


@pytest.mark.parametrize("name", ["g_02500000", "g.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_damaged_files(tmp_path, name, damage):
    path = tmp_path / name
    if name.endswith("safetensors"):
        save_file(dict(hifigan()[0].state_dict()), path)
    else:
        torch.save(hifigan()[0].state_dict(), path)
    whole = path.read_bytes()
    cuts = [whole[: len(whole) * i // 40] for i in range(1, 40)]  # torch has an error of its own for every length
    for content in {"empty": [b""], "cut": cuts, "text": [b"<html>not found</html>"]}[damage]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is damaged"):
            read_published(path)


@pytest.mark.parametrize("name", ["g_02500000", "g.safetensors"])
def test_a_missing_file_is_the_systems_error(tmp_path, name):
    with pytest.raises(FileNotFoundError):
        read_published(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_shape(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"mpd": {}, "msd": {}, "steps": 3}, "mpd, msd, steps"),
        ({"generator": {"backbone.weight": torch.ones(1)}}, "backbone.weight"),
        ({"generator": torch.ones(1)}, "generator"),
        ({}, "nothing"),
        (torch.ones(3), "Tensor"),
        (3, "int"),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_what_is_no_generator(tmp_path, content, found):
    torch.save(content, tmp_path / "g")
    with pytest.raises(ValueError, match=rf"g holds no HiFi-GAN or BigVGAN generator \(no conv_pre\), but {found}$"):
        read_published(tmp_path / "g")


def test_entries_that_are_no_weights():
    for wrong, kind in ((3, "int"), (torch.tensor(3), "torch.int64")):
        with pytest.raises(ValueError, match=rf"^the checkpoint must hold weights only, got steps of type .*{kind}"):
            read_published(collections.OrderedDict({"conv_pre.bias": torch.ones(1), "steps": wrong}))


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "\xff", "[" * 100_000], ids=["empty", "open", "list", "latin", "deep"]
)
def test_configurations_that_are_no_json_object(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} (is no JSON|must hold a JSON object)"):
        read_shape(path)


@pytest.mark.parametrize("value", [[1, 2], None, 3], ids=str)
def test_what_is_neither_a_path_nor_a_mapping(value):
    with pytest.raises(TypeError, match=rf"^source must be a path or a mapping, got {type(value).__name__}$"):
        generator_from(value, HIFIGAN)
    with pytest.raises(TypeError, match=rf"^config must be a path or a mapping, got {type(value).__name__}$"):
        generator_from(hifigan()[0].state_dict(), value)


def test_tensors_without_values_of_their_own_are_refused():
    weights = hifigan()[0].state_dict()
    wrong = weights["conv_post.bias"].to("meta")
    with pytest.raises(ValueError, match=r"must hold dense weights, got conv_post\.bias without values \(meta\)$"):
        read_published({**weights, "conv_post.bias": wrong})
    wrong = weights["conv_post.bias"].to_sparse()
    with pytest.raises(ValueError, match=r"must hold dense weights, got conv_post\.bias of layout torch\.sparse_coo$"):
        read_published({**weights, "conv_post.bias": wrong})
