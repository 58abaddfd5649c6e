"""Small networks that upsample in every way, for tests of what finds it."""

import torch
import torch.nn.functional as F
from torch import nn


class Shuffle(nn.Module):
    """A convolution to all phases, interleaved by reshaping; ``last`` keeps the phases beside each other."""

    def __init__(self, inputs: int, outputs: int, stride: int, last: bool = False, groups: int = 1) -> None:
        super().__init__()
        self.stride, self.last = stride, last
        self.conv = nn.Conv1d(inputs, outputs * stride, 3, padding=1, groups=groups)

    def forward(self, x):
        y = self.conv(x)
        batch, channels, frames = y.shape
        if self.last:
            y = y.transpose(1, 2).reshape(batch, frames * self.stride, channels // self.stride)
            return y.transpose(1, 2)
        y = y.view(batch, channels // self.stride, self.stride, frames)
        return y.permute(0, 1, 3, 2).reshape(batch, -1, frames * self.stride)


class Functional(nn.Module):
    """Resizing, transposed convolution and zero stuffing, all by calls in one forward; its output is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(8, 4, 3, padding=1), nn.Conv1d(2, 1, 3, padding=1)
        self.weight = nn.Parameter(0.3 * torch.randn(4, 2, 8))

    def forward(self, x):
        y = F.conv_transpose1d(F.interpolate(self.first(x), scale_factor=3), self.weight, stride=4, padding=2)
        stuffed = torch.zeros(*y.shape[:2], 2 * y.shape[2])
        stuffed[..., ::2] = y
        return {"features": y, "sound": self.last(stuffed).transpose(1, 2)}  # (B, T, 1)


class NoiseBranch(nn.Module):
    """A source at the output's rate, brought down to each stage's and added there, as in neural source filters."""

    def __init__(self) -> None:
        super().__init__()
        self.f0_up = nn.Upsample(scale_factor=32)
        self.noises = nn.ModuleList([nn.Conv1d(1, 4, 16, 8, 4), nn.Conv1d(1, 2, 1)])
        self.ups = nn.ModuleList([nn.ConvTranspose1d(8, 4, 8, 4, 2), nn.ConvTranspose1d(4, 2, 16, 8, 4)])
        self.last = nn.Conv1d(2, 1, 1)

    def forward(self, x):
        source = torch.sin(torch.cumsum(self.f0_up(x[:, :1]), -1))
        for up, noise in zip(self.ups, self.noises, strict=True):
            x = up(x)
            x = x + noise(source)
        return self.last(x), source


class Conditioned(nn.Module):
    """A condition at the input's rate is looked at again after every stage, and spread to its rate."""

    def __init__(self) -> None:
        super().__init__()
        self.ups = nn.ModuleList([nn.ConvTranspose1d(8, 8, 8, 4, 2), nn.ConvTranspose1d(8, 8, 4, 2, 1)])
        self.conditions = nn.ModuleList([nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 1)])
        self.last = nn.Conv1d(8, 1, 1)

    def forward(self, mel):
        x = mel
        for up, condition in zip(self.ups, self.conditions, strict=True):
            x = up(x)
            slow = condition(mel)
            x = x * torch.repeat_interleave(slow, x.shape[-1] // slow.shape[-1], dim=-1)
        return self.last(x)


class Unet(nn.Module):
    """Sound to sound: down by 4 and by 2, up by 2 and by 4, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv1d(1, 4, 8, 4, 2), nn.Conv1d(4, 4, 4, 2, 1)])
        self.up = nn.ModuleList([nn.ConvTranspose1d(4, 4, 4, 2, 1), nn.ConvTranspose1d(8, 1, 8, 4, 2)])

    def forward(self, x):
        a = torch.tanh(self.down[0](x))
        b = torch.tanh(self.down[1](a))
        return self.up[1](torch.cat([self.up[0](b), a], 1))


class Transposed(nn.Module):
    """Swap the last two axes."""

    def forward(self, x):
        return x.transpose(1, 2)
