"""What upsamples in a state dict: weights by name, without the model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from audioup.effort import Effort, of_projections
from audioup.layer import UpsamplingLayer
from audioup.regularity import RegularWeight, project
from audioup.resize import ResizeConv
from audioup.source import Unsuitable
from audioup.subpixel import SubPixelConv
from audioup.upsampler import LARGEST_KERNEL, Upsampler, in_a_row, resized, subpixel, transposed
from audioup.weights import NORMED as NORMED_KEY
from audioup.weights import plain_state_dict

METADATA = "audioup"  # key in the metadata of a safetensors file
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LARGEST, MOST_ZEROS = 1024, 64  # of strides, groups and orders; of a sinc
MOST_LAYERS = 2000  # published models have up to 200
MODE = re.compile("nearest|linear|cubic|sinc|bspline-[1-9]")
# Of layers that only their name tells from a convolution: as many channels out as in, or no bias.
NAMED = re.compile(r"(^|[._])(ups|deconv\d*|conv_?tr(ans\w*)?|conv_?t|transposed?_?(conv\w*)?)([._]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Known:
    """What is known of the layers of a state dict beside their weights.

    Attributes:
        layers: Of `layer_metadata`, by name.
        strides: Given by the user.
        listed: By a configuration, which may mean other layers.
    """

    layers: Mapping[str, Any]
    strides: Sequence[int] | None = None
    listed: Sequence[int] | None = None


def layer_metadata(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return what a state dict does not tell of this library's layers, for the metadata of a file.

    ``safetensors.torch.save_file(model.state_dict(), path, {"audioup": json.dumps(layer_metadata(model))})`` makes a
    file that `audioup.inspect_model` can read.

    Returns:
        By name of the layer: its ``family``, ``stride`` (one for each axis), ``groups`` and the ``order`` that its
        weight is held at, 0 for none; of a resize also ``mode``, ``zeros`` and ``rolloff``.

    Example:
        >>> from audioup import ResizeConv1d
        >>> layer_metadata(nn.Sequential(ResizeConv1d(2, 2, 5, 4, mode="linear")))  # doctest: +ELLIPSIS
        {'0': {'family': 'resize', 'stride': [4], 'groups': 1, 'order': 0, 'mode': 'linear', 'zeros': 6, ...}}
    """
    found: dict[str, dict[str, Any]] = {}
    for name, module in model.named_modules():
        if isinstance(module, UpsamplingLayer):
            resize = isinstance(module, ResizeConv)
            found[name] = {
                "family": "resize" if resize else "subpixel" if isinstance(module, SubPixelConv) else "transposed",
                "stride": list(module.strides),
                "groups": module.groups,
                "order": next((m.order for m in module.modules() if isinstance(m, RegularWeight)), 0),
            }
            if isinstance(module, ResizeConv):
                found[name] |= {"mode": module.mode, "zeros": module.zeros, "rolloff": module.rolloff}
    return found


def read_state_dict(weights: Mapping[str, Tensor], known: Known) -> tuple[list[Upsampler], list[str]]:
    """Find what upsamples in a state dict.

    What `layer_metadata` says is taken as it is. Else the shapes tell a transposed convolution: its bias has the length
    of axis 1 of the weight, and not that of axis 0, as any convolution's. Where both are equal, or there is no bias, it
    takes a name such as ``ups.0``, ``deconv`` or ``conv_transpose``. Sub-pixel and resize-convolutions do not differ
    from others.

    Returns:
        The layers in the order of the state dict, and notes.

    Raises:
        ValueError: If nothing is found, the strides given are not one for each, or what the metadata says cannot be.
    """
    tensors, notes = _plain({key: value for key, value in weights.items() if _is_dense(value)}, known.layers)
    effort = Effort()
    layers: list[Upsampler] = []
    guessed: list[tuple[int, Upsampler]] = []
    for key, weight in tensors.items():
        name, _, last = key.rpartition(".")
        if last != "weight" or weight.dim() not in (3, 4) or weight.is_meta:
            continue
        if name in known.layers:
            layers.append(_stated(name, weight, known.layers[name], effort))
        elif _is_transposed(name, weight, tensors.get(f"{name}.bias")):
            layer = _guessed(name, weight, tensors.get(f"{name}.bias"))
            if layer is not None:
                guessed.append((len(layers), layer))
                layers.append(layer)
        if len(layers) > MOST_LAYERS:
            raise ValueError(f"more than {MOST_LAYERS} layers in it look as if they upsampled")
    if not layers:
        raise ValueError(
            "no layer that upsamples was found; a state dict does not tell sub-pixel and resize-convolutions from "
            "others: export the model to ONNX, or use audioup.inspect_model(model) in Python"
            + "".join(f"; {note}" for note in notes[:1])
        )
    if known.strides is not None and len(known.strides) != len(guessed):
        names = ", ".join(layer.name for _, layer in guessed) or "none"
        raise ValueError(f"{len(known.strides)} strides were given for {len(guessed)} layers without: {names}")
    strides = known.strides
    if strides is None and known.listed is not None:
        strides = known.listed if len(known.listed) == len(guessed) else None
        if strides is None and guessed:
            notes.append(f"config.json has {len(known.listed)} strides for {len(guessed)} layers: not used")
    for n, (place, layer) in enumerate(guessed):
        if strides is not None:
            steps = (strides[n],) * len(layer.strides)
            layers[place] = transposed(layer.name, layer.kind, layer.kernel, steps, layer.groups)
    return in_a_row([layer for layer in layers if max(layer.strides) > 1]), notes


