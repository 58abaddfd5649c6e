"""The window of each layer, and function, whose output depends on neighbouring frames; see `audioup.sliding`."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from audioup.activation import Oversampled
from audioup.engines import Geometry, arrange, shuffle
from audioup.sliding import Window

WINDOWED = (nn.Conv1d, nn.ConvTranspose1d, nn.ConstantPad1d, nn.ReplicationPad1d, Oversampled)
FEW_FRAMES = 16
CAN_PAD = "only zeros, constants and replicate can be streamed, along time"


def window_of(name: str, layer: nn.Module) -> Window | None:
    """Make the window of a layer; None for a type that has none."""
    if isinstance(layer, nn.Conv1d):
        fill = None if layer.padding_mode == "replicate" else 0.0
        sizes = layer.stride, layer.padding, layer.dilation
        return convolution(name, layer.weight, layer.bias, *sizes, layer.groups, fill)
    if isinstance(layer, nn.ConvTranspose1d):
        sizes = layer.stride, layer.padding, layer.output_padding
        return transposed_convolution(name, layer.weight, layer.bias, *sizes, layer.groups, layer.dilation)
    if isinstance(layer, nn.ConstantPad1d):
        return pad(name, layer.padding, "constant", layer.value)
    if isinstance(layer, nn.ReplicationPad1d):
        return pad(name, layer.padding, "replicate")
    if isinstance(layer, Oversampled):
        far = layer.left + layer.right
        fill = None if layer.padding_mode == "replicate" else 0.0
        return Window(name, layer.within, reach=2 * far, before=far, after=far, fill=fill)
    return None


def convolution(
    name: str,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    fill: float | None = 0.0,
) -> Window:
    """Make the window of ``torch.nn.functional.conv1d``; ``fill`` is that of `Window`."""
    if _number(stride) != 1:
        raise ValueError(f"{name} has stride {_number(stride)}: only convolutions of stride 1 can be streamed")
    step = _number(dilation)
    reach = step * (weight.shape[-1] - 1)
    if isinstance(padding, str):
        before, after = (reach // 2, reach - reach // 2) if padding == "same" else (0, 0)
    else:
        before = after = _number(padding)
    return Window(
        name,
        lambda x: _convolve(x, weight, bias, step, groups),
        reach=reach,
        before=before,
        after=after,
        fill=fill,
        weight=weight,
        inputs=weight.shape[1] * groups,
        outputs=weight.shape[0],
    )


def transposed_convolution(
    name: str,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Window:
    """Make the window of ``torch.nn.functional.conv_transpose1d``."""
    s, crop, step = _number(stride), _number(padding), _number(dilation)
    kernel = weight.new_zeros(*weight.shape[:2], step * (weight.shape[-1] - 1) + 1)
    kernel[..., ::step] = weight
    length = kernel.shape[-1]
    # The operator of origin 0 looks back only: s T samples, of which `crop` are dropped. The whole has (T - 1) s +
    # length + output_padding - 2 crop, for which frames of zeros follow the last.
    after = max(0, -((crop + s - length - _number(output_padding)) // s))
    geometry = Geometry((length,), (s,), (0,), groups)
    reach, _ = geometry.context()[0]
    # The polyphase engine of a causal kernel whose context is at hand: a convolution without padding, interleaved.
    phases = arrange(kernel, geometry, "polyphase")
    phase_bias = None if bias is None else bias.repeat_interleave(s)
    return Window(
        name,
        lambda x: shuffle(_convolve(x, phases, phase_bias, 1, groups), (s,)),
        reach=reach,
        before=reach,
        after=after,
        ratio=s,
        first=crop,
        spare=s * (after + 1) - length - _number(output_padding) + crop,
        weight=weight,
        inputs=weight.shape[0],
        outputs=weight.shape[1] * groups,
    )


def pad(name: str, amounts: Any, mode: str = "constant", value: float | None = None) -> Window:
    """Make the window of ``torch.nn.functional.pad`` along time; amounts below 0 crop."""
    if mode not in ("constant", "replicate") or len(amounts) != 2:
        raise ValueError(f"{name} pads {tuple(amounts)} in mode {mode!r}: {CAN_PAD}")
    before, after = amounts
    return Window(
        name,
        lambda x: x,
        before=max(0, before),
        after=max(0, after),
        fill=None if mode == "replicate" else value or 0.0,
        first=max(0, -before),
        spare=max(0, -after),
    )


def cut(name: str, index: Any) -> Window:
    """Make the window of ``x[..., a:-b]``.

    Raises:
        TypeError: If the index is another.
    """
    *others, time = index if isinstance(index, tuple) else (index,)
    whole = all(other is Ellipsis or other == slice(None) for other in others)
    if whole and (Ellipsis in others or len(others) == 2) and isinstance(time, slice) and time.step in (None, 1):
        start, stop = time.start or 0, time.stop or 0
        if isinstance(start, int) and isinstance(stop, int) and start >= 0 >= stop and time.stop != 0:
            return pad(name, (-start, stop))
    raise TypeError(f"{name} takes {index!r}: only x[..., a:-b] along time can be streamed")


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, groups: int) -> Tensor:
    # torch's convolution of a few frames takes 1.5 to 9 times as long as this product on a CPU, and rounds more.
    reach = dilation * (weight.shape[-1] - 1)
    if not x.is_cpu or groups > 1 or x.shape[-1] - reach > FEW_FRAMES:
        return F.conv1d(x, weight, bias, dilation=dilation, groups=groups)
    seen = x.unfold(-1, reach + 1, 1)[..., ::dilation]  # (batch, in, frames, taps)
    return F.linear(seen.transpose(1, 2).flatten(2), weight.flatten(1), bias).transpose(1, 2)


def _number(value: Any) -> int:
    number: int = value[0] if isinstance(value, (tuple, list)) else value
    return number
