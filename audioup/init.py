"""Initialisation of upsampling kernels."""

import torch
from torch import Tensor

from audioup.functional import check_positive


def icnr_(weight: Tensor, stride: int) -> Tensor:
    """Give all phases of a sub-pixel weight the values of its phase 0, in place.

    The layer then starts as nearest-neighbour resizing of one convolution: equal phase gains, so no tone on a constant
    input. That holds at step 0 only; training is free to leave it.

    Args:
        weight: Sub-pixel weight of shape ``(out_channels * stride, in_channels / groups, kernel_size)``, already
            initialised.
        stride: Phases per output channel, ``>= 1``.

    Returns:
        ``weight``.

    Raises:
        ValueError: If ``stride`` is not a positive integer or does not divide the first axis.

    Source: Aitken et al., "Checkerboard artifact free sub-pixel convolution" (2017).

    Example:
        >>> icnr_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1), 2).flatten()
        tensor([1., 1., 3., 3.])
    """
    check_positive("stride", stride)
    if weight.shape[0] % stride:
        raise ValueError(f"the first axis of weight must be a multiple of stride = {stride}, got {tuple(weight.shape)}")
    with torch.no_grad():
        return weight.copy_(weight[::stride].repeat_interleave(stride, dim=0))
