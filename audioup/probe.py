"""Stride tones of any network: its stages, the lines on four kinds of input, and the stages they come from."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audioup.attribution import Attribution, attribute_lines
from audioup.blocks import LEAST_BLOCKS, Blocks
from audioup.checks import check_positive
from audioup.measure import measure_tones
from audioup.probe_report import ProbeReport
from audioup.signals import Sound, drawn, extremes, held, is_sound, single
from audioup.stages import Schedule, find_stages, repeated
from audioup.tone_report import ToneReport, not_tested
from audioup.tracing import tensors

FRAMES, SAMPLES = 48, 15360  # to try, of frames and of sound: multiples of what networks divide their input by
LEAST_DROP_DB = 1.0
FEWEST_SAMPLES_A_FRAME = 8  # an input of fewer, in one or two channels, is sound
EDGE_S = 0.5  # of what is made is left out at the beginning, and more is made: there, padding is heard
SEED = 0
CONSTANTS_PROVE_NOTHING = (
    "the verdict is that of the real input: an input that is held, silence among them, proves nothing about speech, "
    "and a network of order 1 is silent on it whatever it does to speech"
)


def probe(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor],
    sample_rate: int,
    *,
    call: Callable[[Tensor], Any] | None = None,
    attribute: bool = True,
    seconds: float = 4.0,
) -> ProbeReport:
    """Find a network's upsampling stages and the tones they leave, by running it on real inputs and on others.

    Works on modules never seen before: every torch function that runs is looked at (`audioup.stages`). The verdict is
    that on the inputs given, which should be real and held out. Silence, a constant and noise are made of them, and
    measured beside.

    Where the inputs have lines, one stage at a time is held at regularity order 1, by replacing the kernel it upsamples
    by where it is used, and the fall of each line is measured (`audioup.attribution`).

    The model runs without gradients and in ``eval()``; modes, hooks and torch's random numbers are afterwards what they
    were before, also after an error. Every run begins with the same seed.

    Args:
        model: Turns one input, time on its last axis, into sound: ``(T,)``, ``(batch, T)`` or ``(batch, channels, T)``,
            of which the first channel is measured; of several tensors the first that has the most samples a frame.
        inputs: One or several, on any device, which differ in length only: mels, latents or codes in frames, ``(batch,
            bands, T)`` say, or sound. Batches are taken apart.
        sample_rate: Of the sound, in Hz.
        call: Runs the model on an input of one batch entry, where ``model(x)`` would not do or not give sound. A codec
            that works in segments, say, has to be called on one.
        attribute: Whether to look for the stages that lines come from, which takes a run on all inputs for each stage.
        seconds: How long silence, constant and noise last, as they are measured. Half a second before and about as much
            after is made and left out, where the network hears its padding.

    Returns:
        A `ProbeReport`. Its strides are the stages'; a stage whose rates have no integer ratio counts as the numerator
        of it, which is after how many samples its pattern repeats, and is named in the notes.

    Raises:
        TypeError: If the model is no module or an input no tensor.
        ValueError: If an input is empty, holds NaN or infinity, or differs from the others in more than length; if no
            upsampling is found on the way from the input to the output; or if the output does not grow with the input,
            is not finite, or goes beyond 1000 times full scale.

    Source: the lines are those of Pons et al. (ICASSP 2021); Odena, Dumoulin & Olah (Distill, 2016).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.ConvTranspose1d(8, 4, 16, 8, 4), nn.LeakyReLU(), nn.ConvTranspose1d(4, 1, 4, 2, 1))
        >>> report = probe(model, torch.randn(1, 8, 2000), 16000)
        >>> report.strides, report.verdict, report.constant.verdict
        ((8, 2), 'tones', 'tones')
    """
    return probe_with_sounds(model, inputs, sample_rate, call=call, attribute=attribute, seconds=seconds)[0]


def probe_with_sounds(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor],
    sample_rate: int,
    *,
    call: Callable[[Tensor], Any] | None = None,
    attribute: bool = True,
    seconds: float = 4.0,
) -> tuple[ProbeReport, dict[str, list[Sound]]]:
    """Do what `probe` does, and also return the sounds that were measured, by the name of the input."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    check_positive("sample_rate", sample_rate)
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be above 0 and finite, got {seconds!r}")
    given = [_suited(x, model) for x in single(inputs)]
    with _undisturbed(model):
        runner = _Runner(model, call, given)
        try:
            return _probe(runner, given, sample_rate, attribute, seconds)
        finally:
            runner.restore()


