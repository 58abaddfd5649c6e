"""The operator: every upsampling layer of this library is one call of `upsample1d` or `upsample2d`.

For an input ``x[i, m]`` (channels, frames), a stride ``s``, a kernel ``h[i, o, l]`` with ``0 <= l < L`` at the output
rate and an integer origin ``c``,

    y[o, n] = b[o] + sum_i sum_m x[i, m] h[i, o, n - s m + c],        0 <= n < s T.

Transposed convolution, sub-pixel convolution and resize-convolution differ only in how ``h`` is parametrised.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Engine = Literal["auto", "transposed", "polyphase"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
ENGINES = ("auto", "transposed", "polyphase")
LONG_INPUT = 16384  # frames of all signals of a batch from which the polyphase engine pays


def upsample1d(
    x: Tensor,
    kernel: Tensor,
    stride: int,
    origin: int,
    bias: Tensor | None = None,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    engine: Engine = "auto",
) -> Tensor:
    """Upsample a signal by ``stride`` through a kernel given at the output rate.

    The output has exactly ``stride * T`` samples for every kernel length (also shorter than the stride), parity and
    origin. Its gain for a constant input at phase ``r = n mod stride`` is ``sum_q kernel[..., (r + origin) mod stride
    + q * stride]``; where these gains differ, a constant comes out with a tone at multiples of ``fs_out / stride``.
    For a symmetric kernel the delay is ``(L - stride) / 2 - origin`` output samples.

    Args:
        x: Input of shape ``(batch, in_channels, T)`` or ``(in_channels, T)``, ``T >= 1``.
        kernel: Kernel of shape ``(in_channels, out_channels / groups, L)``, taps at the output rate.
        stride: Output samples per input frame, ``>= 1``.
        origin: The tap that lands on the first output sample of its own frame; any integer.
            ``(L - stride + 1) // 2`` is centred, ``0`` is causal.
        bias: One value per output channel, or none.
        groups: Number of groups of channels that do not see each other.
        padding_mode: What lies beyond the edges of the input: ``"zeros"``, ``"reflect"`` (without repeating the edge),
            ``"replicate"`` or ``"circular"``.
        engine: ``"transposed"`` is one ``conv_transpose1d``, ``"polyphase"`` one ``conv1d`` on ``stride`` times the
            channels whose outputs are interleaved; they agree to rounding. ``"auto"`` is the second for long inputs
            on a CPU without gradients, where it is faster, and the first otherwise.

    Returns:
        Tensor of shape ``(batch, out_channels, stride * T)``, or ``(out_channels, stride * T)`` for unbatched input.

    Raises:
        ValueError: If a shape, the stride, the groups, a mode or an engine does not fit, if the input is empty, or if
            ``T`` is too short to be reflected or wrapped as far as the kernel reaches.

    Source: the polyphase identity is Vaidyanathan, "Multirate Systems and Filter Banks" (1993), section 4.3; its use
    in networks Shi et al., "Real-Time Single Image and Video Super-Resolution" (CVPR 2016).

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0, 3.0]])
        >>> upsample1d(x, torch.tensor([[[1.0, 1.0]]]), stride=2, origin=0)  # nearest neighbour
        tensor([[1., 1., 2., 2., 3., 3.]])
        >>> upsample1d(x, torch.tensor([[[0.5, 1.0, 0.5]]]), stride=2, origin=1)  # linear, even samples kept
        tensor([[1.0000, 1.5000, 2.0000, 2.5000, 3.0000, 1.5000]])
    """
    return _upsample(x, kernel, (stride,), (origin,), bias, groups, padding_mode, engine)


def upsample2d(
    x: Tensor,
    kernel: Tensor,
    stride: int | tuple[int, int],
    origin: int | tuple[int, int],
    bias: Tensor | None = None,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    engine: Engine = "auto",
) -> Tensor:
    """Upsample an image by ``stride`` along either axis through a kernel given at the output rate.

    `upsample1d` along both axes at once: with ``n = (n_1, n_2)`` and ``s m = (s_1 m_1, s_2 m_2)`` the same formula. The
    output has exactly ``(stride_1 H, stride_2 W)`` samples.

    Args:
        x: Input of shape ``(batch, in_channels, H, W)`` or ``(in_channels, H, W)``, ``H, W >= 1``.
        kernel: Kernel of shape ``(in_channels, out_channels / groups, L_1, L_2)``, taps at the output rate.
        stride: Output samples per input sample, ``>= 1``; one for both axes or a pair.
        origin: The tap that lands on the first output sample of its own frame; one for both axes or a pair.
        bias: One value per output channel, or none.
        groups: Number of groups of channels that do not see each other.
        padding_mode: What lies beyond the edges of the input.
        engine: ``"transposed"``, ``"polyphase"`` or ``"auto"``; see `upsample1d`.

    Returns:
        Tensor of shape ``(batch, out_channels, stride_1 H, stride_2 W)``, or without ``batch`` for unbatched input.

    Raises:
        ValueError: As `upsample1d`, for either axis.

    Example:
        >>> import torch
        >>> upsample2d(torch.tensor([[[1.0, 2.0]]]), torch.ones(1, 1, 2, 2), stride=2, origin=0)  # nearest neighbour
        tensor([[[1., 1., 2., 2.],
                 [1., 1., 2., 2.]]])
    """
    return _upsample(x, kernel, pair("stride", stride), pair("origin", origin), bias, groups, padding_mode, engine)


def pixel_shuffle_1d(x: Tensor, stride: int) -> Tensor:
    """Interleave groups of ``stride`` channels in time.

    The 1-D form of ``torch.nn.functional.pixel_shuffle``, with its channel order: channel ``o * stride + r`` becomes
    phase ``r`` of channel ``o``.

    Args:
        x: Tensor of shape ``(..., channels * stride, T)``.
        stride: Phases to interleave, ``>= 1``.

    Returns:
        Tensor of shape ``(..., channels, T * stride)``.

    Raises:
        ValueError: If ``stride`` is not a positive integer or does not divide the channels.

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution" (CVPR 2016), equation 4.

    Example:
        >>> import torch
        >>> pixel_shuffle_1d(torch.tensor([[1, 3], [2, 4]]), 2)
        tensor([[1, 2, 3, 4]])
    """
    check_positive("stride", stride)
    if x.dim() < 2 or x.shape[-2] % stride:
        raise ValueError(f"x must have shape (..., channels * {stride}, T), got {tuple(x.shape)}")
    return _shuffle(x, (stride,))


def pixel_shuffle_2d(x: Tensor, stride: int | tuple[int, int]) -> Tensor:
    """Interleave groups of ``stride_1 * stride_2`` channels along both axes of an image.

    ``torch.nn.functional.pixel_shuffle`` with a stride for either axis: channel
    ``(o * stride_1 + r_1) * stride_2 + r_2`` becomes phase ``(r_1, r_2)`` of channel ``o``.

    Args:
        x: Tensor of shape ``(..., channels * stride_1 * stride_2, H, W)``.
        stride: Phases to interleave, ``>= 1``; one for both axes or a pair.

    Returns:
        Tensor of shape ``(..., channels, H * stride_1, W * stride_2)``.

    Raises:
        ValueError: If ``stride`` is not positive or its product does not divide the channels.

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution" (CVPR 2016), equation 4.

    Example:
        >>> pixel_shuffle_2d(torch.tensor([[[1]], [[2]], [[3]], [[4]], [[5]], [[6]]]), (2, 3))
        tensor([[[1, 2, 3],
                 [4, 5, 6]]])
    """
    strides = pair("stride", stride)
    for step in strides:
        check_positive("stride", step)
    phases = math.prod(strides)
    if x.dim() < 3 or x.shape[-3] % phases:
        raise ValueError(f"x must have shape (..., channels * {phases}, H, W), got {tuple(x.shape)}")
    return _shuffle(x, strides)


def context(kernel_length: int, stride: int, origin: int) -> tuple[int, int]:
    """Count the input frames before and after its own that one output frame depends on.

    Args:
        kernel_length: Taps ``L`` of the kernel at the output rate.
        stride: Output samples per input frame.
        origin: The tap that lands on the first output sample of its own frame.

    Returns:
        ``(left, right)`` in frames.

    Example:
        >>> context(16, 8, 4)  # a centred transposed convolution of twice the stride
        (1, 1)
    """
    return max(0, (kernel_length - 1 - origin) // stride), max(0, (stride - 1 + origin) // stride)


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


def along(taps: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply a tensor by a matrix along one of its axes, counted from the end: ``taps @ matrix`` for the last."""
    return taps @ matrix if axis == -1 else (taps.movedim(axis, -1) @ matrix).movedim(-1, axis)


