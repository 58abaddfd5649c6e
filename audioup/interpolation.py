"""Interpolation filters: the fixed part ``a`` of a resize-convolution, at the output rate.

Every filter is designed in float64, symmetric, and has unit sum *in each phase* ``a[r], a[r + s], a[r + 2 s], ...``, so
that a constant stays constant. Normalising only the total would leave a tone at the stride harmonics (about -62 dB for
a sinc at stride 8). Centred by the library's rule ``origin = (L - s + 1) // 2`` they have no delay.
"""

import numpy as np
import torch
from torch import Tensor

from audioup.functional import check_choice, check_positive

MODES = ("nearest", "linear", "sinc")


def interpolation_filter(mode: str, stride: int, zeros: int = 6, rolloff: float = 1.0) -> Tensor:
    """Design the filter that turns a signal with ``stride - 1`` zeros between its samples into the interpolated one.

    Args:
        mode: ``"nearest"`` (``stride`` taps), ``"linear"`` (half-pixel aligned: ``2 stride`` taps, ``2 stride - 1`` for
            odd strides) or ``"sinc"`` (Kaiser-windowed, ``2 zeros stride`` taps, one fewer for odd strides).
        stride: Output samples per input sample, ``>= 1``.
        zeros: Zero crossings of the sinc on either side of its peak, that is, its reach in input samples.
        rolloff: Cut-off of the sinc as a share of the input's Nyquist frequency, ``0 < rolloff <= 1``.

    Returns:
        float64 tensor of shape ``(L,)``; gain 1 at DC in every phase.

    Raises:
        ValueError: If the mode is unknown or a number is out of range.

    Source: Smith, "Digital Audio Resampling Home Page" (2002) for the windowed sinc; half-pixel alignment is that of
    ``torch.nn.functional.interpolate(align_corners=False)``.

    Example:
        >>> interpolation_filter("linear", 2)
        tensor([0.2500, 0.7500, 0.7500, 0.2500], dtype=torch.float64)
    """
    check_choice("mode", mode, MODES)
    check_positive("stride", stride)
    if mode == "sinc":
        taps = _sinc(stride, zeros, rolloff)
    elif mode == "linear":
        # The triangle 1 - |t|, sampled where output samples lie between input samples when frames are centred.
        taps = 1 - np.abs(_offsets(stride, reach=1))
    else:
        taps = np.ones(stride)
    return torch.from_numpy(_normalise_phases(taps, stride))


def _offsets(stride: int, reach: int) -> np.ndarray:
    # Distance of each tap from the frame's centre in input samples; the length has the parity of the stride, which
    # makes the delay (L - s) / 2 - (L - s + 1) // 2 zero.
    length = 2 * reach * stride - stride % 2
    return (np.arange(length) - (length - 1) / 2) / stride


def _sinc(stride: int, zeros: int, rolloff: float) -> np.ndarray:
    check_positive("zeros", zeros)
    if not 0 < rolloff <= 1:
        raise ValueError(f"rolloff must be above 0 and at most 1, got {rolloff!r}")
    t = _offsets(stride, reach=zeros)
    # Kaiser's empirical beta for a stop-band of 60 dB; the transition is then 1.8 / zeros of the input rate wide.
    beta = 0.1102 * (60 - 8.7)
    window = np.i0(beta * np.sqrt(1 - (t / zeros) ** 2)) / np.i0(beta)
    return rolloff * np.sinc(rolloff * t) * window


def _normalise_phases(taps: np.ndarray, stride: int) -> np.ndarray:
    phases = np.pad(taps, (0, -len(taps) % stride)).reshape(-1, stride)
    return (phases / phases.sum(0)).reshape(-1)[: len(taps)]
