"""Hostile files made by hand, which damage alone would hardly come upon; `python -m fuzzing.hand` writes the corpus."""

import json
import pickle
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import helper
from safetensors.torch import save

from audioup.state_dict import METADATA
from fuzzing import checkpoint, onnx_files, pickles, weights
from fuzzing.cases import CORPUS, Case, saved
from fuzzing.checksums import checksum

node = helper.make_node


def audio() -> Iterator[tuple[str, Case]]:
    """Make headers that promise too much, and silence that goes on for hours."""
    for rate in (2**32 - 1, 2**28, 1):
        yield f"rate-{rate}.wav", Case({"main.wav": _wav(rate, 1, bytes(1600))})
    yield "channels-1024.wav", Case({"main.wav": _wav(48000, 1024, bytes(2048 * 4))})
    yield "promises-4-gb.wav", Case({"main.wav": _wav(8000, 1, bytes(1600), 2**32 - 8)})
    yield "silence-for-hours.flac", Case({"main.flac": _silence(48000, 800)})
    yield "promises-2-to-the-36.flac", Case({"main.flac": _silence(48000, 10, 2**36 - 1)})
    yield "length-unknown.flac", Case({"main.flac": _silence(48000, 10, 0)})
    yield "silence-at-the-highest-rate.flac", Case({"main.flac": _silence(655350, 60)})


def checkpoints() -> Iterator[tuple[str, Case]]:
    """Make pickles that run code or grow, archives that two readers read differently, and kernels that grow."""
    for name, pickled in pickles.bombs().items():
        yield f"{name}.pt", Case({"main.pt": weights.of_pickle(pickled)})
        yield f"{name}-legacy.pt", Case({"main.pt": weights.of_pickle(pickled, zipped=False)})
    good = weights.of_pickle(pickle.dumps({}, 2))
    evil = pickles.bombs()["system"]
    files = pickles.members(good)
    folder = files[0][0].partition("/")[0]
    yield "two-pickles.pt", Case({"main.pt": pickles.archive([*files, (f"{folder}/DATA.PKL", evil)])})
    yield "path-traversal.pt", Case({"main.pt": pickles.archive([(f"../../{name}", one) for name, one in files])})
    yield "absolute-names.pt", Case({"main.pt": pickles.archive([(f"/tmp/{name}", one) for name, one in files])})
    yield "compressed.pt", Case({"main.pt": pickles.archive([*files, (f"{folder}/data/0", bytes(2**24))], 8)})
    yield "archive-behind-archive.pt", Case({"main.pt": weights.of_pickle(evil) + good})
    yield "comment.pt", Case({"main.pt": good[:-2] + b"\x04\x00PK\x05\x06"})
    yield "storage-beyond-the-file.pt", Case({"main.pt": _claiming(2**28)})
    yield "storage-beyond-the-file-legacy.pt", Case({"main.pt": _claiming(2**28, zipped=False)})
    yield "storage-never-read-legacy.pt", Case({"main.pt": _claiming(2**25, zipped=False, listed=False)})
    yield "views-by-the-thousand.pt", Case({"main.pt": _views(1200)})
    keys = {n * (2**61 - 1): 0 for n in range(1, 3001)}
    yield "keys-that-collide.pt", Case({"main.pt": weights.of_pickle(pickle.dumps(keys, 2))})
    said: dict[str, Any] = {"family": "resize", "stride": [32], "groups": 1, "order": 0, "mode": "sinc", "zeros": 63}
    layer = {"0": {**said, "rolloff": 0.99}}
    tensors = {"0.weight": torch.ones(90, 90, 1)}
    yield "resize-that-grows.safetensors", Case({"main.safetensors": save(tensors, {METADATA: json.dumps(layer)})})
    layer = {"0": {"family": "transposed", "stride": [2], "groups": 1, "order": 1023}}
    tensors = {"0.weight": torch.ones(1, 1, 4096)}
    yield "order-1023.safetensors", Case({"main.safetensors": save(tensors, {METADATA: json.dumps(layer)})})
    many = {f"ups.{n}.weight": torch.ones(1, 1, 60) for n in range(150)}
    yield "layers-by-the-hundred.safetensors", Case({"main.safetensors": save(many)})
    config = json.dumps(checkpoint.CONFIG | {"upsample_initial_channel": 2**19, "num_mels": 2**19}).encode()
    yield (
        "sizes-that-fill-memory",
        Case({"main.safetensors": save({"conv_pre.weight": torch.ones(1)}), "config.json": config}),
    )
    checkpoint.small_preset()
    run = checkpoint.run()
    options = json.loads(run.files["config.json"])
    options["options"]["noise"] = 1e300
    yield "run-of-much-noise", Case({"config.json": json.dumps(options).encode()})