def check_positive(name: str, value: int) -> None:
    """Raise `ValueError` unless ``value`` is an integer of at least 1 (a bool is not an integer here)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1, got {value!r}")


def per_axis(stride: int | Sequence[int]) -> tuple[int, ...]:
    """Return one stride for every upsampled axis, checked; a single number stands for one axis."""
    strides = tuple(stride) if isinstance(stride, Sequence) else (stride,)
    if not strides:
        raise ValueError("stride must be an integer >= 1 or one for every axis, got none")
    for step in strides:
        check_positive("stride", step)
    return strides


def check_input(x: Tensor, channels: int, axes: int) -> None:
    """Raise `ValueError` unless ``x`` has ``channels``, before ``axes`` axes, perhaps a batch, and is not empty."""
    frames = "T" if axes == 1 else "H, W"
    if x.dim() not in (1 + axes, 2 + axes) or x.shape[-1 - axes] != channels:
        raise ValueError(
            f"x must have shape (batch, {channels}, {frames}) or ({channels}, {frames}), got {tuple(x.shape)}"
        )
    if min(x.shape[-axes:]) < 1:
        raise ValueError(f"x must have at least one frame, got {tuple(x.shape)}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """Return ``value`` for both axes of an image; `ValueError` unless it is one number or two."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{name} must be one integer or a pair, got {value!r}")
    return values


