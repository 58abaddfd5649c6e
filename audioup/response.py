"""What an upsampling kernel passes and what it copies: droop, images, phase power, delay and reach, from weights alone.

An input sine at ``f`` cycles per frame leaves the operator as a sine at ``f`` and, for ``0 < |k|``, images at
``k +- f`` cycles per frame, each weighted by the kernel's transform ``H`` there. Too much of the images is a whistle,
too little of the sine is a dull sound: both belong on one page. For images, frames and cycles are counted per axis.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from audioup.checks import check_positive, per_axis
from audioup.functional import context
from audioup.tones import phase_sums

IMAGE_BAND = (0.01, 0.45)  # cycles per input frame, where images and pass-band are compared
GRID = 89  # frequencies within that band
ROUNDING = 2.0**-52  # of float64


@dataclass(frozen=True)
class FilterResponse:
    """The response of a kernel that upsamples by ``stride``, centred; levels in dB, root sum of squares over channels.

    Attributes:
        droop_quarter_db: Gain for a sine at 0.25 of the input rate, relative to a constant.
        droop_edge_db: Gain for a sine at 0.45 of the input rate, relative to a constant.
        image_db: The strongest image relative to the sine it copies, worst over sines at 0.01 to 0.45 of the input
            rate.
        stop_band_db: The strongest image of those sines, relative to the gain for a constant.
        phase_power_db: Power of white noise at the loudest phase over that at the softest; see `phase_power`.
        delay: Of a symmetric kernel, in output samples.
        context: Input frames used before and after a sample's own.
    """

    droop_quarter_db: float
    droop_edge_db: float
    image_db: float
    stop_band_db: float
    phase_power_db: float
    delay: float
    context: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON, with None for what is not finite (a phase without taps, say)."""
        numbers = asdict(self)
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in numbers.items()
        }


def filter_response(kernel: Tensor, stride: int) -> FilterResponse:
    """Measure what a kernel passes and what it copies.

    Args:
        kernel: Kernel at the output rate, shape ``(..., L)``: an interpolation filter or ``layer.kernel()``.
        stride: Output samples per input frame, ``>= 2``.

    Returns:
        Droop, images, phase power, delay and reach.

    Raises:
        ValueError: If ``stride`` is not an integer of at least 2 or the kernel is empty or zero.

    Source: Crochiere & Rabiner, "Multirate Digital Signal Processing" (1983), section 2.4.

    Example:
        >>> from audioup.interpolation import interpolation_filter
        >>> round(filter_response(interpolation_filter("sinc", 8), 8).image_db)
        -11
    """
    check_positive("stride", stride)
    if stride == 1:
        raise ValueError("stride must be at least 2: at stride 1 there are no images")
    sines = torch.linspace(*IMAGE_BAND, GRID, dtype=torch.float64)
    passed, copied, constant = _powers(kernel, (stride,), sines)
    quarter, edge = passband_droop(kernel, stride, torch.tensor([0.25, 0.45])).tolist()
    length = kernel.shape[-1]
    origin = (length - stride + 1) // 2
    return FilterResponse(
        droop_quarter_db=quarter,
        droop_edge_db=edge,
        image_db=_db((copied / passed[:, None]).max()).item(),
        stop_band_db=_db(copied.max() / constant).item(),
        phase_power_db=phase_power(kernel, stride).item(),
        delay=(length - stride) / 2 - origin,
        context=context(length, stride, origin),
    )


def image_response(kernel: Tensor, stride: int | Sequence[int], frequency: Tensor) -> Tensor:
    """Measure the images of sines, relative to the sines that they copy, in dB.

    Args:
        kernel: Kernel at the output rate, shape ``(..., L)``, or ``(..., L_h, L_w)`` for a pair of strides; channels
            are summed as root sum of squares.
        stride: Output samples per input frame; a pair for images.
        frequency: Of the sines, in cycles per frame, shape ``(F,)``, 0 to 0.5; for a pair ``(F, 2)``, -0.5 to 0.5: a
            wave across the image has a direction.

    Returns:
        float64 tensor of shape ``(F, stride - 1)``: ``20 log10(|H(c)| / |H(f)|)`` at the output frequencies ``c = 1 -
        f, 1 + f, 2 - f, ...`` cycles per frame, ascending, as far as ``stride / 2``. At ``f = 0`` the copies at ``k``
        coincide, and each has the level of `tone_response`. For a pair, shape ``(F, s_h, s_w)`` with the copy at
        ``(k_h + f_h, k_w + f_w)`` at ``[k_h, k_w]``, in the order of ``torch.fft.fft2``, and 0 dB at ``[0, 0]``.
        Where nothing passes at ``f``, a copy is at ``inf``, and at ``nan`` if nothing comes out there either.
        Zero is what lies within rounding of it.

    Raises:
        ValueError: If ``stride`` is not a positive integer or a pair of them, the kernel is empty or zero, or a
            frequency is out of range or has another shape.

    Source: Crochiere & Rabiner, "Multirate Digital Signal Processing" (1983), section 2.4.

    Example:
        >>> image_response(torch.ones(2), 2, torch.tensor([0.1, 0.25]))  # nearest neighbour: cot(pi f / 2)
        tensor([[-16.0057],
                [ -7.6555]], dtype=torch.float64)
    """
    strides = per_axis(stride)
    passed, copied, _ = _powers(kernel, strides, frequency)
    return _db(copied / passed.view(-1, *[1] * len(strides)))


