"""Checkerboards in images: how much of what is not flat repeats with a period, whatever layer has made it."""

import math

import torch
from torch import Tensor

from audioup.checks import check_positive


def checkerboard_energy(images: Tensor, period: int) -> Tensor:
    """Measure the share of an image's energy that repeats with ``period`` along both axes.

    The image is cut to a multiple of the period, and each channel loses its mean. Counted are the bins of its 2-D
    Fourier transform whose two frequencies are both multiples of ``1 / period``, without the constant and without those
    that a shorter period counts already: at ``period=4``, ``{0, 1/4, 1/2, 3/4}^2`` without ``{0, 1/2}^2``. So the
    shares of different periods never overlap.

    White noise has the share of its bins: for 32 x 32 samples 3 / 1023 at period 2 and 12 / 1023 at period 4. Stripes
    along one axis count too.

    Args:
        images: Shape ``(..., C, H, W)``, real floating point; channels are summed.
        period: In samples, ``>= 2``; the product of the strides up to the stage in question.

    Returns:
        float64 tensor of shape ``(...)``, 0 to 1; 0 for an image that is flat to the rounding of its type.

    Raises:
        ValueError: If ``period`` is not an integer of at least 2, the images have fewer than three axes, are smaller
            than a period, are not floating point, or hold NaN or infinity.

    Source: the pictures of Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016); the
    measure is this library's.

    Example:
        >>> board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(1, 8, 8)
        >>> checkerboard_energy(board, 2), checkerboard_energy(board, 4)
        (tensor(1., dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    check_positive("period", period)
    if period == 1:
        raise ValueError("period must be at least 2: at 1 there is only the constant")
    if images.dim() < 3 or not images.is_floating_point() or images.numel() == 0:
        raise ValueError(f"images must be floating point (..., C, H, W), got {images.dtype} {tuple(images.shape)}")
    height, width = (length - length % period for length in images.shape[-2:])
    if not height or not width:
        raise ValueError(f"images must be at least period = {period} high and wide, got {tuple(images.shape)}")
    if not images.isfinite().all():
        raise ValueError("images hold NaN or infinity")
    rounding = torch.finfo(images.dtype).eps
    x = images.detach()[..., :height, :width].double()
    largest = x.abs().amax((-3, -2, -1), keepdim=True)
    x = x / torch.where(largest > 0, largest, 1.0)  # so that squares neither run over nor under
    x = x - x.mean((-2, -1), keepdim=True)
    energy = x.square().sum((-3, -2, -1))
    # The bins at multiples of 1 / period are the transform of one period, summed over all repetitions.
    blocks = x.unflatten(-1, (-1, period)).unflatten(-3, (-1, period))  # (..., C, H / p, p, W / p, p)
    lines = torch.fft.fft2(blocks.sum((-4, -2))).abs().square().sum(-3) / (height * width)
    own = [[math.gcd(row, column, period) == 1 for column in range(period)] for row in range(period)]
    counted = lines[..., torch.tensor(own, device=lines.device)].sum(-1)
    flat = energy <= (2 * rounding) ** 2 * math.prod(x.shape[-3:])
    return torch.where(flat, 0.0, counted / torch.where(flat, 1.0, energy)).clamp(max=1.0)