def _upsample(
    x: Tensor,
    kernel: Tensor,
    stride: tuple[int, ...],
    origin: tuple[int, ...],
    bias: Tensor | None,
    groups: int,
    padding_mode: PaddingMode,
    engine: Engine,
) -> Tensor:
    _check(x, kernel, stride, origin, bias, groups, padding_mode, engine)
    axes = len(stride)
    if x.dim() == 1 + axes:
        return _upsample(x.unsqueeze(0), kernel, stride, origin, bias, groups, padding_mode, engine).squeeze(0)
    reach = [context(n, s, c) for n, s, c in zip(kernel.shape[2:], stride, origin, strict=True)]
    if padding_mode == "zeros":
        reach = [(0, 0)] * axes  # the operator itself takes what lies outside as zero
    else:
        x = extend(x, reach, padding_mode)
    if engine == "auto":
        engine = _faster_engine(x, kernel)
    compute = _polyphase if engine == "polyphase" else _transposed
    return compute(x, kernel, stride, origin, bias, groups, reach)


def _check(
    x: Tensor,
    kernel: Tensor,
    stride: tuple[int, ...],
    origin: tuple[int, ...],
    bias: Tensor | None,
    groups: int,
    padding_mode: str,
    engine: str,
) -> None:
    for step in stride:
        check_positive("stride", step)
    check_positive("groups", groups)
    check_choice("padding_mode", padding_mode, PADDING_MODES)
    check_choice("engine", engine, ENGINES)
    for first in origin:
        if isinstance(first, bool) or not isinstance(first, int):
            raise ValueError(f"origin must be an integer, got {first!r}")
    axes = len(stride)
    taps = "L" if axes == 1 else "L_1, L_2"
    if kernel.dim() != 2 + axes or min(kernel.shape[1:]) < 1:
        raise ValueError(
            f"kernel must have shape (in_channels, out_channels / groups, {taps}), no size 0, got {tuple(kernel.shape)}"
        )
    inputs = kernel.shape[0]
    check_input(x, inputs, axes)
    if inputs % groups:
        raise ValueError(f"groups must divide in_channels = {inputs}, got {groups}")
    if bias is not None and bias.shape != (kernel.shape[1] * groups,):
        raise ValueError(f"bias must have shape ({kernel.shape[1] * groups},), got {tuple(bias.shape)}")


