"""Published HiFi-GAN and BigVGAN weights in this recipe's generator: the same sound."""

import dataclasses
import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils import parametrize

from audioup.torch_file import Refused, load_torch
from audioup.weights import plain_state_dict
from vocoder.checkpoint import misfit
from vocoder.model import ACTIVATIONS, Generator, GeneratorShape

# Of BigVGAN's activations, which share one design.
FILTERS = (".upsample.filter", ".downsample.lowpass.filter")
# BigVGAN's names that are others here: a stage holds one upsampler, an activation stands in an `Oversampled`.
RENAMED = ((re.compile(r"^(ups\.\d+)\.0\."), r"\1."), (re.compile(r"\.act\.(alpha|beta)$"), r".activation.\1"))
BOUND = 2**20  # of integers, beyond any vocoder's; products of three of them can still be counted
REQUIRED = (
    "num_mels",
    "upsample_initial_channel",
    "upsample_rates",
    "upsample_kernel_sizes",
    "resblock",
    "resblock_kernel_sizes",
    "resblock_dilation_sizes",
)


def generator_from(source: str | Path | Mapping[str, Any], config: str | Path | Mapping[str, Any]) -> Generator:
    """Build the generator of a published checkpoint, HiFi-GAN's or BigVGAN's.

    The sound is the published model's to rounding; BigVGAN's near the edges only about so, since it repeats the last
    *activated* sample at the double rate where `audioup.Oversampled` activates a repeated one. That reaches as far from
    either edge as the network looks: 0.41 s at most for BigVGAN at 24 kHz.

    Weight norm is multiplied out, so the generator is for use and for `audioup.convert`, not for going on as before.

    Args:
        source: The checkpoint; see `read_published`.
        config: The ``config.json`` beside it, or what is in it; see `read_shape`. The weights are checked against it.

    Returns:
        A generator with transposed convolutions, on the CPU, in ``eval()``: ``(batch, n_mels, T)`` log-mel to
        ``(batch, 1, hop_length * T)``.

    Raises:
        TypeError: If either is neither a path nor a mapping.
        ValueError: If either cannot be read, or weights are missing, left over, of other shapes than the configuration
            says, there twice or not finite, or BigVGAN's filters are not all the same; they are named as in the
            generator.
        OSError: If a file cannot be opened.

    Example:
        >>> generator = generator_from("g_02500000", "config.json")  # doctest: +SKIP
        >>> log_mel = LogMel(sample_rate=22050, hop_length=256, n_mels=80, maximum_hz=8000)(speech)  # doctest: +SKIP
        >>> sound = generator(log_mel.unsqueeze(0))  # doctest: +SKIP
    """
    n_mels, shape = read_shape(config)
    weights: dict[str, Tensor] = {}
    for key, value in plain_state_dict(read_published(source)).items():
        if (name := _renamed(key)) in weights:
            raise ValueError(f"{name} is there twice, under two names of BigVGAN's")
        if not value.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")
        weights[name] = value
    if shape.activation != "leaky_relu":
        filters = {key: weights.pop(key) for key in list(weights) if key.endswith(FILTERS)}
        shape = dataclasses.replace(shape, activation_taps=_taps(filters))
    with torch.device("meta"):  # shapes alone: sizes that do not fit may fill any memory
        faults = misfit(weights, _plain_generator(n_mels, shape))
    if faults:
        raise ValueError(f"weights do not fit the configuration: {faults}")
    generator = _plain_generator(n_mels, shape)
    generator.load_state_dict(weights)
    return generator.eval()


