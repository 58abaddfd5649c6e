"""An upsampling layer wherever it was found, in a module, a graph or a state dict: its kernel, and what that tells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from audioup.conversion import LEAST_DB, Skipped
from audioup.convert import find
from audioup.costs import overlap
from audioup.layer import UpsamplingLayer, swap_channels
from audioup.resize import folded
from audioup.source import Unsuitable, kind, visible_weight
from audioup.subpixel import interleave

LARGEST_KERNEL = 2**25  # values; those of published vocoders have up to 1.2 * 2**24
LARGEST_FOLD = 2**24  # values of the kernel of a resize and its convolution: few may make many
DEEPEST_SCHEDULE = 2**31  # samples for one of the input
REACH = {"nearest": 1, "linear": 2, "cubic": 4}  # strides; of a B-spline its order, of a sinc twice its zeros
LARGEST_STRIDE, LONGEST_KERNEL = 1024, 4096  # along an axis, at the output rate
LONGEST_WORD = 40


@dataclass(frozen=True)
class Upsampler:
    """An upsampling layer.

    Attributes:
        name: Where it stands.
        kind: What it is made of, such as ``"ConvTranspose1d"`` or ``"Resize + Conv"``.
        kernel: At the output rate, shape ``(in_channels, out_channels / groups, *L)``.
        strides: One for every axis.
        kernel_sizes: Of its weight, as the layer counts them, one for every axis.
        groups: Groups of channels that do not see each other.
        overlap: ``"even"``, ``"uneven"`` where the stride does not divide the kernel of a transposed convolution,
            ``"gap"`` where that is shorter than the stride, or ``"unknown"`` where the stride is a guess.
        rate: Of its output, over that of the sound; None where it is not known.
        undone: Whether the rate falls again behind it on every way to the sound, as in an oversampled activation.
        assumed: Whether the stride is a guess.
        note: What else there is to say.
    """

    name: str
    kind: str
    kernel: Tensor
    strides: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    groups: int
    overlap: str
    rate: Fraction | None = None
    undone: bool = False
    assumed: bool = False
    note: str = ""


def transposed(name: str, kind: str, weight: Tensor, strides: Sequence[int], groups: int = 1) -> Upsampler:
    """Read a transposed convolution with ``weight`` of shape ``(in_channels, out_channels / groups, *k)``."""
    sizes, steps = tuple(weight.shape[2:]), tuple(strides)
    _check(weight, steps, sizes)
    return Upsampler(name, kind, weight.detach(), steps, sizes, groups, overlaps(sizes, steps))


def subpixel(
    name: str,
    kind: str,
    weight: Tensor,
    strides: Sequence[int],
    groups: int = 1,
    bias: Tensor | None = None,
) -> Upsampler:
    """Read a convolution whose channels ``o * S + r`` are the phases ``r`` of channel ``o``.

    Args:
        name: Where it stands.
        kind: What it is made of.
        weight: Shape ``(out_channels * S, in_channels / groups, *k)``.
        strides: Whose product is ``S``.
        groups: Of the convolution.
        bias: Shape ``(out_channels * S,)``, where every phase has its own.

    Raises:
        Unsuitable: If the groups divide the phases, or there are too many values.
    """
    _check(weight, strides, [k * s for k, s in zip(weight.shape[2:], strides, strict=True)])
    phases = math.prod(strides)
    if len(weight) % (phases * groups):
        raise Unsuitable("its channels are no whole number of phases in every group")
    kernel = swap_channels(interleave(weight.detach(), tuple(strides)), groups)
    note = ""
    if bias is not None and bias.shape == weight.shape[:1]:
        each = bias.detach().double().unflatten(0, (-1, phases))
        lost = (each - each.mean(1, keepdim=True)).square().sum() / each.square().sum()
        note = biased(10 * math.log10(lost) if lost > 0 else None)
    return Upsampler(name, kind, kernel, tuple(strides), tuple(weight.shape[2:]), groups, "even", note=note)


def resized(
    name: str,
    kind: str,
    weight: Tensor,
    strides: Sequence[int],
    mode: str,
    groups: int = 1,
    zeros: int = 6,
    rolloff: float = 1.0,
) -> Upsampler:
    """Read a resize by ``mode`` and the convolution after it, ``weight`` of ``(out_channels, in / groups, *k)``."""
    each = 2 * zeros if mode == "sinc" else REACH.get(mode) or int(mode.removeprefix("bspline-"))
    reach = [k + each * s for k, s in zip(weight.shape[2:], strides, strict=True)]
    _check(weight, strides, reach)
    if math.prod(weight.shape[:2]) * math.prod(reach) > LARGEST_FOLD:
        raise Unsuitable(f"the kernel of a resize by {tuple(strides)} and {tuple(weight.shape)} is too large to fold")
    # In float64: the network does not round what it never multiplies out.
    kernel = folded(weight.detach().double(), tuple(strides), mode, groups, zeros, rolloff)
    return Upsampler(name, kind, kernel, tuple(strides), tuple(weight.shape[2:]), groups, "even")


@torch.no_grad()
def of_model(model: nn.Module) -> tuple[list[Upsampler], list[Skipped]]:
    """Find what upsamples in a model, in the order of its modules.

    Returns:
        The layers, also those that `audioup.convert` would not touch since their output has not ``stride * T`` samples,
        and what upsamples but whose kernel could not be read.
    """
    sources, refused = find(model)
    found: dict[str, Upsampler] = {}
    reasons = {one.name: one for one in refused}
    for source in sources:
        if max(source.geometry.stride) == 1:
            continue
        lengths, strides = source.geometry.lengths, source.geometry.stride
        learned = source.learned
        sizes = learned.kernel_sizes if isinstance(learned, UpsamplingLayer) else learned.kernel_size
        even = source.word.startswith(("subpixel", "resize"))
        found[source.name] = Upsampler(
            source.name,
            source.kind,
            source.kernel.detach(),
            strides,
            tuple(sizes),  # type: ignore[arg-type]
            source.geometry.groups,
            "even" if even else overlaps(lengths, strides),
            note=biased(source.bias_lost_db),
        )
    for name, module in model.named_modules():
        if name not in reasons or not isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
            continue
        try:
            if max(module.dilation) == 1:
                found[name] = transposed(name, kind(module), visible_weight(module), module.stride, module.groups)
                del reasons[name]
        except Unsuitable as error:
            reasons[name] = Skipped(name, kind(module), str(error))
    order = [name for name, _ in model.named_modules()]
    layers = [layer for layer in found.values() if max(layer.strides) > 1]
    return in_a_row(sorted(layers, key=lambda layer: order.index(layer.name))), list(reasons.values())


def in_a_row(layers: Sequence[Upsampler]) -> list[Upsampler]:
    """Give layers for sound the rates that they have when each takes what the one before makes, the last the sound.

    None have more than 2**31 samples for one of the input; then these are no stages of one schedule.
    """
    reached = [1]
    for layer in layers:
        reached.append(reached[-1] * (layer.strides[0] if len(layer.strides) == 1 else 1))
        if reached[-1] > DEEPEST_SCHEDULE:
            return list(layers)
    return [replace(layer, rate=Fraction(rate, reached[-1])) for layer, rate in zip(layers, reached[1:], strict=True)]


def overlaps(sizes: Sequence[int], strides: Sequence[int]) -> str:
    """Say how the taps of neighbouring input samples cover the output: worst of all axes."""
    kinds = [overlap(size, step)[0] for size, step in zip(sizes, strides, strict=True)]
    return max(kinds, key=["even", "uneven", "gap"].index)


def biased(share_db: float | None) -> str:
    """Say what a bias for every phase does, of which so much differs from phase to phase."""
    if share_db is None or share_db <= LEAST_DB:
        return ""
    return f"a bias for every phase makes lines on silence: {share_db:.1f} dB of it differs from phase to phase"


def _check(weight: Tensor, strides: Sequence[int], taps: Sequence[int]) -> None:
    if not weight.is_floating_point():
        raise Unsuitable(f"its weight is of {weight.dtype}")
    if not 0 < weight.numel() <= LARGEST_KERNEL or max(taps) > LONGEST_KERNEL:
        raise Unsuitable(f"a weight of shape {tuple(weight.shape)} is none of an upsampling layer")
    if not all(0 < step <= LARGEST_STRIDE for step in strides):
        raise Unsuitable(
            f"strides must be from 1 to {LARGEST_STRIDE}, got {', '.join(map(str, strides))[:LONGEST_WORD]}"
        )
    if not torch.isfinite(weight).all():
        raise Unsuitable("its weight holds NaN or infinity")
