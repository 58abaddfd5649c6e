"""Losses that take stride tones out of a generator: on its sound, and on the kernels of its layers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audioup.batches import LockedLines, RunningLines, locked_lines
from audioup.checks import check_positive

FAINTEST = 10 ** (-110 / 20) / 2  # two-sided amplitude of a sine at -110 dBFS: what is below is no tone to anyone
CHANCE = 1.5  # times the amplitude that examples without a tone have in common: what is below costs nothing


def stride_tone_loss(audio: Tensor, strides: Sequence[int], reference: Tensor | None = None) -> Tensor:
    """Penalise what the examples of a batch have in common at the stride harmonics, beyond chance.

    With the mean ``e_k`` of the audio's `locked_lines`, the variance ``v_k`` and the power ``P_k`` of the reference's:

        mean over k of max(0, |e_k| - 1.5 sqrt(v_k)) / sqrt(P_k + tiny).

    A line that does not depend on the example says nothing about it. Recordings that start anywhere have none, but any
    few examples have something in common by chance, and that costs nothing. ``v_k`` and ``P_k`` pass no gradient, so
    that hiding a line in noise does not pay.

    Args:
        audio: Generated sound, as `locked_lines` takes it. Among few examples only strong lines stand out from chance:
            `StrideToneLoss` averages over batches.
        strides: Upsampling factors from input to output.
        reference: Recordings of the same shape and kind, such as those that the audio is to reproduce. By default the
            audio itself, as a constant.

    Returns:
        Scalar, float32 at least. Its gradient is finite everywhere, also for silence.

    Raises:
        TypeError: If ``audio`` or ``reference`` is no floating-point tensor.
        ValueError: As `locked_lines`, or if the shapes differ.

    Source: the coherent mean of blocks that start on multiples of ``S``, as in `audioup.measure_tones`; the tones are
    those of Pons et al. (ICASSP 2021).

    Example:
        >>> noise = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
        >>> line = torch.cos(torch.pi / 2 * torch.arange(1024))
        >>> [round(stride_tone_loss(noise + a * line, (2, 4)).item(), 3) for a in (0, 0.1, 0.2)]
        [0.0, 0.027, 0.055]
    """
    return _excess(_compare(audio, strides, reference))


class StrideToneLoss(nn.Module):
    """Penalise what generated examples have in common at the stride harmonics, in this batch and those before it.

    `stride_tone_loss` with the running means of `audioup.batches.RunningLines`, which tell fainter lines from chance.
    Its state dict resumes training to the bit.

    The gradient passes through this batch as if it were all there is: it is ``1 / (1 - momentum)`` times, 10 times by
    default, that of the value returned, which forgets as slowly as the mean.

    Beside layers of a regularity order it removes what a nonlinearity still makes of signals that vary. Without such
    layers it is up against kernels that make a line of everything.

    Args:
        strides: Upsampling factors from input to output.
        momentum: From 0 (no memory) to below 1.

    Raises:
        ValueError: If a stride is no positive integer, their product is 1, or ``momentum`` is out of range.

    Example:
        >>> loss = StrideToneLoss((2, 4))
        >>> audio = torch.cos(torch.pi / 2 * torch.arange(64)).expand(3, -1)
        >>> round(loss(audio).item(), 3), round(loss(0 * audio).item(), 3)  # the line is remembered
        (0.043, 0.028)
    """

    def __init__(self, strides: Sequence[int], momentum: float = 0.9) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.running = RunningLines(self.strides, momentum)

    def forward(self, audio: Tensor, reference: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar; the arguments are those of `stride_tone_loss`."""
        return _excess(self.running(_compare(audio, self.strides, reference)))

    def extra_repr(self) -> str:
        """Describe the loss as its constructor call."""
        return f"{self.strides}, momentum={self.running.momentum}"


def kernel_tone_loss(kernel: Tensor, stride: int) -> Tensor:
    """Penalise the share of a kernel's response to a constant that is tone: `audioup.tonal_fraction`, not in dB.

    With phase gains ``g_r``, the sums of the taps ``r, r + s, r + 2 s, ...``, and all their channels (Parseval):

        sum_{k != 0} |G_k|^2 / sum_k |G_k|^2 = sum_r (g_r - mean g)^2 / sum_r g_r^2.

    0 is regularity order 1, which `audioup.regular` holds exactly and without a weight to choose.

    Args:
        kernel: Kernel at the output rate, shape ``(..., L)``, such as ``layer.kernel()``.
        stride: Output samples per input frame.

    Returns:
        Scalar from 0 to 1, float32 at least. A kernel of zeros gives 0, with a gradient of 0.

    Raises:
        ValueError: If ``stride`` is no positive integer or the kernel is empty.

    Example:
        >>> kernel_tone_loss(torch.tensor([1.0, 1.0, 1.0]), 2)  # 1/9 against 1 + 1/9
        tensor(0.1000)
    """
    check_positive("stride", stride)
    if kernel.dim() < 1 or kernel.numel() == 0:
        raise ValueError(f"kernel must hold at least one tap, got shape {tuple(kernel.shape)}")
    taps = kernel.to(torch.promote_types(kernel.dtype, torch.float32))
    gains = F.pad(taps, (0, -taps.shape[-1] % stride)).unflatten(-1, (-1, stride)).sum(-2)
    tone = (gains - gains.mean(-1, keepdim=True)).square().sum()
    whole = gains.square().sum()
    return tone / torch.where(whole > 0, whole, 1.0)


def _compare(audio: Tensor, strides: Sequence[int], reference: Tensor | None) -> LockedLines:
    found = locked_lines(audio, strides)
    if reference is None:
        return found
    if isinstance(reference, Tensor) and reference.shape != audio.shape:
        raise ValueError(f"reference must have audio's shape, {tuple(audio.shape)}, got {tuple(reference.shape)}")
    _, variance, power = locked_lines(reference, strides)
    return LockedLines(found.lines, variance, power)


def _excess(found: LockedLines) -> Tensor:
    excess = (found.lines.abs() - CHANCE * found.variance.sqrt()).relu()
    return (excess / (found.power + FAINTEST**2).sqrt()).mean()
