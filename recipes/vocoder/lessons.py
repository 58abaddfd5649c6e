"""What each discriminator teaches its generator: the lines in the gradient of its losses."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from audioup.gradients import measure_gradient
from vocoder.discriminators import Discriminators, PeriodDiscriminator, ResolutionDiscriminator
from vocoder.losses import adversarial_loss, feature_loss


def _adversarial(member: nn.Module, real: Tensor, generated: Tensor) -> Tensor:
    return adversarial_loss([member(generated)])


def _feature(member: nn.Module, real: Tensor, generated: Tensor) -> Tensor:
    return feature_loss([member(real)], [member(generated)])


LOSSES: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "adversarial": _adversarial,
    "feature": _feature,
}


def strides_of(member: nn.Module) -> tuple[int, ...]:
    """Return the strides of a discriminator in time, from sound to scores, without those of 1.

    Rows of ``period`` samples count as a stride of that period, the spectrogram as one of its hop length.
    """
    if isinstance(member, PeriodDiscriminator):
        first, axis = member.period, 0
    elif isinstance(member, ResolutionDiscriminator):
        first, axis = member.hop_length, 1
    else:
        raise TypeError(f"member must be a discriminator of periods or of resolutions, got {type(member).__name__}")
    strides = (first, *(layer.stride[axis] for layer in member.layers if isinstance(layer, nn.Conv2d)))
    return tuple(stride for stride in strides if stride > 1)


def name_of(member: nn.Module) -> str:
    """Name a discriminator by what tells it from the others."""
    if isinstance(member, PeriodDiscriminator):
        return f"period {member.period}"
    return f"resolution {member.n_fft}/{member.hop_length}"


def measure_lessons(
    discriminators: Discriminators,
    real: Tensor,
    generated: Tensor,
    sample_rate: int,
    generator_period: int,
    margin: int,
    batch_size: int,
) -> list[dict[str, Any]]:
    """Measure the gradient of either loss of every member with respect to ``generated``.

    Args:
        discriminators: In ``eval()``; their parameters are frozen.
        real: The sound that ``generated`` should be, ``(segments, 1, T)``.
        generated: Of the same shape.
        sample_rate: In Hz.
        generator_period: Product of the generator's strides, in samples.
        margin: Samples at either end that are not looked at (see `audioup.gradients.measure_gradient`).
        batch_size: Segments at a time.

    Returns:
        A row for each member and loss: ``discriminator``, ``loss``, ``period`` in samples, ``report`` (a
        `GradientReport`) and ``shared_hz``, the detected lines at harmonics of the generator's strides.
    """
    discriminators.requires_grad_(False)
    batches = list(zip(real.split(batch_size), generated.split(batch_size), strict=True))
    rows = []
    with tqdm(total=len(discriminators.members) * len(LOSSES) * len(batches), desc="gradients", unit="batch") as bar:
        for member in discriminators.members:
            for name, loss in LOSSES.items():
                gradients = []
                for targets, sources in batches:
                    x = sources.clone().requires_grad_()
                    value = loss(member, targets, x) * len(x)  # the mean over a batch, so that the last may be smaller
                    gradients.append(torch.autograd.grad(value, x)[0])
                    bar.update()
                strides = strides_of(member)
                report = measure_gradient(torch.cat(gradients), strides, sample_rate=sample_rate, margin=margin)
                period = math.prod(strides)
                shared = [
                    line.frequency[0]
                    for k, line in enumerate(report.lines, 1)
                    if line.detected and k * generator_period % period == 0
                ]
                row = {"discriminator": name_of(member), "loss": name, "period": period}
                rows.append({**row, "shared_hz": shared, "report": report})
    return rows