def read_published(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """Read the state dict of a published generator as it is, weight norm and all.

    Args:
        source: A file of torch's (``g_02500000``, ``bigvgan_generator.pt``; read without running code) or a
            ``.safetensors`` file, or what such a file holds: the state dict, or ``{"generator": state dict}``.

    Raises:
        TypeError: If this is neither a path nor a mapping.
        ValueError: If the file is damaged or holds code, or this is no generator.
        OSError: If the file cannot be opened.
    """
    content = source if isinstance(source, Mapping) else _load(_path("source", source))
    name = "the checkpoint" if isinstance(source, Mapping) else str(source)
    if isinstance(content, Mapping) and isinstance(content.get("generator"), Mapping):
        content = content["generator"]
    if not isinstance(content, Mapping) or not any(str(key).startswith("conv_pre.") for key in content):
        found = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{name} holds no HiFi-GAN or BigVGAN generator (no conv_pre), but {found or 'nothing'}")
    for key, value in content.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise ValueError(f"{name} must hold weights only, got {key} of type {getattr(value, 'dtype', type(value))}")
        if value.is_meta or value.layout != torch.strided:
            kind = "without values (meta)" if value.is_meta else f"of layout {value.layout}"
            raise ValueError(f"{name} must hold dense weights, got {key} {kind}")
    return {str(key): value for key, value in content.items()}


def read_shape(config: str | Path | Mapping[str, Any]) -> tuple[int, GeneratorShape]:
    """Read mel bands and sizes from a published configuration.

    Args:
        config: A JSON file or what is in it. Read are ``num_mels``, ``upsample_initial_channel``, ``upsample_rates``,
            ``upsample_kernel_sizes``, ``resblock``, ``resblock_kernel_sizes``, ``resblock_dilation_sizes`` and, of
            BigVGAN, ``activation``, ``snake_logscale``, ``use_tanh_at_final`` and ``use_bias_at_final`` (both true
            unless given).

    Returns:
        ``(n_mels, shape)``.

    Raises:
        TypeError: If this is neither a path nor a mapping.
        ValueError: If the file is no JSON object, an entry is missing or of the wrong kind, or an upsampler would not
            make ``stride`` samples of every frame.
        OSError: If the file cannot be opened.
    """
    entries = config if isinstance(config, Mapping) else _parse(_path("config", config))
    activation = entries.get("activation") or "leaky_relu"
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    required = REQUIRED if activation == "leaky_relu" else (*REQUIRED, "snake_logscale")
    if missing := [key for key in required if key not in entries]:
        raise ValueError(f"config lacks {', '.join(missing)}")
    strides, kernels, blocks = (
        _integers(key, entries[key]) for key in ("upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes")
    )
    dilations = entries["resblock_dilation_sizes"]
    if str(entries["resblock"]) not in ("1", "2"):
        raise ValueError(f'resblock must be "1" or "2", got {entries["resblock"]!r}')
    if len(strides) != len(kernels):
        raise ValueError(f"upsample_kernel_sizes must be one for each of upsample_rates {strides}, got {kernels}")
    for stage, (stride, kernel) in enumerate(zip(strides, kernels, strict=True)):
        # torch's padding of (k - s) // 2 at either end leaves s T samples only then.
        if kernel < stride or (kernel - stride) % 2:
            raise ValueError(
                f"upsample_kernel_sizes of stage {stage} must exceed its rate {stride} by an even number for "
                f"{stride} samples a frame, got {kernel}"
            )
    if not all(size % 2 for size in blocks):
        raise ValueError(f"resblock_kernel_sizes must be odd, got {blocks}")
    if not isinstance(dilations, (list, tuple)) or len(dilations) != len(blocks):
        raise ValueError(f"resblock_dilation_sizes must be one list for each of {blocks}, got {dilations!r}")
    shape = GeneratorShape(
        strides,
        _integers("upsample_initial_channel", [entries["upsample_initial_channel"]])[0],
        blocks,
        tuple(_integers("resblock_dilation_sizes", each) for each in dilations),
        2 if str(entries["resblock"]) == "1" else 1,
        upsampling_kernels=kernels,
        activation=activation,
        log_scale=_truth(entries, "snake_logscale"),
        final_tanh=_truth(entries, "use_tanh_at_final"),
        final_bias=_truth(entries, "use_bias_at_final"),
    )
    return _integers("num_mels", [entries["num_mels"]])[0], shape


def _plain_generator(n_mels: int, shape: GeneratorShape) -> Generator:
    generator = Generator(n_mels, shape, "transposed")
    for module in generator.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return generator


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path or a mapping, got {type(value).__name__}")
    return Path(value)


def _load(path: Path) -> Any:
    with path.open("rb"):  # fails as the system says; after that, torch's errors of the system mean a damaged file
        pass
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return load_torch(path)
    except Refused as error:
        what = f"more than tensors ({error.name}); code in a file is not run" if error.name else f"no weights: {error}"
        raise ValueError(f"{path} holds {what}") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    except Exception as error:  # torch raises whatever its parts do
        # Not torch's own words, which advise to run what is in the file.
        if isinstance(error, pickle.UnpicklingError) and (named := re.search(r"GLOBAL (\S+)", str(error))):
            raise ValueError(f"{path} holds more than tensors ({named[1]}); code in a file is not run") from error
        raise ValueError(f"{path} is damaged or no file of torch's ({type(error).__name__})") from error


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(entries).__name__}")
    return entries


def _integers(key: str, values: Any) -> tuple[int, ...]:
    whole = isinstance(values, (list, tuple)) and all(type(value) is int and 0 < value < BOUND for value in values)
    if not whole or not values:
        raise ValueError(f"{key} must be positive integers below {BOUND}, got {values!r}")
    return tuple(values)


def _truth(entries: Mapping[str, Any], key: str) -> bool:
    value = entries.get(key, True)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, got {value!r}")
    return value


def _renamed(key: str) -> str:
    for pattern, replacement in RENAMED:
        key = pattern.sub(replacement, key)
    return key


def _taps(filters: Mapping[str, Tensor]) -> tuple[float, ...]:
    if not filters:
        raise ValueError(f"weights must hold the filters of the activations (...{FILTERS[0]}), got none")
    first, *_ = filters.values()
    for key, value in filters.items():
        if not torch.equal(value, first):
            raise ValueError(f"{key} differs from {next(iter(filters))}: all activations must have one filter")
    # Published filters have unit sum, and what goes up is multiplied by the factor.
    return tuple((2 * first.flatten().double()).tolist())