def graphs() -> Iterator[tuple[str, Case]]:
    """Make graphs that point elsewhere, make much of little, or go round."""
    for place in ("link.bin", "zeros", "pipe", "../secret.bin", "/dev/zero", "sub/../../secret.bin", "", "a\0b", "."):
        name = "".join(c if c.isalnum() else "-" for c in place) or "nowhere"
        yield f"data-at-{name}.onnx", onnx_files.external(place)
    for n, (offset, length) in enumerate(
        ((str(2**62), "64"), ("16", str(2**62)), ("-16", "64"), ("x", "64"), ("9" * 5000, ""))
    ):
        yield f"data-range-{n}", onnx_files.external("weights.bin", offset, length)
    up = {"strides": [2]}
    one = np.ones(1, "f4")
    grown = [node("Expand", ["one", "shape"], [f"e{n}"]) for n in range(12)]
    layers = [node("ConvTranspose", ["x", f"e{n}"], [f"y{n}"], **up) for n in range(11)]
    last = node("ConvTranspose", ["x", "e11"], ["y"], **up)
    yield (
        "expanded-a-dozen-times.onnx",
        _graph([*grown, *layers, last], {"one": one, "shape": np.array([2**13, 1, 4096])}),
    )
    chain = [node("Expand", ["one", "shape"], ["c0"])]
    chain += [node("Mul", [f"c{n}", f"c{n}"], [f"c{n + 1}"]) for n in range(900)]
    tensors = {"one": one, "shape": np.array([2**13, 1, 4096])}
    yield "a-thousand-products.onnx", _graph([*chain, node("ConvTranspose", ["x", "c900"], ["y"], **up)], tensors)
    same = [node("ConvTranspose", ["x", "w"], [f"y{n}"], strides=[1024]) for n in range(600)]
    weight = {"w": np.ones((1, 1, 128), "f4")}
    yield (
        "one-weight-for-hundreds.onnx",
        _graph([*same, node("ConvTranspose", ["x", "w"], ["y"], strides=[1024])], weight),
    )
    picture = [node("Expand", ["one", "shape"], ["w"]), node("ConvTranspose", ["x", "w"], ["y"], strides=[1024, 1024])]
    yield "a-large-picture.onnx", _graph(picture, {"one": one, "shape": np.array([1, 2, 4096, 4096])})
    filled = [node("ConstantOfShape", ["shape"], ["a"]), node("Add", ["x", "a"], ["y"])]
    yield "gigabytes-of-zeros.onnx", _graph(filled, {"shape": np.array([2**32])})
    tiled = [node("Tile", ["one", "shape"], ["a"]), node("Add", ["x", "a"], ["y"])]
    yield "gigabytes-of-ones.onnx", _graph(tiled, {"one": one, "shape": np.array([2**32])})
    yield (
        "gigabytes-beside-a-layer.onnx",
        _graph(
            [filled[0], node("ConvTranspose", ["x", "w"], ["b"], **up), node("Add", ["b", "a"], ["y"])],
            {"shape": np.array([2**32]), "w": np.ones((2, 1, 4), "f4")},
        ),
    )
    yield (
        "ranged.onnx",
        _graph(
            [node("Range", ["zero", "end", "step"], ["a"]), node("Add", ["x", "a"], ["y"])],
            {"zero": np.float32(0), "end": np.float32(1e10), "step": np.float32(1)},
        ),
    )
    parts = [node("Split", ["x"], ["y"], num_outputs=2**24)]
    yield "split-into-many.onnx", _graph(parts, {})
    resize = [node("Resize", ["x", "", "scales"], ["a"], mode="cubic"), node("Conv", ["a", "w"], ["y"])]
    tensors = {"scales": np.array([1, 1, 330], "f4"), "w": np.ones((90, 90, 1), "f4")}
    yield "resize-that-grows.onnx", _graph(resize, tensors)
    inner = helper.make_graph([node("Identity", ["x"], ["i"])], "inner", [], [])
    for _ in range(20):
        inner = helper.make_graph(
            [node("If", ["x"], ["i"], then_branch=inner, else_branch=helper.make_graph([], "e", [], []))],
            "inner",
            [],
            [],
        )
    yield "nested.onnx", _graph([node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)], {})
    twice = _graph([node("Twice", ["x"], ["y"], domain="own")], {})
    model = onnx_files.onnx.load_from_string(twice.files["main.onnx"])
    model.opset_import.add(domain="own", version=1)
    calls = [node("Twice", ["p"], ["q"], domain="own")]
    model.functions.append(helper.make_function("own", "Twice", ["p"], ["q"], calls, [helper.make_opsetid("own", 1)]))
    yield "a-function-that-calls-itself.onnx", Case({"main.onnx": model.SerializeToString()})
    yield (
        "a-circle.onnx",
        _graph([node("Identity", ["b"], ["a"]), node("Identity", ["a"], ["b"]), node("Identity", ["b"], ["y"])], {}),
    )


