"""The operator: every upsampling layer of this library is one call of `upsample1d` or `upsample2d`.

For an input ``x[i, m]`` (channels, frames), a stride ``s``, a kernel ``h[i, o, l]`` with ``0 <= l < L`` at the output
rate and an integer origin ``c``,

    y[o, n] = b[o] + sum_i sum_m x[i, m] h[i, o, n - s m + c],        0 <= n < s T.

Transposed convolution, sub-pixel convolution and resize-convolution differ only in how ``h`` is parametrised.
"""

import math

import torch
from torch import Tensor

from audioup import engines
from audioup.checks import check_choice, check_positive, pair
from audioup.engines import ENGINES, PADDING_MODES, Engine, PaddingMode


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
            channels whose outputs are interleaved; they agree to rounding. ``"auto"`` is the second for long outputs
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
    return engines.shuffle(x, (stride,))


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
        >>> import torch
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
    return engines.shuffle(x, strides)


def context(kernel_length: int, stride: int, origin: int) -> tuple[int, int]:
    """Count the input frames before and after its own that one output frame depends on.

    Args:
        kernel_length: Taps ``L`` of the kernel at the output rate.
        stride: Output samples per input frame.
        origin: The tap that lands on the first output sample of its own frame.

    Returns:
        ``(left, right)`` in frames.

    Raises:
        ValueError: If ``stride`` is not a positive integer.

    Example:
        >>> context(16, 8, 4)  # a centred transposed convolution of twice the stride
        (1, 1)
    """
    check_positive("stride", stride)
    return engines.Geometry((kernel_length,), (stride,), (origin,), 1).context()[0]


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
    geometry = engines.Geometry(tuple(kernel.shape[2:]), stride, origin, groups)
    if engine == "auto":
        learning = torch.is_grad_enabled() and (x.requires_grad or kernel.requires_grad)
        outputs = x.numel() // kernel.shape[0] * kernel.shape[1] * groups * math.prod(stride)
        engine = engines.faster(x, outputs, groups, learning, ready=False)
    return engines.run(x, engines.arrange(kernel, geometry, engine), geometry, bias, padding_mode, engine)


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
    if kernel.dim() != 2 + axes or min(kernel.shape) < 1:
        raise ValueError(
            f"kernel must have shape (in_channels, out_channels / groups, {taps}), no size 0, got {tuple(kernel.shape)}"
        )
    inputs = kernel.shape[0]
    check_input(x, inputs, axes)
    if inputs % groups:
        raise ValueError(f"groups must divide in_channels = {inputs}, got {groups}")
    if bias is not None and bias.shape != (kernel.shape[1] * groups,):
        raise ValueError(f"bias must have shape ({kernel.shape[1] * groups},), got {tuple(bias.shape)}")


def check_input(x: Tensor, channels: int, axes: int) -> None:
    """Raise `ValueError` unless ``x`` has ``channels``, before ``axes`` axes, perhaps a batch, and is not empty.

    Raise `TypeError` if it is no tensor.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor, got {type(x).__name__}")
    frames = "T" if axes == 1 else "H, W"
    if x.dim() not in (1 + axes, 2 + axes) or x.shape[-1 - axes] != channels:
        raise ValueError(
            f"x must have shape (batch, {channels}, {frames}) or ({channels}, {frames}), got {tuple(x.shape)}"
        )
    if min(x.shape[-axes:]) < 1:
        raise ValueError(f"x must have at least one frame, got {tuple(x.shape)}")
