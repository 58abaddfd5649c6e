"""An assertion for the tests of whoever trains or ships a generator: that it leaves no stride tone above a level."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from audioup.measure import Audio, measure_tones
from audioup.tone_report import ToneLine, ToneReport


def assert_tone_free(
    model_or_audio: nn.Module | Audio | Sequence[Audio],
    *,
    below_db: float,
    sample_rate: int,
    strides: Sequence[int] | None = None,
    inputs: Tensor | Sequence[Tensor] | None = None,
    call: Callable[[Tensor], Any] | None = None,
) -> ToneReport:
    """Fail unless every stride line is certified to lie below a level.

    Clean is an upper bound below the level, not a test that found nothing: too little sound fails as well. Of a model
    only its sound on real inputs counts; a constant certifies nothing.

    Args:
        model_or_audio: A generator, or sound that one made, as `audioup.measure_tones` takes it: from the generator's
            own sample 0, full scale 1.
        below_db: The level, in dBFS (a sine of full scale is 0 dBFS).
        sample_rate: Of the sound, in Hz.
        strides: Of sound: the upsampling factors from input to output. A model's own are found.
        inputs: Of a model: held-out inputs that differ in length only, as `audioup.probe` takes them.
        call: Of a model: runs it on one input, where ``model(x)`` would not do. Of several channels it has to give one.

    Returns:
        The report, to look at what lies below. It also has lines that change sign and modulated noise, which have no
        such bound and are not asserted.

    Raises:
        AssertionError: If a line is detected at or above ``below_db``: its frequency, level and stage, the latest whose
            series it is in, are named. If none is, but the upper bound (95 %) of some line is not below: the bound. If
            nothing could be tested: why.
        TypeError: If sound comes without ``strides`` or with ``inputs``, or a model without ``inputs`` or with
            ``strides``.
        ValueError: If ``below_db`` is not finite, or as `audioup.measure_tones` and `audioup.probe`.

    Example:
        >>> import numpy as np
        >>> noise = 0.01 * np.random.default_rng(0).standard_normal(48000)
        >>> _ = assert_tone_free(noise, below_db=-60, sample_rate=16000, strides=(8, 8, 4))
        >>> whine = 0.01 * np.sin(np.pi / 4 * np.arange(48000))
        >>> assert_tone_free(noise + whine, below_db=-60, sample_rate=16000, strides=(8, 8, 4))
        Traceback (most recent call last):
            ...
        AssertionError: a tone at 2000 Hz, -40.0 dBFS, of stage 1 of strides 8, 8, 4: not below -60 dBFS
    """
    if not math.isfinite(below_db):
        raise ValueError(f"below_db must be finite, got {below_db}")
    if isinstance(model_or_audio, nn.Module):
        if inputs is None or strides is not None:
            raise TypeError("a model takes inputs, held out and real, and no strides: they are found")
        from audioup.probe import probe

        probed = probe(model_or_audio, inputs, sample_rate, call=call, attribute=False)
        if probed.channels > 1:
            raise ValueError(f"the sound has {probed.channels} channels: have `call` return one at a time")
        report = probed.real
        stages = [f"{stage.position}, {stage.name} ({stage.kind}, stride {stage.stride})" for stage in probed.stages]
    else:
        if strides is None or inputs is not None:
            raise TypeError("sound takes the strides of the generator that made it, and no inputs")
        report = measure_tones(model_or_audio, sample_rate, strides)
        stages = [f"{stage} of strides {', '.join(map(str, strides))}" for stage in range(len(strides))]
    if fault := _fault(report, stages, below_db):
        raise AssertionError(fault)
    return report


def _fault(report: ToneReport, stages: Sequence[str], below_db: float) -> str | None:
    """Say in one line why a report does not certify a level, or return None if it does."""
    if not report.lines:
        return f"{report.verdict}; nothing is certified"

    def bound(line: ToneLine) -> float:
        return line.interval_dbfs[1]

    if (loudest := report.strongest) is not None and loudest.level_dbfs >= below_db:
        others = sum(line.detected and line.level_dbfs >= below_db for line in report.lines) - 1
        more = f" (and {others} more)" if others else ""
        level = f"{loudest.frequency_hz:g} Hz, {loudest.level_dbfs:.1f} dBFS"
        return f"a tone at {level}, of stage {stages[loudest.stages[0]]}: not below {below_db:g} dBFS{more}"
    highest = max(report.lines, key=bound)
    if bound(highest) >= below_db:
        return (
            f"no tone found at or above {below_db:g} dBFS, but none is certified to lie below: the upper bound at "
            f"{highest.frequency_hz:g} Hz is {bound(highest):.1f} dBFS on {report.duration_s:.1f} s of sound; more or "
            "softer sound bounds lower"
        )
    return None
