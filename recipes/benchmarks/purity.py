"""What speed must not cost: the aliases of activations and the stride tones of interpolation."""

import statistics
from typing import Any

import alias_free_torch
import torch
from torch import nn

from audioup import Oversampled, Snake, tonal_fraction
from benchmarks.cases import sinc


@torch.no_grad()
def measure_aliases() -> list[dict[str, Any]]:
    """Send sines from 0.02 to 0.46 of the sample rate through activations; return the aliases over the sine, in dB.

    The sines have an odd number of cycles in 4096 samples, so that no alias falls on a harmonic below the Nyquist
    frequency; what is elsewhere is alias. Medians over the sines.
    """
    samples, sines = 4096, torch.arange(101, 1901, 15)[::2]
    time = torch.arange(3 * samples, dtype=torch.float64)
    rows = []
    activations: dict[str, nn.Module] = {"LeakyReLU": nn.LeakyReLU(0.1), "Snake": Snake(1).double()}
    for name, activation in activations.items():
        ways: dict[str, nn.Module] = {
            "plain": activation,
            "Oversampled(activation, 2)": Oversampled(activation, 2),
            "alias_free_torch": alias_free_torch.Activation1d(activation, 2, 2, 12, 12).double(),
            "Oversampled(activation, 2, zeros=16, rolloff=0.9)": Oversampled(activation, 2, zeros=16, rolloff=0.9),
            "Oversampled(activation, 4, zeros=16, rolloff=0.9)": Oversampled(activation, 4, zeros=16, rolloff=0.9),
        }
        for way, layer in ways.items():
            levels = []
            for sine in sines.tolist():
                y = layer(torch.sin(2 * torch.pi * sine / samples * time)[None, None])[0, 0, samples : 2 * samples]
                power = torch.fft.rfft(y).abs().square()
                aliases = power.clone()
                aliases[::sine] = 0
                levels.append(float(10 * torch.log10(aliases.sum() / power[sine])))
            rows.append({"activation": name, "way": way, "aliases_db": statistics.median(levels)})
    return rows


@torch.no_grad()
def measure_stride_tones() -> list[dict[str, Any]]:
    """Send an impulse through each way of sinc interpolation; return the tonal fraction of its response, in dB."""
    rows = []
    for stride in (2, 8):
        for name, interpolate in sinc(stride, 1, 1, 1).contenders.items():
            impulse = torch.zeros(1, 1, 99)
            impulse[..., 49] = 1
            fraction = float(tonal_fraction(interpolate(impulse), stride))
            rows.append({"stride": stride, "way": name, "tonal_fraction_db": max(fraction, -300.0)})
    return rows
