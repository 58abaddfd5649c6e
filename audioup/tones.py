"""Stride tones from weights alone: what a kernel makes of a constant.

Phase gains ``g[i, o, r] = sum_q h[i, o, r + q s]``; for a constant input the lines at ``k fs_out / s`` have the
two-sided amplitudes ``G[i, o, k]``, the DFT of ``g`` over ``r``, divided by ``s``. For images ``r``, ``s``, ``q`` and
``k`` are pairs.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from audioup.checks import check_positive, per_axis

PSD_ROUNDING = 1e-6  # of the largest eigenvalue: a correlation may be estimated and stored in float32


def tone_response(kernel: Tensor, stride: int | Sequence[int]) -> Tensor:
    """Measure the lines that a kernel puts on a constant input, relative to the constant, in two-sided dB.

    Args:
        kernel: Kernel at the output rate, shape ``(..., L)``, or ``(..., L_h, L_w)`` for a pair of strides; channels
            are summed as root sum of squares.
        stride: Output samples per input frame; a pair for images.

    Returns:
        float64 tensor of shape ``(stride // 2,)``: ``20 log10(|G_k| / |G_0|)`` at ``k * fs_out / stride`` for ``k = 1
        .. stride // 2``; ``-inf`` where there is no line. Two-sided: a real tone has this level at ``+k`` and ``-k``.
        For a pair ``(s_h, s_w)``, shape ``(s_h, s_w // 2 + 1)``, laid out as by ``torch.fft.rfft2``: the line at
        ``(k_h / s_h, k_w / s_w)`` cycles per output sample is at ``[k_h, k_w]``, and ``[0, 0]`` is the constant, 0 dB.

    Raises:
        ValueError: If ``stride`` is not a positive integer or a pair of them, or the kernel is empty.

    Source: the phase-gain reading of Odena, Dumoulin & Olah (Distill, 2016); the tones of Pons et al. (ICASSP 2021).

    Example:
        >>> tone_response(torch.tensor([1.0, 1.0, 1.0]), 2)  # overlap 2, 1, 2, 1: the line is a third of the mean
        tensor([-9.5424], dtype=torch.float64)
        >>> tone_response(torch.ones(3, 3), (2, 2))  # a checkerboard: levels of the axes add
        tensor([[  0.0000,  -9.5424],
                [ -9.5424, -19.0849]], dtype=torch.float64)
    """
    strides = per_axis(stride)
    power = _lines(kernel, strides).abs().square().reshape(-1, *strides).sum(0)
    kept = power[..., : strides[-1] // 2 + 1]
    return _ratio_db(kept if len(strides) > 1 else kept[1:], power.flatten()[0])


def tonal_fraction(kernel: Tensor, stride: int | Sequence[int], correlation: Tensor | None = None) -> Tensor:
    """Measure the share of a kernel's response to a constant that is tone, in dB.

    With ``G_k`` as in `tone_response`: ``10 log10(sum_{k != 0} |G_k|^2 / sum_k |G_k|^2)``, where every input channel is
    a constant of its own. With the correlation ``R`` of the input channels, ``|G_k|^2`` is the power that such an input
    ``v`` gets in the mean, ``E |sum_i v_i G[i, o, k]|^2 = sum_ij R[i, j] conj(G[i, o, k]) G[j, o, k]``, summed over
    ``o``: channels that always come together may cancel each other's lines, or add them up.

    Args:
        kernel: Kernel at the output rate, shape ``(..., L)``, or ``(..., L_h, L_w)`` for a pair of strides; channels
            are summed. With ``correlation``: ``(in_channels, out_channels, L)`` or with ``L_h, L_w``, of one group.
        stride: Output samples per input frame; a pair for images.
        correlation: ``R``, mean products of the channels of the layer's input, shape ``(in_channels, in_channels)``.

    Returns:
        float64 scalar tensor in dB, 0 when all is tone, ``-inf`` when nothing is.

    Raises:
        ValueError: If ``stride`` is not a positive integer or a pair of them, the kernel is empty, or the correlation
            does not fit its input channels or is not symmetric and positive semidefinite.

    Example:
        >>> tonal_fraction(torch.tensor([1.0, 1.0, 1.0]), 2)  # 1/9 against 1 + 1/9
        tensor(-10., dtype=torch.float64)
        >>> opposite = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])  # one channel makes even samples, one the odd ones
        >>> tonal_fraction(opposite, 2, torch.eye(2)), tonal_fraction(opposite, 2, torch.ones(2, 2))
        (tensor(-3.0103, dtype=torch.float64), tensor(-inf, dtype=torch.float64))
    """
    strides = per_axis(stride)
    lines = _lines(kernel, strides)
    if correlation is None:
        power = lines.abs().square().reshape(-1, *strides).sum(0).flatten()
    else:
        if kernel.dim() != 2 + len(strides):
            axes = "L" if len(strides) == 1 else "L_h, L_w"
            raise ValueError(
                f"kernel must have shape (in_channels, out_channels, {axes}) beside a correlation, got "
                f"{tuple(kernel.shape)}"
            )
        weights = _correlation(correlation, kernel.shape[0]).to(lines)
        lines = lines.flatten(2)
        # Positive but for rounding.
        power = torch.einsum("iok,ij,jok->k", lines.conj(), weights, lines).real.clamp_min(0)
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


def phase_sums(taps: Tensor, strides: Sequence[int]) -> Tensor:
    """Sum taps of shape ``(..., L)`` or ``(..., L_h, L_w)`` over each phase, to ``(..., s)`` or ``(..., s_h, s_w)``."""
    if taps.dim() < len(strides) or taps.numel() == 0:
        axes = {1: "(..., L)", 2: "(..., L_h, L_w)"}.get(len(strides), f"(..., {len(strides)} axes)")
        raise ValueError(f"kernel must hold at least one tap, shape {axes}, got shape {tuple(taps.shape)}")
    for axis, stride in zip(range(-len(strides), 0), strides, strict=True):
        last = taps.movedim(axis, -1)
        taps = F.pad(last, (0, -last.shape[-1] % stride)).unflatten(-1, (-1, stride)).sum(-2).movedim(-1, axis)
    return taps


def _lines(kernel: Tensor, strides: Sequence[int]) -> Tensor:
    gains = phase_sums(kernel.double(), strides)
    return torch.fft.fftn(gains, dim=tuple(range(-len(strides), 0))) / math.prod(strides)


def _ratio_db(part: Tensor, whole: Tensor) -> Tensor:
    # A kernel of zeros has no line: nothing of nothing is -inf dB.
    return 10 * torch.log10(torch.where(part == 0, 0.0, part / whole))


def _correlation(correlation: Tensor, in_channels: int) -> Tensor:
    shape = tuple(correlation.shape)
    if shape != (in_channels, in_channels):
        raise ValueError(f"correlation must have shape ({in_channels}, {in_channels}) for this kernel, got {shape}")
    weights = correlation.detach().double()
    if not weights.isfinite().all():
        raise ValueError("correlation must be finite")
    asymmetry = (weights - weights.T).abs().max().item()
    if asymmetry > PSD_ROUNDING * weights.abs().max().item():
        raise ValueError(f"correlation must be symmetric, got entries that differ by {asymmetry:.3g}")
    values = torch.linalg.eigvalsh((weights + weights.T) / 2)
    if values[0] < -PSD_ROUNDING * values.abs().max():
        raise ValueError(f"correlation must be positive semidefinite, got the eigenvalue {values[0]:.3g}")
    return weights