def passband_droop(kernel: Tensor, stride: int | Sequence[int], frequency: Tensor) -> Tensor:
    """Measure the gain for sines relative to that for a constant, in dB: how dull what is upsampled sounds.

    Args:
        kernel: As for `image_response`.
        stride: Output samples per input frame; a pair for images.
        frequency: As for `image_response`.

    Returns:
        float64 tensor of shape ``(F,)``, below 0 where highs are lost; ``-inf`` where nothing passes, ``inf`` where
        only the constant does not.

    Raises:
        ValueError: As `image_response`.

    Example:
        >>> passband_droop(torch.ones(2), 2, torch.tensor([0.25, 0.5]))  # nearest neighbour: cos(pi f / 2)
        tensor([-0.6877, -3.0103], dtype=torch.float64)
    """
    passed, _, constant = _powers(kernel, per_axis(stride), frequency)
    return _db(passed / constant)


def phase_power(kernel: Tensor, stride: int | Sequence[int]) -> Tensor:
    """Compare the power that white noise has at the loudest output phase with that at the softest, in dB.

    White noise of unit variance leaves phase ``r`` with the variance ``sum_q h[r + q s]^2``. Where it differs the noise
    is modulated with the stride, a buzz that no constant shows; it may differ though the phase gains are all equal.

    Args:
        kernel: As for `image_response`; the variances of channels are summed.
        stride: Output samples per input frame; a pair for images.

    Returns:
        float64 scalar tensor, 0 when all phases are alike, ``inf`` when a phase has no taps other than zero.

    Raises:
        ValueError: If ``stride`` is not a positive integer or a pair of them, or the kernel is empty or zero.

    Example:
        >>> phase_power(torch.tensor([1.0, 1.0, 1.0]), 2)  # variances 2 and 1
        tensor(3.0103, dtype=torch.float64)
    """
    strides = per_axis(stride)
    _check_taps(kernel, strides)
    variance = phase_sums(kernel.detach().double().square(), strides).reshape(-1, *strides).sum(0)
    return _db(variance.max() / variance.min())


def _check_taps(kernel: Tensor, strides: Sequence[int]) -> None:
    if kernel.dim() < len(strides) or not kernel.any():
        raise ValueError(f"kernel must hold taps other than zero, got shape {tuple(kernel.shape)}")
    if len(strides) > 2:
        raise ValueError(f"stride must be one integer or a pair, got {tuple(strides)}")


def _powers(kernel: Tensor, strides: Sequence[int], frequency: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``|H|^2``, summed over channels, at the sines, at their copies, and for a constant."""
    _check_taps(kernel, strides)
    frequency = frequency.detach().double().cpu()
    axes, lowest = len(strides), 0.0 if len(strides) == 1 else -0.5
    shape = "(F,)" if axes == 1 else f"(F, {axes})"
    if frequency.dim() != axes or (axes == 2 and frequency.shape[1] != 2):
        raise ValueError(f"frequency must have shape {shape}, got {tuple(frequency.shape)}")
    if not ((frequency >= lowest) & (frequency <= 0.5)).all():
        raise ValueError(f"frequency must be from {lowest:g} to 0.5 cycles per frame, got {frequency.tolist()}")
    if axes == 1:
        # Copy n = 1, 2, 3, ... of a sine is at 1 - f, 1 + f, 2 - f, ...
        n = torch.arange(strides[0], dtype=torch.float64)
        cycles = [(n + 1).div(2, rounding_mode="floor") + (1 - 2 * (n % 2)) * frequency[:, None]]
    else:
        cycles = [
            torch.arange(s, dtype=torch.float64) + at[:, None] for s, at in zip(strides, frequency.T, strict=True)
        ]
    power = _transform_power(kernel, [c / s for c, s in zip(cycles, strides, strict=True)])
    constant = _transform_power(kernel, [torch.zeros(1, 1, dtype=torch.float64)] * axes).flatten()[0]
    if axes == 1:
        return power[:, 0], power[:, 1:], constant
    return power[:, 0, 0], power, constant


def _transform_power(kernel: Tensor, cycles: Sequence[Tensor]) -> Tensor:
    # |H|^2 summed over channels, shape (F, n) or (F, n_h, n_w), for cycles per output sample (F, n) of each axis.
    lengths = kernel.shape[-len(cycles) :]
    taps = kernel.detach().double().cpu().reshape(-1, math.prod(lengths))
    if len(taps) > taps.shape[1]:
        # Only the inner products of taps count, summed over channels, and R of taps = QR has them too.
        taps = torch.linalg.qr(taps, mode="r").R
    transform = taps.unflatten(-1, lengths).to(torch.complex128)
    waves = []
    for at, length in zip(cycles, lengths, strict=True):
        angle = -2 * torch.pi * at[..., None] * torch.arange(length, dtype=torch.float64)
        waves.append(torch.polar(torch.ones_like(angle), angle))
    formula = "cl,fnl->fnc" if len(cycles) == 1 else "clm,fnl,fkm->fnkc"
    power = torch.einsum(formula, transform, *waves).abs().square().sum(-1)
    largest = taps.abs().sum(-1).square().sum()
    return torch.where(power <= (ROUNDING * taps.shape[-1]) ** 2 * largest, 0.0, power)


def _db(ratio: Tensor) -> Tensor:
    return 10 * torch.log10(ratio)
