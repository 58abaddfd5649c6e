"""What an upsampling kernel passes and what it copies: droop, images, delay and reach, from weights alone.

An input sine at ``f`` cycles per frame leaves the operator as a sine at ``f`` and, for ``0 < |k|``, images at
``k +- f`` cycles per frame, each weighted by the kernel's transform ``H`` there. Too much of the images is a whistle,
too little of the sine is a dull sound: both belong on one page.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from audioup.checks import check_positive
from audioup.functional import context

IMAGE_BAND = (0.01, 0.45)  # cycles per input frame, where images and pass-band are compared
GRID = 89  # frequencies within that band


@dataclass(frozen=True)
class FilterResponse:
    """The response of a kernel that upsamples by ``stride``, centred; levels in dB, root sum of squares over channels.

    Attributes:
        droop_quarter_db: Gain for a sine at 0.25 of the input rate, relative to a constant.
        droop_edge_db: Gain for a sine at 0.45 of the input rate, relative to a constant.
        image_db: The strongest image relative to the sine it copies, worst over sines at 0.01 to 0.45 of the input
            rate.
        stop_band_db: The strongest image of those sines, relative to the gain for a constant.
        delay: Of a symmetric kernel, in output samples.
        context: Input frames used before and after a sample's own.
    """

    droop_quarter_db: float
    droop_edge_db: float
    image_db: float
    stop_band_db: float
    delay: float
    context: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return asdict(self)


def filter_response(kernel: Tensor, stride: int) -> FilterResponse:
    """Measure what a kernel passes and what it copies.

    Args:
        kernel: Kernel at the output rate, shape ``(..., L)``: an interpolation filter or ``layer.kernel()``.
        stride: Output samples per input frame, ``>= 2``.

    Returns:
        Droop, images, delay and reach.

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
    if kernel.dim() < 1 or not kernel.any():
        raise ValueError(f"kernel must hold taps other than zero, got shape {tuple(kernel.shape)}")
    sines = torch.linspace(*IMAGE_BAND, GRID, dtype=torch.float64)
    copies = torch.arange(1, stride // 2 + 1, dtype=torch.float64)
    images = torch.stack([copies[:, None] - sines, copies[:, None] + sines])  # |H| is even and has the period s
    passed, copied = _power(kernel, sines / stride), _power(kernel, images / stride)
    worst = copied.amax((0, 1))
    at = torch.tensor([0.0, 0.25, 0.45], dtype=torch.float64)
    constant, quarter, edge = _power(kernel, at / stride)
    length = kernel.shape[-1]
    origin = (length - stride + 1) // 2
    return FilterResponse(
        droop_quarter_db=_db(quarter / constant),
        droop_edge_db=_db(edge / constant),
        image_db=_db((worst / passed).max()),
        stop_band_db=_db(worst.max() / constant),
        delay=(length - stride) / 2 - origin,
        context=context(length, stride, origin),
    )


def _power(kernel: Tensor, cycles: Tensor) -> Tensor:
    # |H(f)|^2 summed over channels, for f in cycles per output sample.
    taps = kernel.detach().double().cpu().reshape(-1, kernel.shape[-1])
    angle = 2 * torch.pi * cycles[..., None] * torch.arange(kernel.shape[-1], dtype=torch.float64)
    transform = torch.polar(torch.ones_like(angle), -angle) @ taps.T.to(torch.complex128)
    return transform.abs().square().sum(-1)


def _db(ratio: Tensor) -> float:
    return float(10 * torch.log10(ratio))
