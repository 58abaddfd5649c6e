"""The two engines of the operator: one transposed convolution, or one convolution of all phases, then interleaved.

Both take one number per upsampled axis, so sound and images are the same code.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Engine = Literal["auto", "transposed", "polyphase"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

ENGINES = ("auto", "transposed", "polyphase")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
MANY_OUTPUTS = 3 * 2**18  # values from which the polyphase engine pays


class Geometry(NamedTuple):
    """All of a kernel but its values; one number per upsampled axis.

    Attributes:
        lengths: Taps at the output rate.
        stride: Output samples per input sample.
        origin: The tap on the first output sample of its own frame.
        groups: Groups of channels that do not see each other.
    """

    lengths: tuple[int, ...]
    stride: tuple[int, ...]
    origin: tuple[int, ...]
    groups: int

    # No property: torch 2.9 does not trace those of named tuples.
    def context(self) -> list[tuple[int, int]]:
        """Input frames before and after its own that one output frame depends on."""
        return [
            (max(0, (n - 1 - c) // s), max(0, (s - 1 + c) // s))
            for n, s, c in zip(self.lengths, self.stride, self.origin, strict=True)
        ]

    def surplus(self, reach: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Samples at either end that a transposed convolution makes too many (or too few, < 0) of.

        Args:
            reach: Frames at either end of its input that are context, for each axis.
        """
        # Of T + left + right frames it makes (T + left + right - 1) s + L samples; the wanted s T begin at c + s left.
        return [
            (c + s * left, n - s * (1 - right) - c)
            for n, s, c, (left, right) in zip(self.lengths, self.stride, self.origin, reach, strict=True)
        ]


def extend(x: Tensor, reach: Sequence[tuple[int, int]], padding_mode: str) -> Tensor:
    """Go on beyond the edges of a signal or an image.

    Args:
        x: Tensor of shape ``(batch, channels, T)`` or ``(batch, channels, H, W)``.
        reach: Frames to put before and after, for each of the last axes.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Returns:
        Tensor of shape ``(batch, channels, before + T + after)``, or so for both axes.

    Raises:
        ValueError: If an axis is too short to be reflected or wrapped as far.
    """
    if padding_mode == "zeros" or not any(map(any, reach)):
        return _pad(x, reach)
    for frames, far in zip(x.shape[-len(reach) :], map(max, reach), strict=True):
        longest = {"reflect": frames - 1, "circular": frames}.get(padding_mode)
        if longest is not None and far > longest:
            raise ValueError(
                f"padding_mode {padding_mode!r} needs x of more than {far - (padding_mode == 'circular')} frames for "
                f"this kernel, got {frames}"
            )
    return F.pad(x, [n for both in reversed(reach) for n in both], mode=padding_mode)


def faster(x: Tensor, outputs: int, groups: int, learning: bool, ready: bool) -> Engine:
    """Choose the engine for an input.

    Args:
        x: The input.
        outputs: Values that will come out.
        groups: Groups of channels that do not see each other.
        learning: Whether a gradient will be asked for.
        ready: Whether the weight of either engine is at hand already.
    """
    # Timed on two CPU cores with HiFi-GAN's upsamplers (recipes/benchmark.py): without gradients, polyphase is 1.0 to
    # 2.0 times as fast from so many outputs on, slower below, with gradients (mostly) and channel by channel. A traced
    # graph must not depend on the length it was traced with.
    if x.device.type != "cpu" or torch.compiler.is_compiling() or learning or groups > 1:
        return "transposed"
    return "polyphase" if outputs >= (MANY_OUTPUTS if ready else 4 * MANY_OUTPUTS) else "transposed"


