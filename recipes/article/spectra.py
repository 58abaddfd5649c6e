"""Power spectra of images and of gradients."""

import torch
from torch import Tensor


def rings(images: Tensor) -> Tensor:
    """Return the mean power of images at distances from the zero frequency up to half a cycle per sample."""
    power = torch.fft.fft2(images.double()).abs().square().mean((0, 1))
    radius = _radius(power)
    ring = (radius * power.shape[-1]).long()
    return torch.stack([power[ring == n].mean() for n in range(power.shape[-1] // 2)])


def high_share(images: Tensor) -> float:
    """Return the share of the power, without the constants, above a quarter of a cycle per sample along an axis."""
    power = torch.fft.fft2(images.double()).abs().square().mean((0, 1))
    power[0, 0] = 0
    frequency = torch.fft.fftfreq(power.shape[-1]).abs()
    high = torch.maximum(frequency[:, None], frequency[None]) > 0.25
    return (power[high].sum() / power.sum()).item()


def _radius(power: Tensor) -> Tensor:
    rows, columns = (torch.fft.fftfreq(n) for n in power.shape)
    return torch.hypot(rows[:, None], columns[None])
