"""Swap the upsampling layers of a model that is there already, trained or not."""

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audioup import init
from audioup.conversion import LEAST_DB, Conversion, Converted, Skipped
from audioup.fold import replace
from audioup.interpolation import interpolation_filter
from audioup.layer import UpsamplingLayer
from audioup.pairs import of_pair
from audioup.regularity import regular
from audioup.resize import ResizeConv1d, ResizeConv2d
from audioup.source import Source, Unsuitable, kind, of_layer, of_transposed
from audioup.subpixel import SubPixelConv1d, SubPixelConv2d
from audioup.tones import tonal_fraction
from audioup.transposed import TransposedConv1d, TransposedConv2d

FAMILIES: dict[str, tuple[type[UpsamplingLayer], type[UpsamplingLayer]]] = {
    "transposed": (TransposedConv1d, TransposedConv2d),
    "subpixel": (SubPixelConv1d, SubPixelConv2d),
    "resize": (ResizeConv1d, ResizeConv2d),
    "regular": (TransposedConv1d, TransposedConv2d),
}


def convert(
    model: nn.Module,
    to: str,
    *,
    where: Callable[[str], bool] | None = None,
    longer: int | None = None,
    weight_norm: bool | None = None,
) -> Conversion:
    """Swap the upsampling layers of any model for those of one family, as near to the old ones as can be.

    Converts ``torch.nn.ConvTranspose1d`` and ``ConvTranspose2d``, also inside a module that does nothing but crop their
    output (EnCodec's, say), an ``Upsample`` and the convolution after it, a convolution and the ``PixelShuffle`` after
    it, and the layers of this library. The new layer has the kernel nearest to the old one, by the sum of squared
    differences: the very kernel where the family can represent it, as transposed and sub-pixel ones can represent any.
    Lengths and delay stay as they were; a causal layer becomes a causal one. Type, device, mode and ``requires_grad``
    are the old layer's.

    What does not have ``stride * T`` output samples, is dilated, has hooks, shares its parameters, or is parametrised
    by anything but weight norm is left as it is and named, as is an ``Upsample`` that no convolution alone follows.
    Calls of ``torch.nn.functional`` are not seen. A model that asks its layers for more than their output
    (``output_size``, ``kernel_size[0]``, ``remove_weight_norm``) has to be told.

    Args:
        model: Changed in place, where something was found.
        to: ``"transposed"``, ``"subpixel"``, ``"resize-MODE"`` with a mode of `audioup.ResizeConv1d`, or
            ``"regular-P"``: a transposed convolution held at regularity order ``P`` (`audioup.regular`).
        where: Says by a layer's dotted path whether to convert it; by default all.
        longer: Strides by which a kernel may grow beyond what covers the old one, for a nearer fit. By default ``P``
            for ``"regular-P"``, which leaves it as many free taps as before, and 0 for others. 0 keeps the cost.
        weight_norm: Whether the new layers learn under `audioup.init.weight_norm`; by default where the old ones
            had weight norm.

    Returns:
        The model and, for every layer, what was done: how far the kernel moved, and how much of it is tone.

    Raises:
        ValueError: If ``to`` or ``longer`` is out of range.

    Example:
        >>> model = nn.Sequential(nn.ConvTranspose1d(8, 4, 16, 8, padding=4), nn.LeakyReLU(0.1))
        >>> print(convert(model, to="subpixel"))
        layer  was              is              taps      residual  tone
        0      ConvTranspose1d  SubPixelConv1d  16 -> 16  exact     -1 -> -1 dB
    """
    family, option = _parse(to)
    if longer is not None and (isinstance(longer, bool) or not isinstance(longer, int) or longer < 0):
        raise ValueError(f"longer must be an integer >= 0, got {longer!r}")
    more = longer if longer is not None else int(option) if family == "regular" else 0
    sources, skipped = find(model)
    if where is not None:
        sources = [source for source in sources if where(source.name)]
        skipped = [row for row in skipped if where(row.name)]
    rows: list[Converted] = []
    replacements: dict[nn.Module, nn.Module] = {}
    with torch.no_grad():
        for source in sources:
            try:
                if source.word == to and isinstance(source.module, UpsamplingLayer):
                    raise Unsuitable(f"it is {to} already")
                layer, wanted = _fit(source, family, option, more, weight_norm)
            except ValueError as error:
                skipped.append(Skipped(source.name, source.kind, str(error)))
                continue
            replacements[source.module] = layer
            replacements.update({module: nn.Identity() for module in source.dropped})
            rows.append(_row(source, layer, wanted))
    return Conversion(replace(model, replacements), tuple(rows), tuple(skipped))