def _plain(weights: Mapping[str, Tensor], known: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Multiply weight norm out, layer by layer, and note those of which only the model knows the weight."""
    layers: dict[str, dict[str, Tensor]] = {}
    for key, value in weights.items():
        match = NORMED_KEY.fullmatch(key)
        name = match["layer"].removesuffix(".") if match else key.rpartition(".")[0]
        held = isinstance(known.get(name), Mapping) and known[name].get("order")
        # Without weight norm the weight that is projected stands alone.
        if held and key.endswith("parametrizations.weight.original"):
            key = f"{name}.weight"
        layers.setdefault(name, {})[key] = value
    tensors: dict[str, Tensor] = {}
    notes = []
    for name, parts in layers.items():
        try:
            tensors |= plain_state_dict(parts)
        except (TypeError, ValueError, RuntimeError) as error:
            notes.append(f"{name} was left out: {error}")
    return tensors, notes


def _is_dense(value: Tensor) -> bool:
    # A tensor may claim far more values than its file holds: it repeats them.
    if (
        value.is_nested
        or value.layout != torch.strided
        or value.is_quantized
        or value.is_meta
        or value.numel() > LARGEST_KERNEL
    ):
        return False
    return value.dtype in TYPES and value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def _is_transposed(name: str, weight: Tensor, bias: Tensor | None) -> bool:
    if min(weight.shape) < 1 or max(weight.shape[2:]) == 1 or not weight.is_floating_point():
        return False
    if bias is not None and bias.dim() == 1 and len(bias) != weight.shape[0]:
        return len(bias) == weight.shape[1] or (NAMED.search(name) is not None and not len(bias) % weight.shape[1])
    return (bias is None or weight.shape[0] == weight.shape[1]) and NAMED.search(name) is not None


def _guessed(name: str, weight: Tensor, bias: Tensor | None) -> Upsampler | None:
    groups = 1 if bias is None else max(1, len(bias) // weight.shape[1])
    steps = tuple(max(1, k // 2) for k in weight.shape[2:])
    try:
        layer = transposed(name, f"ConvTranspose{weight.dim() - 2}d", weight, steps, groups)
    except Unsuitable as error:
        raise ValueError(f"{name}: {error}") from None
    return replace(layer, assumed=True, overlap="unknown")


def _stated(name: str, weight: Tensor, said: Any, effort: Effort) -> Upsampler:
    """Read a layer of this library from its weight and what the metadata says of it."""
    try:
        axes = weight.dim() - 2
        steps, groups, order = tuple(said["stride"]), said["groups"], said["order"]
        whole = [*steps, groups, order + 1]
        if len(steps) != axes or any(type(n) is not int or not 0 < n <= LARGEST for n in whole):
            raise ValueError(f"stride, groups or order are none of a weight of shape {tuple(weight.shape)}")
        family, suffix = said["family"], f"{axes}d"
        if family == "resize":
            mode, zeros, rolloff = said["mode"], said["zeros"], said["rolloff"]
            if MODE.fullmatch(mode) is None or type(zeros) is not int or not 0 < zeros <= MOST_ZEROS:
                raise ValueError(f"mode {mode!r} with zeros={zeros!r} is none of a resize")
            return resized(name, f"ResizeConv{suffix}", weight, steps, mode, groups, zeros, rolloff)
        if family == "subpixel":
            layer = subpixel(name, f"SubPixelConv{suffix}", weight, steps, groups)
        elif family == "transposed":
            layer = transposed(name, f"TransposedConv{suffix}", weight, steps, groups)
        else:
            raise ValueError(f"family {family!r} is not known")
        if order and not effort.spent(of_projections(layer.kernel.shape[2:])):
            raise ValueError("kernels so long, or so many, are not held at an order")
        return replace(layer, kernel=project(layer.kernel, steps, order)) if order else layer
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the metadata {METADATA!r} does not fit {name}: {error}") from None