def arrange(kernel: Tensor, geometry: Geometry, engine: Engine) -> Tensor:
    """Turn a kernel into the weight that an engine convolves with: itself, or its phases as channels.

    Returns:
        For ``"polyphase"``, shape ``(out_channels * S, in_channels / groups, *frames)``, where ``S`` is the product of
        the strides.
    """
    if engine != "polyphase":
        return kernel
    # With n + c = s t + r and j = t - m:  y[n] = sum_j x[t - j] h[r + s j]  for 0 <= j < L / s.
    axes = len(geometry.stride)
    frames = [-(-n // s) for n, s in zip(geometry.lengths, geometry.stride, strict=True)]
    tail = [(0, f * s - n) for f, s, n in zip(frames, geometry.stride, geometry.lengths, strict=True)]
    taps = _pad(kernel, tail).unflatten(0, (geometry.groups, -1))  # (g, in, out, *(j s))
    for d in reversed(range(axes)):
        taps = taps.unflatten(3 + d, (frames[d], geometry.stride[d]))
    # (g, in, out, j, s, ...) -> (g out s ..., in, j, ...), with j reversed because conv correlates.
    taps = taps.flip([3 + 2 * d for d in range(axes)])
    taps = taps.permute(0, 2, *(4 + 2 * d for d in range(axes)), 1, *(3 + 2 * d for d in range(axes)))
    return taps.reshape(-1, kernel.shape[0] // geometry.groups, *frames)


def run(
    x: Tensor, weight: Tensor, geometry: Geometry, bias: Tensor | None, padding_mode: PaddingMode, engine: Engine
) -> Tensor:
    """Compute the operator.

    Args:
        x: Input of shape ``(batch, in_channels, *frames)`` or without ``batch``.
        weight: What `arrange` gave for the engine.
        geometry: Sizes of the kernel.
        bias: One value per output channel, or none.
        padding_mode: What lies beyond the edges of the input.
        engine: ``"transposed"`` or ``"polyphase"``.

    Returns:
        Tensor of shape ``(batch, out_channels, *(stride * frames))``, or without ``batch``.

    Raises:
        ValueError: If an axis is too short to be reflected or wrapped as far as the kernel reaches.
    """
    axes = len(geometry.stride)
    if x.dim() == 1 + axes:
        return run(x.unsqueeze(0), weight, geometry, bias, padding_mode, engine).squeeze(0)
    reach = [(0, 0)] * axes  # the operator itself takes what lies outside as zero
    if padding_mode != "zeros":
        reach = geometry.context()
        x = extend(x, reach, padding_mode)
    return compute(x, weight, geometry, bias, reach, engine)


def compute(
    x: Tensor, weight: Tensor, geometry: Geometry, bias: Tensor | None, reach: Sequence[tuple[int, int]], engine: Engine
) -> Tensor:
    """Compute the operator where the ends of the input are its context.

    Args:
        x: Input of shape ``(batch, in_channels, before + frames + after)``, or so for both axes.
        weight: What `arrange` gave for the engine.
        geometry: Sizes of the kernel.
        bias: One value per output channel, or none.
        reach: ``before`` and ``after`` for each axis; beyond them the input is zero.
        engine: ``"transposed"`` or ``"polyphase"``.

    Returns:
        Tensor of shape ``(batch, out_channels, *(stride * frames))``.
    """
    form = _polyphase if engine == "polyphase" else _transposed
    return form(x, weight, geometry, bias, reach)


def _pad(x: Tensor, amounts: Sequence[tuple[int, int]]) -> Tensor:
    # F.pad takes the last axis first.
    flat = [n for before, after in reversed(amounts) for n in (before, after)]
    return F.pad(x, flat) if any(flat) else x


def _fill_then_crop(x: Tensor, amounts: Sequence[tuple[int, int]]) -> Tensor:
    # F.pad alone refuses to crop more than the signal holds before it fills the other end.
    if any(min(both) < 0 < max(both) for both in amounts):
        x = _pad(x, [(max(before, 0), max(after, 0)) for before, after in amounts])
        amounts = [(min(before, 0), min(after, 0)) for before, after in amounts]
    return _pad(x, amounts)


def _transposed(
    x: Tensor, kernel: Tensor, geometry: Geometry, bias: Tensor | None, reach: Sequence[tuple[int, int]]
) -> Tensor:
    # By one transposed convolution; `reach` frames at either end of x are context.
    stride = geometry.stride
    convolve = F.conv_transpose1d if len(stride) == 1 else F.conv_transpose2d
    spare = geometry.surplus(reach)
    if all(before >= 0 and 0 <= before - after < s for (before, after), s in zip(spare, stride, strict=True)):
        padding = tuple(before for before, _ in spare)
        missing = tuple(before - after for before, after in spare)
        return convolve(x, kernel, bias, stride, padding, missing, geometry.groups)
    common = tuple(max(0, min(both)) for both in spare)
    y = convolve(x, kernel, None, stride, common, 0, geometry.groups)
    y = _fill_then_crop(y, [(n - before, n - after) for (before, after), n in zip(spare, common, strict=True)])
    # After the fill, so that the bias reaches every sample; in the type that autocast chose.
    return y if bias is None else y + bias.view(-1, *[1] * len(stride)).to(y.dtype)


def _polyphase(
    x: Tensor, phases: Tensor, geometry: Geometry, bias: Tensor | None, reach: Sequence[tuple[int, int]]
) -> Tensor:
    # By one convolution to all phases, interleaved; `reach` frames at either end of x are context.
    stride, taps = geometry.stride, phases.shape[2:]
    # Output n is phase (n + c) mod s of frame (n + c) // s; the frames wanted are first .. T - 1 + last.
    first = [c // s for s, c in zip(stride, geometry.origin, strict=True)]
    last = [(s - 1 + c) // s for s, c in zip(stride, geometry.origin, strict=True)]
    wanted = [(j - 1 - a - left, b - right) for j, a, b, (left, right) in zip(taps, first, last, reach, strict=True)]
    padding = tuple(before if before == after >= 0 else 0 for before, after in wanted)  # native padding saves a copy
    x = _fill_then_crop(x, [(before - n, after - n) for (before, after), n in zip(wanted, padding, strict=True)])
    phase_bias = None if bias is None else bias.repeat_interleave(math.prod(stride))
    convolve = F.conv1d if len(stride) == 1 else F.conv2d
    z = convolve(x, phases, phase_bias, padding=padding, groups=geometry.groups)
    return shuffle(z, stride, [c % s for s, c in zip(stride, geometry.origin, strict=True)])


def shuffle(x: Tensor, stride: tuple[int, ...], skip: Sequence[int] | None = None) -> Tensor:
    """Interleave groups of channels along as many axes as there are strides; see `audioup.functional`.

    Args:
        x: Tensor of shape ``(..., C s_1 s_2, H, W)``, or with one axis ``(..., C s, T)``.
        stride: Phases along each axis.
        skip: Samples to leave out at the beginning of each axis, below its stride; where it is not 0, so many are left
            out at the end that whole frames remain.
    """
    # (..., C s_1 s_2, H, W) -> (..., C, H, s_1, W, s_2) -> (..., C, H s_1, W s_2)
    axes = len(stride)
    phases = x.unflatten(-1 - axes, (-1, *stride))
    lead = phases.dim() - 2 * axes
    phases = phases.permute(*range(lead), *[lead + k * axes + d for d in range(axes) for k in (1, 0)])
    for d, n in enumerate(skip or ()):
        if n:
            frames, phase = lead + 2 * d, lead + 2 * d + 1
            whole = phases.shape[frames] - 1
            # Skipping as it interleaves copies once; cropping what is interleaved would copy twice.
            now = phases.narrow(frames, 0, whole).narrow(phase, n, stride[d] - n)
            later = phases.narrow(frames, 1, whole).narrow(phase, 0, n)
            phases = torch.cat([now, later], phase)
    if math.prod(stride) > 1 and not any(skip or ()):
        # What `reshape` would do too; but torch 2.9 asks whether there is one frame, and then exports no other answer.
        phases = phases.clone(memory_format=torch.contiguous_format)
    return phases.reshape(*phases.shape[:lead], *(phases.shape[lead + 2 * d] * s for d, s in enumerate(stride)))