def find(model: nn.Module) -> tuple[list[Source], list[Skipped]]:
    """Find what upsamples in a model; see `convert` for what is looked for.

    Args:
        model: Any module; not changed.

    Returns:
        Its operators, and what upsamples but is none that a layer of this library could be.
    """
    modules = dict(model.named_modules())
    places = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    owners = Counter(value for module in modules.values() for value in module._parameters.values() if value is not None)
    sources: list[Source] = []
    skipped: list[Skipped] = []
    for name, module in modules.items():
        try:
            if isinstance(module, UpsamplingLayer):
                source = of_layer(module, name)
            elif isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
                source = of_transposed(module, name, modules)
            elif isinstance(module, nn.Upsample | nn.PixelShuffle):
                source = of_pair(module, name, modules, places)
            else:
                continue
            if any(owners[value] > 1 for value in source.learned.parameters()):
                raise Unsuitable("a parameter of it is used elsewhere too")
            if any(source.module is other.module for other in sources):
                raise Unsuitable("its convolution belongs to another upsampling already")
            sources.append(source)
        except Unsuitable as error:
            skipped.append(Skipped(name, kind(module), str(error)))
    return sources, skipped


def _parse(to: str) -> tuple[str, str]:
    family, _, option = to.partition("-") if isinstance(to, str) else ("", "", "")
    if family == "resize":
        try:
            interpolation_filter(option, 2)
            return family, option
        except ValueError as error:
            raise ValueError(f"to must be resize-MODE, got {to!r}: {error}") from None
    if to in ("transposed", "subpixel") or re.fullmatch("regular-[1-9][0-9]?", to if isinstance(to, str) else ""):
        return family, option
    raise ValueError(f"to must be 'transposed', 'subpixel', 'resize-MODE' or 'regular-ORDER', got {to!r}")


def _fit(
    source: Source, family: str, option: str, longer: int, weight_norm: bool | None
) -> tuple[UpsamplingLayer, Tensor]:
    # A layer of the family, and the old kernel between the taps of zero that the new one has room for.
    geometry, weight = source.geometry, source.kernel
    centred = tuple((n - s + 1) // 2 for n, s in zip(geometry.lengths, geometry.stride, strict=True))
    causal = geometry.origin != centred and not any(geometry.origin)
    sizes, margins = [], []
    for length, stride, origin in zip(geometry.lengths, geometry.stride, geometry.origin, strict=True):
        # A weight of `size` taps makes a kernel of unit * size + reach.
        unit, reach, size = 1, 0, length + longer * stride
        if family == "subpixel":
            unit, size = stride, -(-length // stride) + longer
        elif family == "resize":
            reach = len(interpolation_filter(option, stride)) - 1
            # As many as were there, or as the narrowest filter, nearest, needs to cover the old kernel.
            size = max(1, size - (reach if source.word == f"resize-{option}" else stride - 1))
        while True:
            taps = unit * size + reach
            before = (0 if causal else (taps - stride + 1) // 2) - origin
            if before >= 0 and taps - length - before >= 0:
                break
            size += 1
        sizes.append(size)
        margins.append((before, taps - length - before))
    axes = len(sizes)
    options: dict[str, Any] = {"mode": option} if family == "resize" else {}
    layer = FAMILIES[family][axes - 1](
        weight.shape[0],
        weight.shape[1] * geometry.groups,
        sizes[0] if axes == 1 else tuple(sizes),  # type: ignore[arg-type]
        geometry.stride[0] if axes == 1 else geometry.stride,  # type: ignore[arg-type]
        groups=geometry.groups,
        bias=source.bias is not None,
        padding_mode=source.padding_mode,
        causal=causal,
        device="meta",
        dtype=weight.dtype,
        **options,
    ).to_empty(device=weight.device)
    wanted = F.pad(weight.double(), [n for margin in reversed(margins) for n in margin])
    layer.weight.copy_(layer.weight_for(wanted))
    if layer.bias is not None and source.bias is not None:
        layer.bias.copy_(source.bias)
    if source.normed if weight_norm is None else weight_norm:
        init.weight_norm(layer)
    if family == "regular":
        regular(layer, int(option), init="project")
    layer.train(source.learned.training)
    layer.requires_grad_(any(value.requires_grad for value in source.learned.parameters()))
    return layer, wanted


def _row(source: Source, layer: UpsamplingLayer, wanted: Tensor) -> Converted:
    kernel = layer.kernel().double()
    error, norm = float((kernel - wanted).norm()), float(wanted.norm())
    sound = layer.axes == 1
    return Converted(
        source.name,
        source.kind,
        f"{kind(layer)}({layer.extra_repr()})",
        layer.strides,
        layer.kernel_lengths,
        source.geometry.lengths,
        max(LEAST_DB, 20 * math.log10(error / norm)) if error > 0 and norm > 0 else LEAST_DB,
        max(LEAST_DB, float(tonal_fraction(kernel, layer.strides[0]))) if sound else None,
        max(LEAST_DB, float(tonal_fraction(wanted, layer.strides[0]))) if sound else None,
        source.bias_lost_db,
        source.note,
    )
