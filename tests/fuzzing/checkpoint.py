"""Checkpoints: weights in every form that is read, damage, and what `audioup inspect` and the recipes do with them."""

import dataclasses
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save
from torch import nn

from audioup import ResizeConv1d, SubPixelConv1d, TransposedConv1d, TransposedConv2d, inspect_model, regular
from audioup.state_dict import METADATA, layer_metadata
from fuzzing import values
from fuzzing.cases import Case
from fuzzing.weights import parsed, safetensors_damaged, safetensors_header, torch_damaged, torch_saved

DOCUMENTED = (OSError, ValueError)
CONFIG = {"upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4], "sampling_rate": 16000, "num_mels": 4}
CONFIG |= {
    "upsample_initial_channel": 8,
    "resblock": "2",
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1]],
}
RUN = "checkpoints/step-000001"


def seeds() -> list[Case]:
    """Make small checkpoints of every form, with a configuration beside some of them, and a run of the recipe."""
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.ConvTranspose1d(6, 4, 8, 4), nn.Conv1d(4, 4, 3), nn.ConvTranspose1d(4, 1, 4, 2)
    ).state_dict()
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(6, 4, 8, 4))).state_dict()
    ours = nn.Sequential(
        regular(TransposedConv1d(4, 2, 12, 4)), SubPixelConv1d(2, 2, 3, 2), ResizeConv1d(2, 1, 5, 4, mode="linear")
    )
    images = nn.Sequential(TransposedConv2d(3, 2, 4, 2), ResizeConv1d(2, 1, 3, 2, mode="sinc"))
    training = {"generator": plain, "optim_g": {"state": {0: {"step": torch.tensor(1.0)}}, "lr": 1e-4}, "steps": 3}
    half = {"ups.0.weight": torch.randn(4, 2, 8).half(), "ups.0.bias": torch.randn(2).bfloat16()}
    files = [torch_saved(one) for one in (plain, normed, training, half)]
    files += [torch_saved(one, zipped=False) for one in (plain, training)]
    made = [Case({"main.pt": data}) for data in files]
    made += [Case({"main.pth": files[0], "config.json": json.dumps(CONFIG).encode()})]
    made += [Case({"main.safetensors": save(plain)}), Case({"main.safetensors": save(half)})]
    for model in (ours, images):
        metadata = {METADATA: json.dumps(layer_metadata(model)), "sample_rate": "24000"}
        made.append(Case({"main.safetensors": save(model.state_dict(), metadata)}))
    published = small_preset()
    made += [Case({"main.pt": torch_saved({"generator": published}), "config.json": json.dumps(CONFIG).encode()})]
    made += [Case({"main.safetensors": save(published), "config.json": json.dumps(CONFIG).encode()})]
    return [*made, *[run()] * 2]


def mutated(case: Case, random: Random, other: Case) -> Case:
    """Damage one file of a checkpoint."""
    name = random.choice([one for one in case.files if one != "config.json"] or ["config.json"])
    if "config.json" in case.files and random.random() < 0.3:
        name = "config.json"
    data = case.files[name]
    if name.endswith(".json"):
        return case.replaced(name, values.text(values.damaged(parsed(data), random), random))
    if random.random() < 0.1 and "config.json" not in case.files:
        case = case.replaced("config.json", values.text(values.damaged(CONFIG, random), random))
    if name.endswith(".safetensors"):
        return case.replaced(name, safetensors_damaged(data, random))
    return case.replaced(name, torch_damaged(data, random))


def recognised(path: Path) -> bool:
    """Say whether the container is one: the directory of an archive, a pickle's first opcodes, a header of tensors."""
    if path.is_dir():
        return (path / "config.json").is_file() and isinstance(parsed((path / "config.json").read_bytes()), dict)
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        return isinstance(safetensors_header(data)[0], dict)
    if data.startswith(b"PK"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return any(name.endswith("data.pkl") for name in archive.namelist())
        except (
            zipfile.BadZipFile,
            ValueError,
            NotImplementedError,
            UnicodeDecodeError,
            OSError,
            EOFError,
            MemoryError,
        ):
            return False
    # Of the old form three pickles come first: torch's number, its version, and the machine's kinds.
    return data.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}")


def check(path: Path, random: Random | None) -> str:
    """Inspect a checkpoint or open it as the recipes do, all if nothing is left to chance; return what came out.

    Raises:
        OSError: As documented.
        ValueError: As documented.
    """
    from vocoder.checkpoint import load_checkpoint
    from vocoder.published import generator_from, read_published
    from vocoder.runs import open_run

    small_preset()
    if path.is_dir():
        ways: list[Callable[[], object]] = [
            lambda: open_run(path).steps,
            lambda: load_checkpoint(path / RUN, ("generator",)),
        ]
    else:
        ways = [lambda: inspect_and_print(path), lambda: len(read_published(path))]
        if (path.parent / "config.json").is_file():
            ways.append(lambda: generator_from(path, path.parent / "config.json").shape.strides)
    return tried(ways if random is None else [random.choice(ways)])


def tried(ways: Sequence[Callable[[], object]]) -> str:
    """Go all ways; say what came of the last that led somewhere, or raise the last error that is documented."""
    last: Exception | None = None
    came = []
    for way in ways:
        try:
            came.append(str(way()))
        except DOCUMENTED as error:
            last = error
    if last is not None and not came:
        raise last
    return came[-1]


def inspect_and_print(path: Path) -> str:
    """Do what `audioup inspect` does, with and without ``--json``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = inspect_model(path)
    assert str(found)
    assert json.dumps(found.to_dict(), allow_nan=False)
    return f"{len(found.layers)} layers, {len(found.skipped)} skipped, {len(found.notes)} notes"


def small_preset() -> dict[str, torch.Tensor]:
    """Shrink the recipe's smallest preset, so that its checkpoints are small; return weights of that size."""
    from vocoder.model import GeneratorShape
    from vocoder.presets import PRESETS
    from vocoder.published import _plain_generator, read_shape

    small = GeneratorShape((4, 2), 8, (3,), ((1,),), 1)
    if PRESETS["tiny"].generator == small:
        return {}
    PRESETS["tiny"] = dataclasses.replace(PRESETS["tiny"], generator=small)
    return _plain_generator(*read_shape(CONFIG)).state_dict()


def run() -> Case:
    """Make a small run of the recipe."""
    from vocoder.model import Generator
    from vocoder.options import Options, generator_shape, plain, resolve

    options = resolve(Options(preset="tiny"), torch.device("cpu"))
    weights = Generator(80, generator_shape(options), options.upsampler, options.noise).state_dict()
    config = {"options": plain(options), "sample_rate": 16000}
    return Case(
        {
            "config.json": json.dumps(config).encode(),
            f"{RUN}/generator.safetensors": save({key: value.contiguous() for key, value in weights.items()}),
            f"{RUN}/state.pt": torch_saved({"step": 1, "optimizer": {"state": {0: torch.zeros(3)}}}),
        }
    )
