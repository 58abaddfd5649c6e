"""The report card: what is known of a model's tones, or of recordings', on one page and as JSON."""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from audioup.advice import Advice, advise
from audioup.inspect import Inspection, inspect_model
from audioup.probe import probe_with_sounds
from audioup.probe_report import SIGNALS, ProbeReport
from audioup.signals import Sound
from audioup.tone_report import ToneLine, ToneReport

HEARD_S = 10.0  # of each sound, to listen to and to look at


@dataclass(frozen=True)
class Heard:
    """A sound on the card: what it is, its report, and its beginning, shape ``(T,)``."""

    title: str
    report: ToneReport
    audio: Sound = field(repr=False)


@dataclass(frozen=True)
class Card:
    """A report card.

    Attributes:
        title: Of the page.
        inspection: What the weights tell, or None.
        probe: What the model does to four kinds of input, or None.
        sounds: Shown one by one: those of the probe, or recordings.
        pooled: The recordings measured together, or None.
        advice: What to try next.
        notes: What a reader should know besides, such as files that were left out.
    """

    title: str
    inspection: Inspection | None = None
    probe: ProbeReport | None = None
    sounds: tuple[Heard, ...] = ()
    pooled: ToneReport | None = None
    advice: tuple[Advice, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """That of the real input, of the recordings together, or of the only one; else of none."""
        return "; ".join(dict.fromkeys(one.verdict for one in self._decisive())) or "no sound was measured"

    @property
    def strongest(self) -> ToneLine | None:
        """The loudest line detected in what the verdict is on, or None."""
        lines = [one.strongest for one in self._decisive() if one.strongest is not None]
        return max(lines, key=lambda line: line.level_dbfs, default=None)

    @property
    def reference(self) -> ToneReport | None:
        """What the recordings were compared with."""
        return next((one.reference for one in self._decisive()), None)

    def _decisive(self) -> list[ToneReport]:
        if self.probe is not None:
            return [self.probe.real]
        return [self.pooled] if self.pooled is not None else [one.report for one in self.sounds]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json`` can write."""
        probed = [] if self.probe is None else [getattr(self.probe, name) for name in SIGNALS]
        recorded = [one for one in self.sounds if not any(one.report is other for other in probed)]
        sounds = [{"title": one.title, **one.report.to_dict()} for one in recorded]
        pooled = None if self.pooled is None else self.pooled.to_dict()
        for report in (*sounds, *([] if pooled is None else [pooled])):
            del report["reference"]  # the same for all
        return {
            "title": self.title,
            "verdict": self.verdict,
            "inspection": None if self.inspection is None else self.inspection.to_dict(),
            "probe": None if self.probe is None else self.probe.to_dict(),
            "sounds": sounds,
            "pooled": pooled,
            "reference": None if self.reference is None else self.reference.to_dict(),
            "next": [one.to_dict() for one in self.advice],
            "notes": list(self.notes),
            "versions": {name: version(name) for name in ("audioup", "torch", "numpy")},
        }


def report_card(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor],
    sample_rate: int,
    *,
    title: str | None = None,
    call: Callable[[Tensor], Any] | None = None,
    seconds: float = 4.0,
) -> Card:
    """Inspect a model and probe it, for `write_card` to lay out.

    Args:
        model: See `audioup.probe`, also for what may be wrong with it and with the inputs.
        inputs: Held-out and real.
        sample_rate: Of the sound, in Hz.
        title: Of the page; by default the model's class.
        call: Runs the model on one input, where ``model(x)`` would not do.
        seconds: How long silence, a constant and noise last.

    Returns:
        The card.
    """
    found, sounds = probe_with_sounds(model, inputs, sample_rate, call=call, seconds=seconds)
    try:
        inspection = inspect_model(model, sample_rate)
    except ValueError:  # it upsamples by calls, not by modules that could be read
        inspection = None
    return model_card(title or type(model).__name__, inspection, found, sounds)


def model_card(
    title: str,
    inspection: Inspection | None,
    probe: ProbeReport | None = None,
    sounds: dict[str, list[Sound]] | None = None,
) -> Card:
    """Make the card of a model, of its weights alone or with what `audioup.probe.probe_with_sounds` returned."""
    heard = []
    if probe is not None and sounds is not None:
        for name in SIGNALS:
            if sounds.get(name):  # a made-up input may have failed
                heard.append(Heard(name, getattr(probe, name), _beginning(sounds[name], probe.sample_rate)))
    return Card(title, inspection, probe, tuple(heard), advice=advise(inspection, probe))


def write_card(card: Card, path: Path) -> None:
    """Write a card as one HTML file, which needs nothing else and no network, and as JSON beside it.

    Both are written under other names first, so that nothing is left of a card that could not be finished.

    Args:
        card: The card.
        path: The page, ending in ``.html``; the JSON file has its name with ``.json``.

    Raises:
        ValueError: If the name does not end in ``.html``.
        OSError: If the files cannot be written.
        ImportError: If matplotlib, librosa, jinja2 or soundfile is missing (``pip install 'audioup[report]'``).
    """
    if path.suffix.lower() != ".html":
        raise ValueError(f"path must end in .html, got {str(path)!r}")
    from audioup.card_page import page

    contents = {
        path: page(card),
        path.with_suffix(".json"): json.dumps(card.to_dict(), indent=1, allow_nan=False) + "\n",
    }
    drafts = {file: file.with_name(f".{file.name}.{os.getpid()}.tmp") for file in contents}
    try:
        for file, content in contents.items():
            drafts[file].write_text(content, encoding="utf-8")
        for file, draft in drafts.items():
            draft.replace(file)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _beginning(sounds: Sequence[Sound], sample_rate: int) -> Sound:
    longest = max(sounds, key=len)
    return np.asarray(longest[: math.ceil(HEARD_S * sample_rate)])
