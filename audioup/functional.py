"""The operator: every upsampling layer of this library is one call of `upsample1d`.

For an input ``x[i, m]`` (channels, frames), a stride ``s``, a kernel ``h[i, o, l]`` with ``0 <= l < L`` at the output
rate and an integer origin ``c``,

    y[o, n] = b[o] + sum_i sum_m x[i, m] h[i, o, n - s m + c],        0 <= n < s T.

Transposed convolution, sub-pixel convolution and resize-convolution differ only in how ``h`` is parametrised.
"""

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
    _check(x, kernel, stride, origin, bias, groups, padding_mode, engine)
    if x.dim() == 2:
        return upsample1d(x.unsqueeze(0), kernel, stride, origin, bias, groups, padding_mode, engine).squeeze(0)
    left, right = context(kernel.shape[-1], stride, origin)
    if padding_mode == "zeros" or left == right == 0:
        left = right = 0  # the operator itself takes what lies outside as zero
    else:
        x = extend(x, left, right, padding_mode)
    if engine == "auto":
        engine = _faster_engine(x, kernel)
    compute = _polyphase if engine == "polyphase" else _transposed
    return compute(x, kernel, stride, origin, bias, groups, left, right)


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
    return x.unflatten(-2, (-1, stride)).transpose(-1, -2).flatten(-2)


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


def extend(x: Tensor, left: int, right: int, padding_mode: str) -> Tensor:
    """Go on beyond the edges of a signal.

    Args:
        x: Tensor of shape ``(..., T)``.
        left: Frames to put before it.
        right: Frames to put after it.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Returns:
        Tensor of shape ``(..., left + T + right)``.

    Raises:
        ValueError: If ``T`` is too short to be reflected or wrapped as far.
    """
    if left == right == 0:
        return x
    if padding_mode == "zeros":
        return F.pad(x, (left, right))
    longest = {"reflect": x.shape[-1] - 1, "circular": x.shape[-1]}.get(padding_mode)
    if longest is not None and max(left, right) > longest:
        raise ValueError(
            f"padding_mode {padding_mode!r} needs x of more than {max(left, right) - (padding_mode == 'circular')} "
            f"frames for this kernel, got {x.shape[-1]}"
        )
    return F.pad(x, (left, right), mode=padding_mode)


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


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _check(
    x: Tensor,
    kernel: Tensor,
    stride: int,
    origin: int,
    bias: Tensor | None,
    groups: int,
    padding_mode: str,
    engine: str,
) -> None:
    check_positive("stride", stride)
    check_positive("groups", groups)
    check_choice("padding_mode", padding_mode, PADDING_MODES)
    check_choice("engine", engine, ENGINES)
    if isinstance(origin, bool) or not isinstance(origin, int):
        raise ValueError(f"origin must be an integer, got {origin!r}")
    if kernel.dim() != 3 or kernel.shape[1] < 1 or kernel.shape[2] < 1:
        raise ValueError(
            f"kernel must have shape (in_channels, out_channels / groups, L >= 1), got {tuple(kernel.shape)}"
        )
    if x.dim() not in (2, 3) or x.shape[-2] != kernel.shape[0]:
        raise ValueError(
            f"x must have shape (batch, {kernel.shape[0]}, T) or ({kernel.shape[0]}, T), got {tuple(x.shape)}"
        )
    if x.shape[-1] < 1:
        raise ValueError(f"x must have at least one frame, got {tuple(x.shape)}")
    if kernel.shape[0] % groups:
        raise ValueError(f"groups must divide in_channels = {kernel.shape[0]}, got {groups}")
    if bias is not None and bias.shape != (kernel.shape[1] * groups,):
        raise ValueError(f"bias must have shape ({kernel.shape[1] * groups},), got {tuple(bias.shape)}")


def _faster_engine(x: Tensor, kernel: Tensor) -> Engine:
    # Timed on two CPU cores with HiFi-GAN's upsamplers: polyphase is 1.0 to 1.5 times as fast on long inputs without
    # gradients, slower on all others. A traced graph must not depend on the length it was traced with.
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return "transposed"
    learning = torch.is_grad_enabled() and (x.requires_grad or kernel.requires_grad)
    return "polyphase" if not learning and x.shape[0] * x.shape[-1] >= LONG_INPUT else "transposed"


def _fill_then_crop(x: Tensor, before: int, after: int) -> Tensor:
    # F.pad alone refuses to crop more than the signal holds before it fills the other end.
    if min(before, after) < 0 < max(before, after):
        x = F.pad(x, (max(before, 0), max(after, 0)))
        before, after = min(before, 0), min(after, 0)
    return F.pad(x, (before, after)) if before or after else x


def _transposed(
    x: Tensor, kernel: Tensor, stride: int, origin: int, bias: Tensor | None, groups: int, left: int, right: int
) -> Tensor:
    # Uncropped, the transposed convolution of T + left + right frames has (T + left + right - 1) s + L samples, and
    # the wanted s T begin at index c + s left. `before` and `after` are what is too much at its ends (or missing, < 0).
    before = origin + stride * left
    after = kernel.shape[-1] - stride + stride * (left + right) - before
    if before >= 0 and 0 <= before - after < stride:
        return F.conv_transpose1d(x, kernel, bias, stride, before, before - after, groups)
    both = max(0, min(before, after))
    y = F.conv_transpose1d(x, kernel, None, stride, both, 0, groups)
    y = _fill_then_crop(y, both - before, both - after)
    # After the fill, so that the bias reaches every sample; in the type that autocast chose.
    return y if bias is None else y + bias[:, None].to(y.dtype)


def _polyphase(
    x: Tensor, kernel: Tensor, stride: int, origin: int, bias: Tensor | None, groups: int, left: int, right: int
) -> Tensor:
    # With n = s t + r and j = t - m:  y[s t + r] = sum_j x[t - j] h[r + c + s j]  for first <= j <= last.
    length = kernel.shape[-1]
    first, last = -((stride - 1 + origin) // stride), (length - 1 - origin) // stride
    frames = last - first + 1
    lead = -(origin + stride * first)
    taps = F.pad(kernel, (lead, frames * stride - length - lead))
    # (g in, out, j s) -> (g out s, in, j), with j reversed because conv1d correlates.
    taps = taps.unflatten(0, (groups, -1)).unflatten(-1, (frames, stride)).flip(-2)
    weight = taps.permute(0, 2, 4, 1, 3).reshape(-1, kernel.shape[0] // groups, frames)
    before, after = last - left, -first - right
    padding = before if before == after >= 0 else 0  # native padding saves a copy
    x = _fill_then_crop(x, before - padding, after - padding)
    phase_bias = None if bias is None else bias.repeat_interleave(stride)
    return pixel_shuffle_1d(F.conv1d(x, weight, phase_bias, padding=padding, groups=groups), stride)
