"""Stride tones from gradients: what a strided network, such as a discriminator, teaches the one that feeds it.

The backward pass of a strided convolution is a transposed one, and that of a pooling layer hands everything to one
sample: so the gradient with respect to the input has lines at the harmonics of the strides, locked to sample 0, as
sound from a strided generator has. The mean of many examples keeps what is locked; what follows the content cancels.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audioup.checks import check_positive, pair
from audioup.discoveries import benjamini_hochberg
from audioup.gradient_report import GradientLine, GradientReport
from audioup.locked import LEAST_UNITS, fit_locked

FALSE_DISCOVERIES = 0.01  # Benjamini-Hochberg level of `detected`
FAINTEST_DB = -120.0  # rounding repeats from example to example, and a gradient in float32 has no more
SMALLEST_DB = -200.0  # levels below are reported as this


def gradient_tones(
    module: nn.Module,
    input: Tensor,
    strides: Sequence[int | tuple[int, int]],
    *,
    objective: Callable[[Any], Tensor] | None = None,
    sample_rate: float | None = None,
    margin: int = 0,
) -> GradientReport:
    """Measure the lines that a module's strides put into the gradient with respect to its input.

    The module runs in the mode it is in (so call ``eval()`` first: in training, batch normalisation mixes the examples
    and counts them); its parameters get no gradients. With a linear module and the default objective every example has
    the same gradient, and all of it is locked.

    Args:
        module: From ``input`` to anything.
        input: Sound ``(N, C, T)`` or images ``(N, C, H, W)``, floating point. The examples should not be related: the
            test asks what is common to their gradients, each counted from its own sample 0.
        strides: Of the module from input to output, each a number, or for images a number or a pair.
        objective: Turns the module's output into a scalar; it must treat the examples apart, as a sum or a mean does.
            By default the sum of all floating-point tensors in the output.
        sample_rate: In Hz; without it frequencies are in cycles per sample.
        margin: See `measure_gradient`.

    Returns:
        A `GradientReport`.

    Raises:
        TypeError: If ``input`` is no tensor.
        ValueError: As `measure_gradient`, if ``input`` is not floating point or the objective is not a single real
            number that depends on it.

    Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016), on gradients.

    Example:
        >>> conv = nn.Conv1d(1, 1, 3, stride=2, bias=False)
        >>> _ = nn.init.ones_(conv.weight)
        >>> report = gradient_tones(conv, torch.randn(4, 1, 400), [2])  # overlap 2, 1, 2, 1 in the gradient
        >>> round(report.lines[0].level_db - report.constant_db, 2)
        -9.54
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a tensor, got {type(input).__name__}")
    if not input.is_floating_point():
        raise ValueError(f"input must be floating point, got {input.dtype}")
    with torch.inference_mode(False), torch.enable_grad():
        x = input.detach().clone().requires_grad_()
        output = module(x.clone())  # for modules that write into their input
        value = sum(_tensors(output), x.new_zeros(())) if objective is None else objective(output)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"objective must be one real number, got {what}")
        # Unlike backward(), this leaves the gradients of parameters alone.
        gradient = torch.autograd.grad(value, x, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        raise ValueError("objective must depend on input through differentiable operations, but has no gradient")
    return measure_gradient(gradient, strides, sample_rate=sample_rate, margin=margin)


def measure_gradient(
    gradient: Tensor,
    strides: Sequence[int | tuple[int, int]],
    *,
    sample_rate: float | None = None,
    margin: int = 0,
) -> GradientReport:
    """Measure the locked lines of gradients that are there already, such as those of several batches.

    The examples are taken as independent, each counted from its own sample 0, and their mean spectrum is tested for
    being other than zero, by Hotelling's ``T^2``: see `audioup.locked.fit_locked`. Fewer than 16 examples are cut,
    along time or height, into equal pieces of at least 4 periods, and these are tested instead: for lines in these
    examples, not in others of their kind.

    Args:
        gradient: Of sound ``(N, C, T)`` or of images ``(N, C, H, W)``, floating point.
        strides: From the input to the output, each a number, or for images a number or a pair.
        sample_rate: In Hz; without it frequencies are in cycles per sample.
        margin: Samples at either end to leave out, at the start rounded up to a whole period: there a module sees its
            padding, in every example alike.

    Returns:
        A `GradientReport`; fewer than 3 examples and pieces together are "not testable": levels without interval.

    Raises:
        ValueError: If the shape, a stride, the sample rate or the margin does not fit, an example is shorter than one
            period, or the gradient is zero everywhere or holds NaN or infinity.

    Source: Hotelling, "The generalization of Student's ratio" (1931); Benjamini & Hochberg (1995).

    Example:
        >>> noise = torch.randn(64, 1, 4000, generator=torch.Generator().manual_seed(0))
        >>> measure_gradient(noise, (2, 2)).verdict
        'clean below -40.7 dB'
        >>> report = measure_gradient(noise + 0.1 * torch.cos(torch.arange(4000) * torch.pi / 2), (2, 2))
        >>> report.verdict, report.strongest.frequency, report.strongest.stages
        ('lines', (0.25,), (1,))
    """
    _check(gradient, sample_rate, margin)
    sound = gradient.dim() == 3
    steps = _steps(strides, sound)
    signals = gradient.detach().double().cpu()
    if sound:
        signals = signals.unsqueeze(-1)
    period = _product(steps)
    fit = fit_locked(signals, period, (margin, 0 if sound else margin))
    constant, *harmonics = range(len(fit.level))
    testable = fit.units >= LEAST_UNITS
    found = benjamini_hochberg(fit.p_value[1:], FALSE_DISCOVERIES)
    rms = math.sqrt(fit.power)
    lines = []
    for i in harmonics:
        k = fit.harmonic[i].tolist()
        level_db = _db(fit.level[i] / rms)
        signed = [n if 2 * n <= s else n - s for n, s in zip(k, period, strict=True)]
        frequency = [n / s * (sample_rate or 1) for n, s in zip(signed, period, strict=True)]
        low, high = (_db((fit.level[i] + side * fit.radius[i]) / rms) for side in (-1, 1))
        lines.append(
            GradientLine(
                frequency=tuple(frequency[: 1 if sound else 2]),
                stages=_stages(k, steps),
                level_db=level_db,
                interval_db=(low, high) if testable else None,
                p_value=float(fit.p_value[i]) if testable else None,
                detected=testable and bool(found[i - 1]) and level_db >= FAINTEST_DB,
            )
        )
    if not testable:
        verdict = f"not testable: {fit.units} examples and pieces, at least {LEAST_UNITS} are needed"
    elif any(line.detected for line in lines):
        verdict = "lines"
    else:
        highest = max(line.interval_db[1] for line in lines if line.interval_db)
        verdict = f"clean below {math.ceil(highest * 10) / 10:.1f} dB"
    locked = (fit.level**2 - fit.chance)[1:].sum() / fit.power
    return GradientReport(
        sample_rate=sample_rate,
        strides=tuple(strides),
        examples=len(gradient),
        units=fit.units,
        rms=rms,
        constant_db=_db(fit.level[constant] / rms),
        locked_share=min(1.0, max(0.0, float(locked))),
        lines=tuple(lines),
        verdict=verdict,
    )


def _check(gradient: Tensor, sample_rate: float | None, margin: int) -> None:
    if gradient.dim() not in (3, 4) or not gradient.is_floating_point() or gradient.numel() == 0:
        raise ValueError(
            f"gradient must be floating point of shape (N, C, T) or (N, C, H, W), got {gradient.dtype} "
            f"{tuple(gradient.shape)}"
        )
    if sample_rate is not None and not 0 < sample_rate < math.inf:
        raise ValueError(f"sample_rate must be positive, got {sample_rate}")
    if isinstance(margin, bool) or not isinstance(margin, int) or margin < 0:
        raise ValueError(f"margin must be an integer >= 0, got {margin!r}")
    if not gradient.isfinite().all():
        raise ValueError("gradient holds NaN or infinity")
    if not gradient.any():
        raise ValueError("gradient is zero everywhere: nothing of the objective depends on the input")


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output.sum()
    elif isinstance(output, (Sequence, Mapping)) and not isinstance(output, str):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(part)


def _steps(strides: Sequence[int | tuple[int, int]], sound: bool) -> list[tuple[int, int]]:
    # Sound is an image of one column.
    steps = []
    for stride in strides:
        if sound and not isinstance(stride, int):
            raise ValueError(f"strides must be integers for sound, got {stride!r}")
        step = (stride, 1) if isinstance(stride, int) and sound else pair("every stride", stride)
        for value in step:
            check_positive("every stride", value)
        steps.append(step)
    if all(step == (1, 1) for step in steps):
        raise ValueError(f"the product of strides must be at least 2, got strides {tuple(strides)}")
    return steps


def _product(steps: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return math.prod(step[0] for step in steps), math.prod(step[1] for step in steps)


def _stages(harmonic: Sequence[int], steps: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    # Stage n repeats with the product of all strides from the input up to its own.
    period = _product(steps)
    return tuple(
        n
        for n, step in enumerate(steps)
        if step != (1, 1)
        and all(k * s % whole == 0 for k, s, whole in zip(harmonic, _product(steps[: n + 1]), period, strict=True))
    )


def _db(amplitude: float) -> float:
    return max(SMALLEST_DB, 20 * math.log10(amplitude)) if amplitude > 0 else SMALLEST_DB
