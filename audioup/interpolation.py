"""Interpolation filters: the fixed part ``a`` of a resize-convolution, at the output rate.

Every filter is designed in float64, symmetric, and has unit sum *in each phase* ``a[r], a[r + s], a[r + 2 s], ...``, so
that a constant stays constant. Normalising only the total would leave a tone at the stride harmonics (about -62 dB for
a sinc at stride 8). Centred by the library's rule ``origin = (L - s + 1) // 2`` they have no delay, except a B-spline
of even order at an even stride, which is half an output sample early.
"""

import re

import numpy as np
import torch
from torch import Tensor

from audioup.checks import check_positive

MODES = ("nearest", "linear", "cubic", "sinc", "bspline-1", "bspline-2", "...")


def interpolation_filter(mode: str, stride: int, zeros: int = 6, rolloff: float = 1.0) -> Tensor:
    """Design the filter that turns a signal with ``stride - 1`` zeros between its samples into the interpolated one.

    ================  ==========================  ==========================================================
    mode              taps                        filter
    ================  ==========================  ==========================================================
    ``"nearest"``     ``s``                       ones; the same as ``"bspline-1"``
    ``"linear"``      ``2 s``, odd: ``2 s - 1``   triangle, half-pixel aligned; reaches 1 frame either way
    ``"cubic"``       ``4 s``, odd: ``4 s - 1``   Keys with a = -0.75, half-pixel aligned; 2 frames
    ``"sinc"``        ``2 z s``, odd: one fewer   Kaiser-windowed; ``z = zeros`` frames
    ``"bspline-p"``   ``p (s - 1) + 1``           ``s`` ones convolved ``p`` times; images vanish to order ``p``
    ================  ==========================  ==========================================================

    The sinc falls from 1 to its stop-band between ``rolloff / 2 - 0.9 / zeros`` and ``rolloff / 2 + 0.9 / zeros`` of
    the input rate, about -6 dB in the middle. The stop-band is -58 dB by default: unit phases cost some of the window's
    60 dB, more with few zeros (-55 with 3, -50 at odd strides). `audioup.filter_response` measures any filter.

    Args:
        mode: See the table; ``p`` is any positive integer.
        stride: Output samples per input sample, ``>= 1``.
        zeros: Zero crossings of the sinc on either side of its peak, that is, its reach in input samples.
        rolloff: Cut-off of the sinc as a share of the input's Nyquist frequency, ``0 < rolloff <= 1``.

    Returns:
        float64 tensor of shape ``(L,)``; gain 1 at DC in every phase.

    Raises:
        ValueError: If the mode is unknown or a number is out of range.

    Source: Smith, "Digital Audio Resampling Home Page" (2002) for the windowed sinc; Keys, "Cubic convolution
    interpolation for digital image processing" (IEEE TASSP 1981), with the constant of
    ``torch.nn.functional.interpolate(mode="bicubic")``; Unser, "Splines: a perfect fit for signal and image
    processing" (IEEE SPM 1999), for B-splines.

    Example:
        >>> interpolation_filter("linear", 2)
        tensor([0.2500, 0.7500, 0.7500, 0.2500], dtype=torch.float64)
        >>> interpolation_filter("bspline-2", 2)
        tensor([0.5000, 1.0000, 0.5000], dtype=torch.float64)
    """
    check_positive("stride", stride)
    if mode == "sinc":
        taps = _sinc(stride, zeros, rolloff)
    elif mode == "linear":
        # The triangle 1 - |t|, sampled where output samples lie between input samples when frames are centred.
        taps = 1 - np.abs(_offsets(stride, reach=1))
    elif mode == "cubic":
        # At stride 1 the outer taps are zeros.
        taps = _keys(np.abs(_offsets(stride, reach=2 if stride > 1 else 1)))
    elif mode == "nearest":
        taps = np.ones(stride)
    elif isinstance(mode, str) and (match := re.fullmatch(r"bspline-([1-9][0-9]*)", mode)):
        taps = bspline(int(match[1]), stride)
    else:
        raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    return torch.from_numpy(_normalise_phases(taps, stride))


def bspline(order: int, stride: int) -> np.ndarray:
    """Return ``B_p``: ``stride`` ones convolved ``order`` times, all phases of unit sum, ``p (stride - 1) + 1`` taps.

    Args:
        order: ``p >= 0``; 0 is a single tap of 1 (which has no unit phases).
        stride: Number of ones.
    """
    taps = np.ones(1)
    for factor in [1] * min(order, 1) + [stride] * (order - 1):
        taps = np.convolve(taps, np.ones(stride) / factor)
    return taps


def _offsets(stride: int, reach: int) -> np.ndarray:
    # Distance of each tap from the frame's centre in input samples; the length has the parity of the stride, which
    # makes the delay (L - s) / 2 - (L - s + 1) // 2 zero.
    length = 2 * reach * stride - stride % 2
    return (np.arange(length) - (length - 1) / 2) / stride


def _keys(t: np.ndarray, a: float = -0.75) -> np.ndarray:
    # Keys (1981), equation 15 with a free: cubic pieces on |t| < 1 and 1 <= |t| < 2, with a continuous slope.
    near = ((a + 2) * t - (a + 3)) * t**2 + 1
    far = a * (((t - 5) * t + 8) * t - 4)
    return np.where(t < 1, near, far)


def _sinc(stride: int, zeros: int, rolloff: float) -> np.ndarray:
    check_positive("zeros", zeros)
    if not isinstance(rolloff, (int, float)) or not 0 < rolloff <= 1:
        raise ValueError(f"rolloff must be above 0 and at most 1, got {rolloff!r}")
    t = _offsets(stride, reach=zeros)
    # Kaiser's empirical beta for a stop-band of 60 dB; the transition is then 1.8 / zeros of the input rate wide.
    beta = 0.1102 * (60 - 8.7)
    window = np.i0(beta * np.sqrt(1 - (t / zeros) ** 2)) / np.i0(beta)
    return rolloff * np.sinc(rolloff * t) * window


def _normalise_phases(taps: np.ndarray, stride: int) -> np.ndarray:
    phases = np.pad(taps, (0, -len(taps) % stride)).reshape(-1, stride)
    return (phases / phases.sum(0)).reshape(-1)[: len(taps)]
