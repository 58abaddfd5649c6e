"""Losses that take stride tones out of a generator: on its sound, and on the kernels of its layers.

A generator's examples all start at its own sample 0, so what they have in common at the harmonics of the period ``S``
of its strides is locked to the sample index: a tone, and no information about any of them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from audioup.checks import check_positive

FAINTEST = 10 ** (-110 / 20) / 2  # two-sided amplitude of a sine at -110 dBFS: what is below is no tone to anyone
CHANCE = 1.5  # times the amplitude that examples without a tone have in common: what is below costs nothing
LEAST_PERIODS = 4  # of an example: fewer cannot tell a harmonic from the next


class LockedLines(NamedTuple):
    """What examples have in common at the stride harmonics ``k = 1 .. S // 2``; every tensor has shape ``(S // 2,)``.

    Attributes:
        lines: Mean over examples of ``z_k``, complex: two-sided amplitude and phase.
        variance: What ``|lines|^2`` is expected to be if the examples have nothing in common: the mean of ``|z_k|^2``
            over their number.
        power: Mean power around the harmonic, in a band ``sample_rate / S`` wide.
    """

    lines: Tensor
    variance: Tensor
    power: Tensor


def locked_lines(audio: Tensor, strides: Sequence[int]) -> LockedLines:
    """Find what the examples of a batch have in common at the harmonics of ``S = prod(strides)``.

    With ``w`` a Hann window over the whole example, which keeps loud partials beside a harmonic out of it,

        z_k = sum_n w_n y_n exp(-2 pi i k n / S) / sum_n w_n;

    the power is that of single periods, without a window. Computed in float32 at least, also under autocast.

    Args:
        audio: Generated sound, shape ``(batch, T)`` or ``(batch, 1, T)`` with ``T >= 4 S``, full scale 1, each example
            from the generator's own sample 0. Whole periods of it are used.
        strides: Upsampling factors from input to output; only their product matters.

    Raises:
        TypeError: If ``audio`` is no floating-point tensor.
        ValueError: If it has another shape or is too short, a stride is no positive integer, or their product is 1.

    Example:
        >>> audio = 0.1 * torch.sin(torch.pi / 2 * torch.arange(64)).expand(3, -1)
        >>> locked_lines(audio, (2, 4)).lines.abs().round(decimals=3)  # half the sine's amplitude, at 2 / 8
        tensor([0.0000, 0.0500, 0.0000, 0.0000])
    """
    period = check_period(strides)
    if not isinstance(audio, Tensor) or not audio.is_floating_point():
        raise TypeError(f"audio must be a floating-point tensor, got {getattr(audio, 'dtype', type(audio).__name__)}")
    shape = tuple(audio.shape)
    if audio.dim() == 3 and shape[1] == 1:
        audio = audio.squeeze(1)
    if audio.dim() != 2 or shape[0] < 1:
        raise ValueError(f"audio must have shape (batch, T) or (batch, 1, T), got {shape}")
    if shape[-1] < LEAST_PERIODS * period:
        raise ValueError(f"audio must hold {LEAST_PERIODS} periods of {period} samples, got {shape[-1]} samples")
    with torch.autocast(audio.device.type, enabled=False):
        audio = audio.to(torch.promote_types(audio.dtype, torch.float32))
        periods = audio[:, : shape[-1] // period * period].unflatten(1, (-1, period))
        window = torch.hann_window(periods[0].numel(), dtype=audio.dtype, device=audio.device).view(-1, period)
        # The exponential is the same in all periods: one short transform of their weighted sum is enough.
        z = torch.fft.rfft((window * periods).sum(1))[:, 1:] / window.sum()
        power = (torch.fft.rfft(periods.detach())[..., 1:].abs() / period).square().mean((0, 1))
        return LockedLines(z.mean(0), z.detach().abs().square().mean(0) / len(z), power)


def blend(now: LockedLines, before: LockedLines, momentum: float | Tensor) -> LockedLines:
    """Average over batches: ``momentum`` of what was ``before``, the rest of what is ``now``.

    The gradient passes through ``now.lines`` as if they were all of it.
    """
    rest = 1 - momentum
    return LockedLines(
        (momentum * before.lines + rest * now.lines).detach() + _zero(now.lines),
        momentum**2 * before.variance + rest**2 * now.variance,  # of a sum of independent terms
        momentum * before.power + rest * now.power,
    )


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

    `stride_tone_loss` with running means: ``e_k`` and ``P_k`` are ``momentum`` of what they were and the rest of this
    batch's (plain means in the first batches), ``v_k`` follows. The gradient passes through this batch's ``e_k`` as if
    it were all of it. Means run in training mode only. They are buffers, so that a state dict resumes them to the bit,
    and they are averaged over processes where ``torch.distributed`` runs.

    Beside layers of a regularity order it removes what a nonlinearity still makes of signals that vary; without such
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

    lines: Tensor
    variance: Tensor
    power: Tensor
    batches: Tensor

    def __init__(self, strides: Sequence[int], momentum: float = 0.9) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {momentum}")
        self.strides, self.momentum = tuple(strides), momentum
        harmonics = check_period(strides) // 2
        # Real and imaginary parts: complex buffers do not survive `half()`.
        self.register_buffer("lines", torch.zeros(harmonics, 2))
        self.register_buffer("variance", torch.zeros(harmonics))
        self.register_buffer("power", torch.zeros(harmonics))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, audio: Tensor, reference: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar; the arguments are those of `stride_tone_loss`."""
        found = _over_processes(_compare(audio, self.strides, reference))
        found = blend(found, self.means(), (self.batches / (self.batches + 1)).clamp(max=self.momentum))
        if self.training:
            self._remember(found)
        return _excess(found)

    def means(self) -> LockedLines:
        """Return the running means."""
        return LockedLines(torch.view_as_complex(self.lines.float()), self.variance, self.power)

    def extra_repr(self) -> str:
        """Describe the loss as its constructor call."""
        return f"{self.strides}, momentum={self.momentum}"

    @torch.no_grad()
    def _remember(self, found: LockedLines) -> None:
        self.lines.copy_(torch.view_as_real(found.lines))
        self.variance.copy_(found.variance)
        self.power.copy_(found.power)
        self.batches += 1


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


