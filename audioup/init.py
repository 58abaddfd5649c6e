"""Initialisation and normalisation of upsampling weights: no tone, no loss of variance, the norm on the right axis."""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from audioup.checks import per_axis
from audioup.layer import UpsamplingLayer, set_weight_

LayerT = TypeVar("LayerT", bound=UpsamplingLayer)


def icnr_(weight: Tensor, stride: int | Sequence[int], transposed: bool = False) -> Tensor:
    """Give all phases the values of phase 0, in place.

    The layer then starts as nearest-neighbour resizing of one convolution: equal phase gains, so no tone on a constant
    input. That holds at step 0 only, training is free to leave it; `audioup.regularity.regular` holds it.

    Args:
        weight: Already initialised. Sub-pixel: shape ``(out_channels * S, in_channels / groups, *k)``, where ``S`` is
            the product of the strides; also the bias of a plain convolution before a shuffle, shape
            ``(out_channels * S,)``. Transposed: shape ``(in_channels, out_channels / groups, *L)``.
        stride: Output samples per input sample, ``>= 1``, or one for every upsampled axis.
        transposed: Whether the weight is that of a transposed convolution. Taps of an axis beyond a multiple of its
            stride become zero, half of them at either end.

    Returns:
        ``weight``.

    Raises:
        ValueError: If a stride is no positive integer, the phases do not divide the first axis, an axis of a transposed
            weight is shorter than its stride, or the weight is computed by a parametrisation (initialise it before;
            where gradients are off this cannot be told, and the change is lost).

    Source: Aitken et al., "Checkerboard artifact free sub-pixel convolution" (2017).

    Example:
        >>> icnr_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1), 2).flatten()
        tensor([1., 1., 3., 3.])
        >>> icnr_(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), 2, transposed=True).flatten()
        tensor([1., 1., 3., 3.])
    """
    strides = per_axis(stride)
    if weight.grad_fn is not None:
        raise ValueError(
            "weight is computed by a parametrisation, so changing it in place would be lost: initialise first"
        )
    with torch.no_grad():
        if not transposed:
            phases = math.prod(strides)
            if weight.dim() < 1 or weight.shape[0] % phases:
                raise ValueError(
                    f"the first axis of weight must be a multiple of stride = {phases}, got {tuple(weight.shape)}"
                )
            return weight.copy_(weight[::phases].repeat_interleave(phases, dim=0))
        if weight.dim() != 2 + len(strides) or any(n < s for n, s in zip(weight.shape[2:], strides, strict=True)):
            raise ValueError(f"weight must have axes of at least stride = {strides}, got {tuple(weight.shape)}")
        for axis, step in enumerate(strides, start=2):
            spare = weight.shape[axis] % step
            whole = weight.narrow(axis, spare // 2, weight.shape[axis] - spare)
            first = whole.index_select(axis, torch.arange(0, whole.shape[axis], step, device=weight.device))
            copied = first.repeat_interleave(step, dim=axis)
            weight.zero_().narrow(axis, spare // 2, copied.shape[axis]).copy_(copied)
    return weight


def preserve_variance_(layer: nn.Module, gain: float = 1.0) -> None:
    """Scale a layer's weight, and clear its bias, so that white noise leaves with ``gain`` squared times its variance.

    For an input that is white in time and over channels, the variance of output ``o`` at phase ``r`` is the sum of
    squares of the composite kernel over inputs and taps ``r + q s``. This scales the mean of it over outputs and
    phases, measured on the very kernel that is used: interpolation, weight norm and projection are all in it. The usual
    rule ``1 / fan_in`` knows nothing of them: it loses a third of the variance in linear interpolation, and counts a
    transposed convolution's fan the wrong way round.

    Call it after the weight is drawn; it keeps what the weight is otherwise (ICNR stays ICNR).

    Args:
        layer: Any layer of this library, or ``torch.nn.ConvTranspose1d`` / ``ConvTranspose2d``, parametrised or not.
        gain: Wanted ratio of standard deviations, such as ``torch.nn.init.calculate_gain("leaky_relu", 0.1)``.

    Raises:
        TypeError: If the layer is of another kind.
        ValueError: If ``gain`` is not above 0, the kernel is zero or on the meta device, or a parametrisation (spectral
            norm, say) or the old form of weight norm does not let the weight be scaled.

    Source: He et al., "Delving deep into rectifiers" (ICCV 2015), equation 6, for an output that repeats with the
    stride.

    Example:
        >>> from audioup import ResizeConv1d
        >>> layer = ResizeConv1d(64, 64, 9, 8, mode="linear")
        >>> preserve_variance_(layer)
        >>> round(layer(torch.randn(1, 64, 1000)).var().item(), 1)
        1.0
    """
    if not 0 < gain < math.inf:
        raise ValueError(f"gain must be above 0 and finite, got {gain!r}")
    if not isinstance(layer, (UpsamplingLayer, nn.ConvTranspose1d, nn.ConvTranspose2d)):
        raise TypeError(f"layer must be an upsampling layer, got {type(layer).__name__}")
    if layer.weight.is_meta:
        raise ValueError("layer must have a weight to measure, not one on the meta device")
    with torch.no_grad():
        deviation = _mean_power(layer).sqrt()
        if deviation == 0:
            raise ValueError("layer must have a kernel other than zero: draw its weight first")
        weight = layer.weight.to(deviation.dtype) * (gain / deviation)
        set_weight_(layer, weight.to(layer.weight.dtype))
        if not torch.isclose(_mean_power(layer).sqrt() / gain, torch.ones_like(deviation), rtol=0.02):
            raise ValueError("layer has a parametrisation that does not let its weight be scaled")
        if layer.bias is not None:
            layer.bias.zero_()


def _mean_power(layer: UpsamplingLayer | nn.ConvTranspose1d | nn.ConvTranspose2d) -> Tensor:
    # Of the output for white noise of unit variance, over channels and phases.
    if isinstance(layer, UpsamplingLayer):
        kernel, strides = layer.kernel(), layer.strides
    else:
        kernel, strides = layer.weight, layer.stride
    taps = kernel.to(torch.promote_types(kernel.dtype, torch.float32))
    return taps.square().sum() / (math.prod(strides) * layer.out_channels)


def weight_norm(layer: LayerT) -> LayerT:
    """Learn the length and the direction of every output channel's weight apart.

    ``torch.nn.utils.parametrizations.weight_norm`` normalises along axis 0 unless told: per *input* channel in a
    transposed convolution, and phase by phase in a sub-pixel convolution, where it lets a tone in. Here there is one
    length ``g`` for each output channel, over its inputs, taps and phases, in every family and with groups. The weight
    is unchanged at first; `preserve_variance_` and ``reset_parameters`` work before and after. Goes on before
    `audioup.regularity.regular`.

    Args:
        layer: A layer of this library; its ``weight`` becomes ``parametrizations.weight.original0``, the
            ``out_channels`` lengths, and ``original1``, the direction, in the shapes of torch's ``weight_norm`` where
            that agrees: along axis 1 for a transposed convolution without groups, axis 0 for a resize-convolution.

    Returns:
        ``layer``, changed in place.

    Raises:
        TypeError: If the layer is of another kind.
        ValueError: If its weight is parametrised already.

    Source: Salimans & Kingma, "Weight Normalization" (NeurIPS 2016), equation 2.

    Example:
        >>> from audioup import TransposedConv1d
        >>> layer = weight_norm(TransposedConv1d(4, 2, 16, 8))
        >>> [tuple(p.shape) for p in layer.parametrizations.weight.parameters()]
        [(1, 2, 1), (4, 2, 16)]
    """
    if not isinstance(layer, UpsamplingLayer):
        raise TypeError(f"layer must be an upsampling layer of this library, got {type(layer).__name__}")
    if parametrize.is_parametrized(layer, "weight"):
        raise ValueError("layer has a parametrised weight already; weight norm goes on first")
    parametrize.register_parametrization(layer, "weight", _WeightNorm(*layer._by_output()))
    return layer


class _WeightNorm(nn.Module):
    # v has axis 0 divided into `rows`; the norm is taken over the axes `others`, which leaves one value per output.
    def __init__(self, rows: tuple[int, ...], others: tuple[int, ...]) -> None:
        super().__init__()
        self.rows = rows
        self.others = others

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        norm = self._norm(direction)
        # A direction of zeros stays one, instead of turning into NaN.
        scale = length.view_as(norm) / torch.where(norm == 0, 1, norm)
        return (direction.unflatten(0, self.rows) * scale).reshape(direction.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self._norm(weight).flatten(0, len(self.rows) - 1), weight

    def _norm(self, weight: Tensor) -> Tensor:
        return torch.linalg.vector_norm(weight.unflatten(0, self.rows), dim=self.others, keepdim=True)
