"""Stride tones from weights alone: what a kernel makes of a constant.

Phase gains ``g[i, o, r] = sum_q h[i, o, r + q s]``; for a constant input the lines at ``k fs_out / s`` have the
two-sided amplitudes ``G[i, o, k]``, the DFT of ``g`` over ``r``, divided by ``s``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from audioup.checks import check_positive


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


def rectified_tones(kernel: Tensor, stride: int, autocorrelation: Tensor, negative_slope: float = 0.0) -> Tensor:
    """Predict the lines that a leaky rectifier makes of the layer's output, for a signal without any.

    The output of a Gaussian input without a mean has no line, but its variance ``sigma_r^2 = sum_i h_ir' R h_ir`` may
    differ from phase to phase, where ``h_ir`` holds the taps ``r, r + s, r + 2 s, ...``. The rectifier
    ``y -> max(y, a y)`` turns it into the mean ``(1 - a) sigma_r / sqrt(2 pi)``, and that repeats with the stride:

        |G_k| = |1 - a| / sqrt(2 pi) * |sum_r sigma_r exp(-2 pi i k r / s)| / s.

    Equal phase gains (regularity order 1) do not prevent it; a higher order lessens it for slow inputs.

    Args:
        kernel: Kernel at the output rate, shape ``(in_channels, out_channels, L)``; the inputs are taken as independent
            and alike.
        stride: Output samples per input frame.
        autocorrelation: ``R`` of the input at lags ``0, 1, ...`` frames, shape ``(lags,)``; zero from there on. White
            noise of unit variance is ``torch.ones(1)``.
        negative_slope: ``a`` of the rectifier, 0 for ReLU.

    Returns:
        float64 tensor of shape ``(out_channels, stride // 2)``: two-sided amplitudes at ``k * fs_out / stride`` for
        ``k = 1 .. stride // 2``, in units of the signal.

    Raises:
        ValueError: If ``stride`` is not a positive integer, the kernel has other than three axes or is empty, or the
            autocorrelation is no vector, or none of a signal (a variance comes out below zero).

    Example:
        >>> hold_every_other = torch.tensor([[[1.0, 0.0]]])
        >>> rectified_tones(hold_every_other, 2, torch.ones(1))  # sigma 1, 0: 1 / sqrt(2 pi) / 2
        tensor([[0.1995]], dtype=torch.float64)
    """
    check_positive("stride", stride)
    if kernel.dim() != 3 or kernel.numel() == 0:
        raise ValueError(f"kernel must have shape (in_channels, out_channels, L >= 1), got {tuple(kernel.shape)}")
    if autocorrelation.dim() != 1 or autocorrelation.numel() == 0:
        raise ValueError(f"autocorrelation must have shape (lags >= 1,), got {tuple(autocorrelation.shape)}")
    taps = kernel.detach().double()
    phases = F.pad(taps, (0, -taps.shape[-1] % stride)).unflatten(-1, (-1, stride))  # (in, out, q, s)
    frames = phases.shape[-2]
    lags = F.pad(autocorrelation.to(taps), (0, max(0, frames - len(autocorrelation))))[:frames]
    step = torch.arange(frames, device=taps.device)
    variance = torch.einsum("ioqr,qp,iopr->or", phases, lags[(step[:, None] - step).abs()], phases)
    if (variance < -1e-9 * variance.abs().max()).any():
        raise ValueError("autocorrelation is none of a signal: it gives the output a negative variance")
    lines = torch.fft.fft(variance.clamp_min(0).sqrt()).abs() / stride
    return abs(1 - negative_slope) / math.sqrt(2 * math.pi) * lines[:, 1 : stride // 2 + 1]


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