def _graph(nodes: list[Any], tensors: dict[str, Any]) -> Case:
    return Case({"main.onnx": onnx_files.model_of(nodes, tensors).SerializeToString()})


def _wav(rate: int, channels: int, data: bytes, promised: int | None = None) -> bytes:
    size = len(data) if promised is None else promised
    return (
        b"RIFF"
        + struct.pack("<I", min(2**32 - 1, size + 36))
        + b"WAVEfmt "
        + struct.pack(
            "<IHHIIHH", 16, 1, channels, rate, min(2**32 - 1, rate * channels * 2), (channels * 2) % 2**16, 16
        )
        + b"data"
        + struct.pack("<I", size)
        + data
    )


def _silence(rate: int, blocks: int, promised: int | None = None) -> bytes:
    """Write FLAC by hand: blocks of 65535 samples that are all zero, in a dozen bytes each."""
    samples = blocks * 65535 if promised is None else promised
    packed = rate << 44 | 0 << 41 | 15 << 36 | samples
    data = bytearray(
        b"fLaC\x80\x00\x00\x22" + struct.pack(">HH", 65535, 65535) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    )
    for n in range(blocks):
        number = (
            bytes([n])
            if n < 0x80
            else bytes([0xC0 | n >> 6, 0x80 | n & 63])
            if n < 0x800
            else bytes([0xE0 | n >> 12, 0x80 | n >> 6 & 63, 0x80 | n & 63])
        )
        frame = b"\xff\xf8\x70\x08" + number + struct.pack(">H", 65534)
        frame += bytes([checksum(frame, 0x07, 8)]) + b"\x00\x00\x00"
        data += frame + checksum(frame, 0x8005, 16).to_bytes(2, "big")
    return bytes(data)


def _claiming(count: int, zipped: bool = True, listed: bool = True) -> bytes:
    """Say of a storage that it has so many values."""
    data = weights.torch_saved({"ups.0.weight": torch.ones(1, 1, 4), "ups.0.bias": torch.ones(1)}, zipped=zipped)
    was, now = b"K\x04tq", b"J" + struct.pack("<i", count) + b"tq"
    shape, size = b"K\x01K\x01K\x04\x87", b"K\x01K\x01J" + struct.pack("<i", count) + b"\x87"
    if zipped:
        return pickles.archive([(n, one.replace(was, now).replace(shape, size)) for n, one in pickles.members(data)])
    parts = weights.legacy_pickles(data)
    parts[3] = parts[3].replace(b"K\x04N", b"J" + struct.pack("<i", count) + b"N").replace(shape, size)
    return b"".join(parts) if listed else b"".join([*parts[:4], pickle.dumps([], 2)])


def _views(count: int) -> bytes:
    base = torch.ones(64 * 64)
    return weights.torch_saved({f"ups.{n}.weight": base[n % 64 :][:2048].view(2, 2, 512) for n in range(count)})


def main(root: Path = CORPUS) -> int:
    """Write all of them into the corpus."""
    for target, made in (("audio", audio), ("checkpoint", checkpoints), ("onnx", graphs)):
        for name, case in made():
            if len(case.files) == 1 and Path(name).suffix:
                (root / target).mkdir(parents=True, exist_ok=True)
                (root / target / name).write_bytes(*case.files.values())
            else:
                saved(case, root / target / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
