"""How often each output sample is written to: overlap of transposed convolutions, and any layer as a matrix.

A transposed convolution puts a copy of its kernel at every `stride`-th sample. Where copies overlap more often, more
comes out, unless the weights make up for it: the pattern that is left when they do not is `count`, the layer with all
weights 1 on a constant 1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audioup.checks import check_positive, pair

LINEAR = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the largest response; the others are rounded more
LINEAR_ELSE = 0.05
LONGEST = 2**28  # counts


def count(length: int, kernel_size: int, stride: int) -> Tensor:
    """Count how many placements of a kernel cover each output sample.

    Inside, the count repeats every ``stride`` samples; it is even if and only if ``stride`` divides ``kernel_size``.

    Args:
        length: Input frames, one placement each.
        kernel_size: Taps of the kernel.
        stride: Output samples from one placement to the next.

    Returns:
        int64 tensor of shape ``((length - 1) * stride + kernel_size,)``, uncropped; 0 where no placement reaches.

    Raises:
        ValueError: If an argument is not an integer of at least 1.

    Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016).

    Example:
        >>> count(8, 3, 2)
        tensor([1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 1])
    """
    return stack(length, [(kernel_size, stride)])


def stack(length: int, layers: Sequence[tuple[int, int]]) -> Tensor:
    """Count in how many ways each output sample of several layers is reached: uneven overlaps multiply.

    The count of all-ones layers on a constant 1, one after the other. A last layer of stride 1 smooths it: its kernel
    is a box.

    Args:
        length: Input frames of the first layer.
        layers: ``(kernel_size, stride)`` of each layer, in the order of `count`.

    Returns:
        int64 tensor; each layer makes ``(T - 1) * stride + kernel_size`` samples of ``T``.

    Raises:
        ValueError: If an entry is not an integer of at least 1, or no layers are given.

    Example:
        >>> stack(8, [(3, 2), (3, 2)])[8:16]  # inside: 3, 2, 3, 1
        tensor([3, 2, 3, 1, 3, 2, 3, 1])
    """
    check_positive("length", length)
    length_in = length
    if not isinstance(layers, Sequence) or not layers:
        raise ValueError(f"layers must name (kernel_size, stride) at least once, got {layers!r}")
    for layer in layers:
        kernel_size, stride = pair("every layer", layer)
        check_positive("kernel_size", kernel_size)
        check_positive("stride", stride)
        length = (length - 1) * stride + kernel_size
    if length > LONGEST:
        raise ValueError(f"length and layers must make at most {LONGEST} counts, got {length}")
    counts = torch.ones(1, 1, length_in, dtype=torch.float64)
    for kernel_size, stride in layers:
        counts = F.conv_transpose1d(counts, counts.new_ones(1, 1, kernel_size), stride=stride)
    return counts[0, 0].round().long()


def count2d(length: tuple[int, int], kernel_size: int | tuple[int, int], stride: int | tuple[int, int]) -> Tensor:
    """Count how many placements cover each sample of an image: the outer product of the counts along both axes.

    Args:
        length: Placements along height and width.
        kernel_size: Taps, for both axes or a pair.
        stride: Samples between placements, for both axes or a pair.

    Returns:
        int64 tensor of shape ``((h - 1) * stride_h + kernel_h, (w - 1) * stride_w + kernel_w)``.

    Raises:
        ValueError: As `count`, or if ``length`` is no pair.

    Source: Odena, Dumoulin & Olah (Distill, 2016): what is uneven along both axes is uneven squared.

    Example:
        >>> count2d((2, 3), 3, 2)
        tensor([[1, 1, 2, 1, 2, 1, 1],
                [1, 1, 2, 1, 2, 1, 1],
                [2, 2, 4, 2, 4, 2, 2],
                [1, 1, 2, 1, 2, 1, 1],
                [1, 1, 2, 1, 2, 1, 1]])
    """
    sizes, kernel_sizes, strides = pair("length", length), pair("kernel_size", kernel_size), pair("stride", stride)
    rows, columns = (count(n, k, s) for n, k, s in zip(sizes, kernel_sizes, strides, strict=True))
    return torch.outer(rows, columns)


def operator_matrix(layer: nn.Module, length: int | tuple[int, int]) -> Tensor:
    """Write a linear layer, without its bias, as the matrix that it multiplies its input with.

    Column ``j`` is what an impulse at place ``j`` of the flattened input becomes, less what zeros become.

    Args:
        layer: Any module that is linear but for a bias: a layer of this library or of torch, or several in a row. It
            runs in the mode it is in, in the type and on the device of its parameters. Its input channels are the
            ``in_channels`` of the first submodule that has some, else 1.
        length: Frames of the input; a pair for images.

    Returns:
        Tensor of shape ``(outputs, inputs)`` over the flattened ``(channels, samples)`` or ``(channels, height,
        width)``.

    Raises:
        TypeError: If the module does not return a tensor.
        ValueError: If the length is out of range, or the module is not linear: an input and its negative give another
            result, or it norms by its batch.

    Source: Odena, Dumoulin & Olah (Distill, 2016), who compare resize-convolution and deconvolution by their matrices.

    Example:
        >>> layer = nn.ConvTranspose1d(1, 1, 3, stride=2)
        >>> _ = nn.init.ones_(layer.weight)
        >>> operator_matrix(layer, 2)
        tensor([[1., 0.],
                [1., 0.],
                [1., 1.],
                [0., 1.],
                [0., 1.]])
    """
    sizes = pair("length", length) if isinstance(length, (tuple, list)) else (length,)
    for size in sizes:
        check_positive("length", size)
    if any(getattr(part, "running_mean", None) is not None and part.training for part in layer.modules()):
        raise ValueError("layer must not norm by its batch, which is not linear: call eval() first")
    channels: int = next((vars(part)["in_channels"] for part in layer.modules() if "in_channels" in vars(part)), 1)
    like = next(layer.parameters(), torch.zeros(0))
    inputs = channels * torch.Size(sizes).numel()
    impulses = torch.eye(inputs, dtype=like.dtype, device=like.device).reshape(inputs, channels, *sizes)
    # Fixed by hand, so that the same layer is always judged alike; no draw from anybody's random state.
    probe = torch.sin(torch.arange(1, inputs + 1, dtype=torch.float64) ** 2).to(like).reshape(1, channels, *sizes)
    with torch.no_grad():
        outputs = layer(torch.cat([impulses, 4 * probe, -4 * probe, torch.zeros_like(probe)]))
    if not isinstance(outputs, Tensor):
        raise TypeError(f"layer must return a tensor, got {type(outputs).__name__}")
    responses = (outputs[:-1] - outputs[-1:]).flatten(1)
    matrix = responses[:-2].T
    expected = matrix @ (4 * probe.flatten())
    # A bias is rounded with what it is added to.
    rounding = 16 * torch.finfo(outputs.dtype).eps * inputs * outputs.abs().max()
    allowed = LINEAR.get(like.dtype, LINEAR_ELSE) * responses.abs().max() + rounding
    errors = torch.stack([expected - responses[-2], -expected - responses[-1]])
    if not errors.abs().max() <= allowed:
        raise ValueError("layer must be linear but for a bias, yet does not add up what it makes of impulses")
    return matrix.contiguous()
