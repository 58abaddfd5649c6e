"""Stride tones while a generator trains, from the batches it makes anyway: levels per stage, as scalars."""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from audioup.batches import RunningLines, check_period, locked_lines
from audioup.checks import check_positive
from audioup.layer import UpsamplingLayer
from audioup.source import Unsuitable, visible_weight
from audioup.tones import tonal_fraction

SMALLEST_DB = -200.0  # levels below are reported as this


class ScalarWriter(Protocol):
    """What writes curves, such as ``torch.utils.tensorboard.SummaryWriter``."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add one value to a curve."""


class ToneMonitor(nn.Module):
    """Follow what the examples of training batches have in common at the stride harmonics, stage by stage.

    The running mean ``e_k`` of `audioup.batches.RunningLines` at line ``k`` of ``S = prod(strides)`` is the level of a
    line, and of chance: of ``n`` examples without a line, ``1 / sqrt(n)`` of what there is remains. A momentum of 0.98
    averages over about 100 batches. The level by chance is a scalar beside the strongest line, and taken out of the
    total. `audioup.measure_tones` on held-out sound has intervals and tests, this has a curve.

    A line is counted for the latest stage whose series it is in, ``k`` a multiple of ``prod(strides[:i])``, as
    `audioup.measure_tones` does: an earlier stage may have made it. Stages of stride 1 have no lines.

    Its state dict resumes the means. With several processes all of them must update, and have the same levels.

    Args:
        strides: Upsampling factors from input to output.
        sample_rate: Of the output, in Hz.
        momentum: From 0 (no memory) to below 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> monitor = ToneMonitor((2, 4), 16000)
        >>> monitor.update(0.1 * torch.cos(torch.pi / 4 * torch.arange(64)).expand(16, -1))  # at 1 / 8 of the rate
        >>> levels = monitor.levels()
        >>> levels["tones/stage0_hz"], round(levels["tones/stage0_dbfs"], 1)
        (2000.0, -20.0)
    """

    def __init__(self, strides: Sequence[int], sample_rate: int, momentum: float = 0.98) -> None:
        super().__init__()
        period = check_period(strides)
        check_positive("sample_rate", sample_rate)
        self.strides, self.sample_rate = tuple(strides), sample_rate
        self.running = RunningLines(self.strides, momentum)
        self.stages = [i for i, stride in enumerate(self.strides) if stride > 1]
        harmonics = range(1, period // 2 + 1)
        latest = [max(i for i in self.stages if k % math.prod(self.strides[:i]) == 0) for k in harmonics]
        self.lines_of = {i: [k - 1 for k in harmonics if latest[k - 1] == i] for i in self.stages}

    @torch.no_grad()
    def update(self, audio: Tensor) -> None:
        """Take a generated batch into the means, in any mode; nothing else is kept of it.

        Args:
            audio: ``(batch, T)`` or ``(batch, 1, T)``, each example from the generator's sample 0, as
                `audioup.batches.locked_lines` takes it.
        """
        self.running.train()
        self.running(locked_lines(audio, self.strides))

    def levels(self) -> dict[str, float]:
        """Return the levels of each stage's lines, by name; empty before the first batch.

        Returns:
            For stage ``i``: ``tones/stage{i}_dbfs`` and ``tones/stage{i}_hz``, amplitude and frequency of its strongest
            line; ``tones/stage{i}_chance_dbfs``, what chance gives there; ``tones/stage{i}_total_dbfs``, the root sum
            of squares of all its lines, without what chance gives. -200 where there is nothing.
        """
        if not self.running.batches:
            return {}
        means = self.running.means()
        power = means.lines.abs().square().double().cpu()
        chance = means.variance.double().cpu()
        period = math.prod(self.strides)
        # From a two-sided line to the sine that has it; the line at Nyquist is one-sided.
        scale = torch.full_like(power, 4.0)
        if period % 2 == 0:
            scale[-1] = 1.0
        power, chance = scale * power, scale * chance
        levels = {}
        for stage, lines in self.lines_of.items():
            strongest = lines[int(power[lines].argmax())]
            levels[f"tones/stage{stage}_dbfs"] = _db(power[strongest])
            levels[f"tones/stage{stage}_hz"] = (strongest + 1) * self.sample_rate / period
            levels[f"tones/stage{stage}_total_dbfs"] = _db((power[lines] - chance[lines]).sum())
            levels[f"tones/stage{stage}_chance_dbfs"] = _db(chance[strongest])
        return levels

    def write(self, writer: ScalarWriter, step: int, generator: nn.Module | None = None) -> None:
        """Write the levels, and of a generator's upsampling layers the share of tone in their kernels.

        Args:
            writer: Takes scalars, such as TensorBoard's ``SummaryWriter``.
            step: Of the training.
            generator: Model whose upsampling layers (this library's and torch's transposed convolutions, by their path)
                are read as ``tonal_fraction_db/{path}``; see `audioup.tonal_fraction`.
        """
        fractions = {} if generator is None else tonal_fractions(generator)
        for name, value in {**self.levels(), **fractions}.items():
            writer.add_scalar(name, value, step)

    def extra_repr(self) -> str:
        """Describe the monitor as its constructor call."""
        return f"{self.strides}, {self.sample_rate}, momentum={self.running.momentum}"


def tonal_fractions(model: nn.Module) -> dict[str, float]:
    """Measure the share of tone in the kernels of a model's upsampling layers, by ``tonal_fraction_db/{path}``, in dB.

    Args:
        model: Its layers of this library, and ``torch.nn.ConvTranspose1d`` and ``2d``, with a stride above 1 are read.
    """
    return {f"tonal_fraction_db/{path}": value for path, value in _fractions(model)}


@torch.no_grad()
def _fractions(model: nn.Module) -> Iterator[tuple[str, float]]:
    for path, module in model.named_modules():
        if isinstance(module, UpsamplingLayer):
            kernel, strides = module.kernel(), module.strides
        elif isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
            try:
                kernel, strides = visible_weight(module), tuple(module.stride)
            except Unsuitable:
                continue
        else:
            continue
        if max(strides) > 1:
            yield path, max(float(tonal_fraction(kernel, strides)), SMALLEST_DB)


def _db(power: Tensor) -> float:
    return max(SMALLEST_DB, 10 * math.log10(power)) if power > 0 else SMALLEST_DB if power <= 0 else math.nan
