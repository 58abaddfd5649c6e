"""Swap the upsampling layers of a model that is there already, trained or not."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audioup import init
from audioup.conversion import LEAST_DB, Conversion, Converted, Skipped
from audioup.fold import replace
from audioup.interpolation import interpolation_filter
from audioup.layer import UpsamplingLayer, set_weight_
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
UPSAMPLING = (UpsamplingLayer, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Upsample, nn.PixelShuffle)


def convert(
    model: nn.Module,
    to: str | Callable[[int, int, int], UpsamplingLayer],
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
    (Where a smooth interpolation cannot, the directions that it hardly passes are left out of the fit.) Lengths and
    alignment stay as they were; a causal layer becomes a causal one. Type, device, mode and ``requires_grad`` are the
    old layer's.

    What does not have ``stride * T`` output samples, is dilated, has hooks or a ``forward`` of its own, shares its
    parameters, or is parametrised by anything but weight norm is left as it is and named, as is an ``Upsample`` that no
    convolution alone follows. Calls of ``torch.nn.functional`` are not seen. What follows what is read from the module
    in which it stands (by `torch.fx`, on a copy): a model that calls parts of a ``Sequential`` one by one, or asks its
    layers for more than their output (``weight``, ``output_size``, ``kernel_size[0]``, ``remove_weight_norm``), has to
    be told. Convert before an optimizer or ``DistributedDataParallel`` takes the parameters, and compare outputs on an
    input of yours where "exact" matters.

    Args:
        model: Changed in place, where something was found.
        to: ``"transposed"``, ``"subpixel"``, ``"resize-MODE"`` with a mode of `audioup.ResizeConv1d`, or
            ``"regular-P"``, ``P`` up to 9: a transposed convolution held at regularity order ``P`` (`audioup.regular`).
            Or a function of ``in_channels``, ``out_channels`` and ``stride`` (a pair for images) that builds a layer of
            this library; taps for which its kernel has no room are lost, and counted in the residual.
        where: Says by the dotted path of what upsamples (for pairs, of the ``Upsample`` or the ``PixelShuffle``)
            whether to convert it; by default all.
        longer: Strides by which a weight may grow beyond what covers the old kernel, for a nearer fit. By default ``P``
            for ``"regular-P"``, which leaves it as many free taps as before, and 0 for others.
        weight_norm: Whether the new layers learn under `audioup.init.weight_norm`; by default where the old ones
            had weight norm. Not for a ``to`` that builds layers.

    Returns:
        The model and, for every layer, what was done: how far the kernel moved, and how much of it is tone.

    Raises:
        TypeError: If the model is no module.
        ValueError: If ``to`` or ``longer`` is out of range.

    Example:
        >>> _ = torch.manual_seed(3)
        >>> model = nn.Sequential(nn.ConvTranspose1d(8, 4, 16, 8, padding=4), nn.LeakyReLU(0.1))
        >>> print(convert(model, to="subpixel"))
        layer  was              is              taps      residual  tone
        0      ConvTranspose1d  SubPixelConv1d  16 -> 16  exact     -1 -> -1 dB
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if longer is not None and (isinstance(longer, bool) or not isinstance(longer, int) or longer < 0):
        raise ValueError(f"longer must be an integer >= 0, got {longer!r}")
    build = to if callable(to) else _family(to, longer, weight_norm)
    rows: list[Converted] = []
    replacements: dict[nn.Module, nn.Module] = {}
    with torch.inference_mode(False), torch.no_grad():
        sources, skipped = find(model, where)
        for source in sources:
            try:
                if source.word == to and isinstance(source.module, UpsamplingLayer):
                    raise Unsuitable(f"it is {to} already")
                layer = build(source) if isinstance(build, _Family) else _built(build, source)
            except ValueError as error:  # a kernel too short for its order, say
                skipped.append(Skipped(source.name, source.kind, str(error)))
                continue
            rows.append(_take_over(layer, source))
            replacements[source.module] = layer
            replacements.update({module: nn.Identity() for module in source.dropped})
    return Conversion(replace(model, replacements), tuple(rows), tuple(skipped))


def find(model: nn.Module, where: Callable[[str], bool] | None = None) -> tuple[list[Source], list[Skipped]]:
    """Find what upsamples in a model; see `convert` for what is looked for.

    Args:
        model: Any module; not changed.
        where: Says by path what to look at; by default everything.

    Returns:
        Its operators, and what upsamples but is none that a layer of this library could be.
    """
    modules = dict(model.named_modules())
    places = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    owners = Counter(value for module in modules.values() for value in module._parameters.values() if value is not None)
    sources: list[Source] = []
    skipped: list[Skipped] = []
    for name, module in modules.items():
        if not isinstance(module, UPSAMPLING) or (where is not None and not where(name)):
            continue
        try:
            if isinstance(module, UpsamplingLayer):
                source = of_layer(module, name)
            elif isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
                source = of_transposed(module, name, modules, places)
            else:
                source = of_pair(module, name, modules, places)
            if any(owners[value] > 1 for value in source.learned.parameters()):
                raise Unsuitable("a parameter of it is used elsewhere too")
            if any(source.module is other.module for other in sources):
                raise Unsuitable("its convolution belongs to another upsampling already")
            sources.append(source)
        except Unsuitable as error:
            skipped.append(Skipped(name, kind(module), str(error)))
    return sources, skipped


@dataclass(frozen=True)
class _Family:
    """Builds the layer of a family that covers a kernel."""

    name: str
    option: str
    longer: int
    weight_norm: bool | None

    def __call__(self, source: Source) -> UpsamplingLayer:
        geometry, weight = source.geometry, source.kernel
        causal = source.causal or (
            not any(geometry.origin) and any(n > s for n, s in zip(geometry.lengths, geometry.stride, strict=True))
        )
        sizes = tuple(self._size(source, axis, causal) for axis in range(len(geometry.stride)))
        axes = len(sizes)
        options: dict[str, Any] = {"mode": self.option} if self.name == "resize" else {}
        layer = FAMILIES[self.name][axes - 1](
            weight.shape[0],
            weight.shape[1] * geometry.groups,
            sizes[0] if axes == 1 else sizes,  # type: ignore[arg-type]
            geometry.stride[0] if axes == 1 else geometry.stride,  # type: ignore[arg-type]
            groups=geometry.groups,
            bias=source.bias is not None,
            padding_mode=source.padding_mode,
            causal=causal,
            engine=source.engine,
            device="meta",
            dtype=weight.dtype,
            **options,
        ).to_empty(device=weight.device)
        layer.weight.zero_()
        if source.normed if self.weight_norm is None else self.weight_norm:
            init.weight_norm(layer)
        if self.name == "regular":
            regular(layer, int(self.option), init="project")
        return layer

    def _size(self, source: Source, axis: int, causal: bool) -> int:
        # Of the weight along an axis: the least that covers the old kernel, and what it may be longer.
        length, stride = source.geometry.lengths[axis], source.geometry.stride[axis]
        origin = source.geometry.origin[axis]
        # A weight of `size` taps makes a kernel of unit * size + reach.
        unit, reach, size = 1, 0, length + self.longer * stride
        if self.name == "subpixel":
            unit, size = stride, -(-length // stride) + self.longer
        elif self.name == "resize":
            reach = len(interpolation_filter(self.option, stride)) - 1
            # As many as were there, or as the narrowest filter, nearest, needs to cover the old kernel.
            size = max(1, size - (reach if source.word == f"resize-{self.option}" else stride - 1))
        while True:
            taps = unit * size + reach
            before = (0 if causal else (taps - stride + 1) // 2) - origin
            if before >= 0 and taps - length - before >= 0:
                return size
            size += 1


def _family(to: str, longer: int | None, weight_norm: bool | None) -> _Family:
    family, _, option = to.partition("-") if isinstance(to, str) else ("", "", "")
    if family == "resize":
        try:
            interpolation_filter(option, 2)
        except ValueError as error:
            raise ValueError(f"to must be resize-MODE, got {to!r}: {error}") from None
    elif to not in ("transposed", "subpixel") and not re.fullmatch("regular-[1-9]", f"{family}-{option}"):
        raise ValueError(f"to must be 'transposed', 'subpixel', 'resize-MODE' or 'regular-ORDER', got {to!r}")
    more = int(option) if family == "regular" and longer is None else longer or 0
    return _Family(family, option, more, weight_norm)


def _built(build: Callable[[int, int, int], UpsamplingLayer], source: Source) -> UpsamplingLayer:
    geometry, weight = source.geometry, source.kernel
    inputs, outputs = weight.shape[0], weight.shape[1] * geometry.groups
    stride = geometry.stride if len(geometry.stride) > 1 else geometry.stride[0]
    layer = build(inputs, outputs, stride)  # type: ignore[arg-type]
    if not isinstance(layer, UpsamplingLayer):
        raise TypeError(f"to must build a layer of this library, got {type(layer).__name__}")
    sizes = layer.in_channels, layer.out_channels, layer.strides, layer.groups
    if sizes != (inputs, outputs, geometry.stride, geometry.groups):
        raise Unsuitable(f"to built {kind(layer)}({layer.extra_repr()}), which has other channels, stride or groups")
    if layer.bias is None and source.bias is not None:
        raise Unsuitable(f"to built {kind(layer)}({layer.extra_repr()}), which has no bias")
    return layer.to(weight)


def _take_over(layer: UpsamplingLayer, source: Source) -> Converted:
    # Give the layer the old kernel, between taps of zero where it has more room, and what else was the old layer's.
    margins = [
        (new - old, taps - length - (new - old))
        for taps, new, length, old in zip(
            layer.kernel_lengths, layer.origins, source.geometry.lengths, source.geometry.origin, strict=True
        )
    ]
    old = source.kernel.double()
    wanted = F.pad(old, [n for margin in reversed(margins) for n in margin])
    set_weight_(layer, layer.weight_for(wanted).to(source.kernel.dtype))
    if layer.bias is not None:
        layer.bias.copy_(torch.zeros_like(layer.bias) if source.bias is None else source.bias)
    layer.train(source.learned.training)
    bias = source.learned.bias
    learns = [value.requires_grad for value in source.learned.parameters() if value is not bias]
    layer.requires_grad_(any(learns))
    if layer.bias is not None and isinstance(bias, Tensor):
        layer.bias.requires_grad_(bias.requires_grad)
    kernel = layer.kernel().double()
    whole = float(old.square().sum())
    lost = whole - float(wanted.square().sum()) if any(n < 0 for margin in margins for n in margin) else 0.0
    error = float((kernel - wanted).square().sum()) + lost
    sound = layer.axes == 1
    notes = [source.note] if source.note else []
    ahead = max(after for _, after in layer._geometry.context())
    if ahead and not any(after for _, after in source.geometry.context()):
        notes.append(f"it looks {ahead} frames ahead now, and did not before")
    return Converted(
        source.name,
        source.kind,
        f"{kind(layer)}({layer.extra_repr()})",
        layer.strides,
        layer.kernel_lengths,
        source.geometry.lengths,
        max(LEAST_DB, 10 * math.log10(error / whole)) if error > 0 and whole > 0 else LEAST_DB,
        max(LEAST_DB, float(tonal_fraction(kernel, layer.strides[0]))) if sound else None,
        max(LEAST_DB, float(tonal_fraction(old, layer.strides[0]))) if sound else None,
        source.bias_lost_db,
        "; ".join(notes),
    )