class _Runner:
    """Runs a model on inputs and takes the sound out of what it gives."""

    def __init__(self, model: nn.Module, call: Callable[[Tensor], Any] | None, inputs: Sequence[Tensor]) -> None:
        self.model, self.call = model, call or model
        self._buffers = [
            (module, name, buffer, buffer.clone())
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        longest = max(inputs, key=lambda x: x.shape[-1])
        self.short = repeated(longest, 2 * (SAMPLES if is_sound(longest) else FRAMES))
        torch.manual_seed(SEED)
        self.schedule: Schedule = find_stages(model, longest, self.short.shape[-1] // 2, self._seeded)
        self.channels = 1

    def restore(self) -> None:
        """Give the model's buffers the values they had at first, as every run begins."""
        for module, name, buffer, value in self._buffers:
            module._buffers[name] = buffer.copy_(value)

    def _seeded(self, x: Tensor) -> Any:
        torch.manual_seed(SEED)
        self.restore()
        return self.call(x.clone())  # for models that write into their input

    def sounds(self, x: Tensor, name: str) -> list[Sound]:
        """Run on one input; return the sound of each row, first channel."""
        found = list(tensors(self._seeded(x)))
        if len(found) <= self.schedule.output or found[self.schedule.output].dim() < -self.schedule.axis:
            raise ValueError(f"the output on {name} input has not the tensors that it has on a short one")
        y = found[self.schedule.output].detach().movedim(self.schedule.axis, -1)
        if y.is_complex() or not y.is_floating_point():
            raise ValueError(f"the output must be sound, floating point, got {y.dtype}: have `call` return sound")
        if y.dim() > 2:
            self.channels = y.shape[-2]
            y = y[..., 0, :]
        rows = y.reshape(-1, y.shape[-1]).double().cpu().numpy()
        if not np.isfinite(rows).all():
            raise ValueError(f"the output on {name} input holds NaN or infinity")
        return list(rows)

    def listens(self) -> bool:
        """Whether the output is another for an input in another order."""
        other = self.short.roll(self.short.shape[-1] // 3, -1)
        if torch.equal(other, self.short):  # all frames are alike
            return True
        pairs = zip(self.sounds(self.short, "a short"), self.sounds(other, "a short"), strict=True)
        return not all(np.array_equal(a, b) for a, b in pairs)


def _probe(
    runner: _Runner, inputs: Sequence[Tensor], sample_rate: int, attribute: bool, seconds: float
) -> tuple[ProbeReport, dict[str, list[Sound]]]:
    schedule = runner.schedule
    strides = tuple(stage.stride for stage in schedule.stages)
    real = [runner.sounds(x, "real") for x in inputs]
    frames = math.ceil((seconds + 2 * EDGE_S) * sample_rate / schedule.rate)
    (quiet, quietest), (loud, loudest) = extremes(inputs, real)
    sound_in = is_sound(inputs[0]) and schedule.rate < FEWEST_SAMPLES_A_FRAME
    silence = held(inputs[quiet], quietest, frames)
    made = {
        "silence": torch.zeros_like(silence) if sound_in else silence,
        "constant": held(inputs[loud], loudest, frames),
        "noise": drawn(inputs, frames, SEED),
    }
    sounds = {"real": [sound for row in real for sound in row]}
    period = math.prod(strides)
    start = math.ceil(EDGE_S * sample_rate / period) * period
    inside = slice(start, start + round(seconds * sample_rate))
    reports = {"real": _measured("real", sounds["real"], sample_rate, strides)}
    for name, x in made.items():
        try:
            sounds[name] = [sound[inside] for sound in runner.sounds(x, name)]
            reports[name] = _measured(name, sounds[name], sample_rate, strides)
        except ValueError as error:  # a network that norms over time, say; the verdict does not need it
            reports[name] = not_tested(sample_rate, strides, str(error))
    attribution = None
    if attribute and reports["real"].strongest is not None:
        attribution = attribute_lines(
            runner.model,
            schedule.stages,
            reports["real"],
            sounds["real"],
            [partial(runner.sounds, x, "real") for x in inputs],
            partial(runner.sounds, runner.short, "a short"),
        )
    report = ProbeReport(
        sample_rate,
        schedule.stages,
        schedule.others,
        strides,
        runner.channels,
        reports["real"],
        reports["silence"],
        reports["constant"],
        reports["noise"],
        attribution,
        reports["real"].verdict,
        tuple(_notes(runner, reports, attribution, seconds, sound_in)),
    )
    return report, sounds


def _measured(name: str, sounds: list[Sound], sample_rate: int, strides: tuple[int, ...]) -> ToneReport:
    try:
        return measure_tones(sounds, sample_rate, strides)
    except ValueError as error:
        raise ValueError(f"the output on {name} input cannot be measured: {error}") from None


def _notes(
    runner: _Runner,
    reports: dict[str, ToneReport],
    attribution: Attribution | None,
    seconds: float,
    sound_in: bool,
) -> Iterator[str]:
    schedule, real = runner.schedule, reports["real"]
    yield CONSTANTS_PROVE_NOTHING
    if not runner.listens():
        yield "the output does not depend on the input: it is the same for inputs in another order"
    silent = [name for name in ("silence", "constant") if reports[name].strongest is None]
    if real.strongest is not None and len(silent) == 2:
        yield "there are tones on the real input and none on silence or a constant, which would have certified falsely"
    elif real.strongest is not None and silent:
        yield f"there are tones on the real input and none on {silent[0]}, which would have certified falsely"
    if attribution is not None and all(trial.drop_db and not trial.projected for trial in attribution.trials):
        yield "every stage is of order 1 already: the lines are made of what varies in the input, not of its mean"
    held = [trial for trial in (attribution.trials if attribution else ()) if trial.projected and trial.drop_db]
    if held and max(abs(drop) for trial in held for drop in trial.drop_db) < LEAST_DROP_DB:
        yield f"no stage moves a line by {LEAST_DROP_DB:g} dB: they come from elsewhere, by a way past these stages say"
    if not real.lines:
        least = LEAST_BLOCKS * Blocks(real.sample_rate, math.prod(real.strides)).length
        yield (
            f"the verdict needs an input that makes at least {least / real.sample_rate:.2f} s of sound, "
            f"{math.ceil(least / schedule.rate)} frames, and not silence"
        )
    for stage in schedule.stages:
        if not stage.integer:
            yield (
                f"stage {stage.position}, {stage.name}, goes from {stage.rate_in:g} to {stage.rate_out:g} samples a "
                f"frame, no integer ratio: {stage.stride} stands for its stride, after which its pattern repeats"
            )
        if len(stage.rises) > 1:
            places = ", ".join(rise.call.module or "(model)" for rise in stage.rises)
            yield f"stage {stage.position} rises in several branches: {places}"
    if runner.channels > 1:
        yield f"the sound has {runner.channels} channels: the first was measured"
    made = "white noise with the inputs' own distribution" if sound_in else "frames of the inputs, drawn at random"
    quiet = "zeros" if sound_in else "the frame that sounds quietest, held"
    yield f"silence is {quiet}, constant the frame that sounds loudest, held, noise {made}; {seconds:g} s each"


def _suited(x: Tensor, model: nn.Module) -> Tensor:
    # On the model's device, and in its floating-point type.
    values = [*model.parameters(), *model.buffers()]
    kind = next((value.dtype for value in values if value.is_floating_point()), x.dtype)
    return x.detach().to(values[0].device if values else x.device, kind if x.is_floating_point() else x.dtype)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices), torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            for module, training in modes.items():
                module.training = training