def check_period(strides: Sequence[int]) -> int:
    """Return the product of ``strides``; `ValueError` unless they are positive integers and it is at least 2."""
    for stride in strides:
        check_positive("every stride", stride)
    period = math.prod(strides)
    if period < 2:
        raise ValueError(f"the product of strides must be at least 2, got strides {tuple(strides)}")
    return period


def _compare(audio: Tensor, strides: Sequence[int], reference: Tensor | None) -> LockedLines:
    found = locked_lines(audio, strides)
    if reference is None:
        return found
    if isinstance(reference, Tensor) and reference.shape != audio.shape:
        raise ValueError(f"reference must have audio's shape, {tuple(audio.shape)}, got {tuple(reference.shape)}")
    _, variance, power = locked_lines(reference, strides)
    return LockedLines(found.lines, variance, power)


def _over_processes(found: LockedLines) -> LockedLines:
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return found
    processes = distributed.get_world_size()
    lines = torch.view_as_real(found.lines.detach()).flatten()
    mean = torch.cat([lines, found.variance / processes, found.power])
    distributed.all_reduce(mean)
    lines, variance, power = (mean / processes).split([len(lines), len(found.variance), len(found.power)])
    # The gradient passes through this process's lines as if they were all: averaging gradients does the rest.
    return LockedLines(torch.view_as_complex(lines.view(-1, 2)) + _zero(found.lines), variance, power)


def _zero(x: Tensor) -> Tensor:
    """Return exactly 0 with the gradient of ``x``."""
    return x - x.detach()


def _excess(found: LockedLines) -> Tensor:
    excess = (found.lines.abs() - CHANCE * found.variance.sqrt()).relu()
    return (excess / (found.power + FAINTEST**2).sqrt()).mean()
