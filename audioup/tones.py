"""Stride tones from weights alone: what a kernel makes of a constant.

Phase gains ``g[i, o, r] = sum_q h[i, o, r + q s]``; for a constant input the lines at ``k fs_out / s`` have the
two-sided amplitudes ``G[i, o, k]``, the DFT of ``g`` over ``r``, divided by ``s``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from audioup.functional import check_positive


def tone_response(kernel: Tensor, stride: int) -> Tensor:
    """Measure the lines that a kernel puts on a constant input, relative to the constant, in two-sided dB.

    Args:
        kernel: Kernel at the output rate, shape ``(..., L)``; channels are summed as root sum of squares.
        stride: Output samples per input frame.

    Returns:
        float64 tensor of shape ``(stride // 2,)``: ``20 log10(|G_k| / |G_0|)`` at ``k * fs_out / stride`` for ``k = 1
        .. stride // 2``; ``-inf`` where there is no line. Two-sided: a real tone has this level at ``+k`` and ``-k``.

    Raises:
        ValueError: If ``stride`` is not a positive integer or the kernel is empty.

    Source: the phase-gain reading of Odena, Dumoulin & Olah (Distill, 2016); the tones of Pons et al. (ICASSP 2021).

    Example:
        >>> tone_response(torch.tensor([1.0, 1.0, 1.0]), 2)  # overlap 2, 1, 2, 1: the line is a third of the mean
        tensor([-9.5424], dtype=torch.float64)
    """
    power = _line_power(kernel, stride)
    return _ratio_db(power[1 : stride // 2 + 1], power[0])


def tonal_fraction(kernel: Tensor, stride: int) -> Tensor:
    """Measure the share of a kernel's response to a constant that is tone, in dB.

    With ``G_k`` as in `tone_response`: ``10 log10(sum_{k != 0} |G_k|^2 / sum_k |G_k|^2)``.

    Args:
        kernel: Kernel at the output rate, shape ``(..., L)``; channels are summed.
        stride: Output samples per input frame.

    Returns:
        float64 scalar tensor in dB, 0 when all is tone, ``-inf`` when nothing is.

    Raises:
        ValueError: If ``stride`` is not a positive integer or the kernel is empty.

    Example:
        >>> tonal_fraction(torch.tensor([1.0, 1.0, 1.0]), 2)  # 1/9 against 1 + 1/9
        tensor(-10., dtype=torch.float64)
    """
    power = _line_power(kernel, stride)
    return _ratio_db(power[1:].sum(), power.sum())


def _ratio_db(part: Tensor, whole: Tensor) -> Tensor:
    # A kernel of zeros has no line: nothing of nothing is -inf dB.
    return 10 * torch.log10(torch.where(part == 0, 0.0, part / whole))


def _line_power(kernel: Tensor, stride: int) -> Tensor:
    check_positive("stride", stride)
    if kernel.dim() < 1 or kernel.numel() == 0:
        raise ValueError(f"kernel must hold at least one tap, got shape {tuple(kernel.shape)}")
    taps = kernel.double()
    gains = F.pad(taps, (0, -taps.shape[-1] % stride)).unflatten(-1, (-1, stride)).sum(-2)
    lines = torch.fft.fft(gains) / stride
    return lines.abs().square().reshape(-1, stride).sum(0)
