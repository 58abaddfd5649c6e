"""What the examples of training batches have in common at the stride harmonics, in one batch and over many.

A generator's examples all start at its own sample 0, so what they have in common at the harmonics of the period ``S``
of its strides is locked to the sample index: a tone, and no information about any of them. Differentiable, and cheap
enough for every step; `audioup.measure_tones` tells with intervals and tests what a whole recording holds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn

from audioup.checks import check_positive

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


class RunningLines(nn.Module):
    """Average what batches have in common: ``momentum`` of what was before, the rest of this batch.

    In the first batches it is the plain mean. Means run in training mode only, where they are taken over all processes
    if ``torch.distributed`` runs; a batch that is not finite is passed over. They are buffers, so that a state dict
    resumes them to the bit.

    Args:
        strides: Upsampling factors from input to output.
        momentum: From 0 (no memory) to below 1.

    Attributes:
        batches: How many were averaged.

    Raises:
        ValueError: If a stride is no positive integer, their product is 1, or ``momentum`` is out of range.

    Example:
        >>> running = RunningLines((2, 4), momentum=0.5)
        >>> audio = torch.sin(torch.pi / 2 * torch.arange(64)).expand(3, -1)
        >>> [running(locked_lines(a * audio, (2, 4))).lines.abs()[1].item() for a in (0.0, 1.0, 1.0)]
        [0.0, 0.25, 0.375]
    """

    lines: Tensor
    variance: Tensor
    power: Tensor
    batches: Tensor

    def __init__(self, strides: Sequence[int], momentum: float = 0.9) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {momentum}")
        self.momentum = momentum
        harmonics = check_period(strides) // 2
        # Real and imaginary parts: complex buffers do not survive `half()`.
        self.register_buffer("lines", torch.zeros(harmonics, 2))
        self.register_buffer("variance", torch.zeros(harmonics))
        self.register_buffer("power", torch.zeros(harmonics))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, found: LockedLines) -> LockedLines:
        """Return the means with this batch in them.

        The gradient passes through this batch's lines, and through those of this process, as if they were all: averaged
        over processes, gradients are those of one large batch.
        """
        now = _over_processes(found) if self.training else found
        momentum = (self.batches / (self.batches + 1)).clamp(max=self.momentum)
        before, rest = self.means(), 1 - momentum
        found = LockedLines(
            (momentum * before.lines + rest * now.lines).detach() + _zero(found.lines),
            momentum**2 * before.variance + rest**2 * now.variance,  # of a sum of independent terms
            momentum * before.power + rest * now.power,
        )
        if self.training:
            with torch.no_grad():
                # One batch that is not finite, as mixed precision has and skips, must not spoil all that follow.
                good = now.power.isfinite().all() & torch.view_as_real(now.lines).isfinite().all()
                for mean, value in zip((self.lines, self.variance, self.power), found, strict=True):
                    value = torch.view_as_real(value) if value.is_complex() else value
                    mean.copy_(torch.where(good, value.to(mean), mean))
                self.batches += good
        return found

    def means(self) -> LockedLines:
        """Return the means as they are."""
        return LockedLines(torch.view_as_complex(self.lines.float()), self.variance, self.power)


def check_period(strides: Sequence[int]) -> int:
    """Return the product of ``strides``; `ValueError` unless they are positive integers and it is at least 2."""
    for stride in strides:
        check_positive("every stride", stride)
    period = math.prod(strides)
    if period < 2:
        raise ValueError(f"the product of strides must be at least 2, got strides {tuple(strides)}")
    return period


def _over_processes(found: LockedLines) -> LockedLines:
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return found
    processes = distributed.get_world_size()
    lines = torch.view_as_real(found.lines.detach()).flatten()
    mean = torch.cat([lines, found.variance / processes, found.power])
    distributed.all_reduce(mean)
    lines, variance, power = (mean / processes).split([len(lines), len(found.variance), len(found.power)])
    return LockedLines(torch.view_as_complex(lines.view(-1, 2)), variance, power)


def _zero(x: Tensor) -> Tensor:
    """Return exactly 0 with the gradient of ``x``."""
    return x - x.detach()