def _faster_engine(x: Tensor, kernel: Tensor) -> Engine:
    # Timed on two CPU cores with HiFi-GAN's upsamplers: polyphase is 1.0 to 1.5 times as fast on long inputs without
    # gradients, slower on all others. A traced graph must not depend on the length it was traced with.
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return "transposed"
    learning = torch.is_grad_enabled() and (x.requires_grad or kernel.requires_grad)
    frames = x.shape[0] * math.prod(x.shape[2:])
    return "polyphase" if not learning and frames >= LONG_INPUT else "transposed"


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
    x: Tensor,
    kernel: Tensor,
    stride: tuple[int, ...],
    origin: tuple[int, ...],
    bias: Tensor | None,
    groups: int,
    reach: Sequence[tuple[int, int]],
) -> Tensor:
    convolve = F.conv_transpose1d if len(stride) == 1 else F.conv_transpose2d
    # Uncropped, the transposed convolution of T + left + right frames has (T + left + right - 1) s + L samples, and
    # the wanted s T begin at index c + s left. What is too much at its ends (or missing, < 0):
    spare = [
        (c + s * left, length - s * (1 - right) - c)
        for length, s, c, (left, right) in zip(kernel.shape[2:], stride, origin, reach, strict=True)
    ]
    if all(before >= 0 and 0 <= before - after < s for (before, after), s in zip(spare, stride, strict=True)):
        padding = tuple(before for before, _ in spare)
        return convolve(x, kernel, bias, stride, padding, tuple(before - after for before, after in spare), groups)
    common = tuple(max(0, min(both)) for both in spare)
    y = convolve(x, kernel, None, stride, common, 0, groups)
    y = _fill_then_crop(y, [(n - before, n - after) for (before, after), n in zip(spare, common, strict=True)])
    # After the fill, so that the bias reaches every sample; in the type that autocast chose.
    return y if bias is None else y + bias.view(-1, *[1] * len(stride)).to(y.dtype)


def _polyphase(
    x: Tensor,
    kernel: Tensor,
    stride: tuple[int, ...],
    origin: tuple[int, ...],
    bias: Tensor | None,
    groups: int,
    reach: Sequence[tuple[int, int]],
) -> Tensor:
    # With n = s t + r and j = t - m:  y[s t + r] = sum_j x[t - j] h[r + c + s j]  for first <= j <= last.
    axes = len(stride)
    first = [-((s - 1 + c) // s) for s, c in zip(stride, origin, strict=True)]
    last = [(n - 1 - c) // s for n, s, c in zip(kernel.shape[2:], stride, origin, strict=True)]
    frames = [b - a + 1 for a, b in zip(first, last, strict=True)]
    lead = [-(c + s * a) for s, c, a in zip(stride, origin, first, strict=True)]
    tail = [f * s - n - a for f, s, n, a in zip(frames, stride, kernel.shape[2:], lead, strict=True)]
    taps = _pad(kernel, list(zip(lead, tail, strict=True))).unflatten(0, (groups, -1))  # (g, in, out, *(j s))
    for d in reversed(range(axes)):
        taps = taps.unflatten(3 + d, (frames[d], stride[d]))
    # (g, in, out, j, s, ...) -> (g out s ..., in, j, ...), with j reversed because conv correlates.
    taps = taps.flip([3 + 2 * d for d in range(axes)])
    taps = taps.permute(0, 2, *(4 + 2 * d for d in range(axes)), 1, *(3 + 2 * d for d in range(axes)))
    weight = taps.reshape(-1, kernel.shape[0] // groups, *frames)
    wanted = [(b - left, -a - right) for a, b, (left, right) in zip(first, last, reach, strict=True)]
    padding = tuple(before if before == after >= 0 else 0 for before, after in wanted)  # native padding saves a copy
    x = _fill_then_crop(x, [(before - n, after - n) for (before, after), n in zip(wanted, padding, strict=True)])
    phase_bias = None if bias is None else bias.repeat_interleave(math.prod(stride))
    convolve = F.conv1d if axes == 1 else F.conv2d
    return _shuffle(convolve(x, weight, phase_bias, padding=padding, groups=groups), stride)


def _shuffle(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    # (..., C s_1 s_2, H, W) -> (..., C, H, s_1, W, s_2) -> (..., C, H s_1, W s_2)
    axes = len(stride)
    phases = x.unflatten(-1 - axes, (-1, *stride))
    lead = phases.dim() - 2 * axes
    order = [lead + k * axes + d for d in range(axes) for k in (1, 0)]
    interleaved = phases.permute(*range(lead), *order)
    return interleaved.reshape(
        *interleaved.shape[:lead], *(n * s for n, s in zip(x.shape[-axes:], stride, strict=True))
    )
