"""The page of a report card; needs ``pip install 'audioup[report]'``."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jinja2 import Environment, StrictUndefined

from audioup.attribution import Trial
from audioup.conversion import LEAST_DB
from audioup.inspect import InspectedLayer
from audioup.plot import Panel, plot_tones
from audioup.report import Card, Heard
from audioup.tone_report import ToneLine, ToneReport

TEMPLATE = Path(__file__).with_name("card.html")
MOST_PICTURES = 12
MOST_LINES = 8  # of each sound
QUIET, PLAYED_PEAK = 0.1, 0.5  # a sound of a smaller peak is played louder, up to the other
SILENT = 1e-6  # of a peak: what is below is not worth amplifying
WORDS = {
    "silence": "Silence: the input frame that sounds quietest, held",
    "constant": "Constant: the input frame that sounds loudest, held",
    "real": "Real input",
    "noise": "Noise: frames of the inputs, drawn at random",
}


def page(card: Card) -> str:
    """Return the page as HTML; whatever came with files is escaped, and scripts are forbidden to it."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    inspection, probe = card.inspection, card.probe
    rate = None if inspection is None else inspection.sample_rate
    return template.render(
        card=card,
        state=_state(card.verdict),
        versions=card.to_dict()["versions"],
        layers=[_layer(layer) for layer in inspection.layers] if inspection else [],
        rate="" if rate is None else f"{rate} Hz",
        skipped=inspection.skipped if inspection else (),
        notes=[*card.notes, *(inspection.notes if inspection else ()), *(probe.notes if probe else ())],
        sounds=[_sound(one, shown=n < MOST_PICTURES) for n, one in enumerate(card.sounds)],
        most_pictures=MOST_PICTURES,
        totals=[
            *([] if card.pooled is None else [_summary("All together", card.pooled)]),
            *([] if card.reference is None else [_summary("Reference", card.reference)]),
        ],
        strongest="" if card.strongest is None else _level(card.strongest),
        attribution=None if probe is None or probe.attribution is None else probe.attribution,
        trials=[_trial(trial) for trial in probe.attribution.trials] if probe and probe.attribution else [],
    )


def _state(verdict: str) -> str:
    """Class of a verdict: what colour it has."""
    if verdict.startswith("clean"):
        return "clean"
    return "tones" if verdict.startswith("tones") and "none beyond" not in verdict else "open"


def _layer(layer: InspectedLayer) -> dict[str, Any]:
    response = layer.response
    droops = () if response is None else (response.droop_quarter_db, response.droop_edge_db)
    return {
        "name": layer.name or "(model)",
        "kind": layer.kind,
        "stride": _sizes(layer.stride) + "?" * layer.assumed,
        "kernel": _sizes(layer.kernel_size),
        "channels": f"{layer.in_channels} → {layer.out_channels}",
        "overlap": layer.overlap,
        "uneven": layer.overlap != "even",
        "tone": "none" if layer.tonal_fraction_db <= LEAST_DB else f"{layer.tonal_fraction_db:.1f}",
        "loud": layer.regularity_order == 0,
        "order": layer.regularity_order,
        "image": "" if response is None else _number(response.image_db),
        "droop": " / ".join(_number(one) for one in droops),
        "power": "" if response is None else _number(response.phase_power_db),
        "lines": ", ".join(f"{hz:g}" for hz in layer.lines_hz),
    }


def _summary(title: str, report: ToneReport) -> dict[str, Any]:
    line = report.strongest
    return {
        "title": title,
        "verdict": report.verdict,
        "state": _state(report.verdict),
        "strongest": "" if line is None else _level(line),
        "found": f"{sum(one.detected for one in report.lines)} of {len(report.lines)}" if report.lines else "",
        "decoys": "" if report.decoy_rate is None else f"{report.decoy_rate:.1%}",
        "duration": f"{report.duration_s:.2f} s",
        "notes": report.notes,
    }


def _level(line: ToneLine) -> str:
    return f"{line.level_dbfs:.1f} dBFS at {line.frequency_hz:.1f} Hz"


def _sound(heard: Heard, shown: bool) -> dict[str, Any]:
    report = heard.report
    lines = sorted(report.lines, key=lambda line: (not line.detected, not line.marks, -line.level_dbfs))[:MOST_LINES]
    louder_db, sound = _playable(heard.audio, report.sample_rate) if shown else (0.0, "")
    return {
        **_summary(WORDS.get(heard.title, heard.title), report),
        "lines": [_line(line) for line in lines],
        "picture": _picture(heard) if shown else "",
        "audio": sound,
        "part": f"Heard and shown: the longest of {report.clips} clips, from its beginning."
        if report.clips > 1
        else "",
        "louder": f"{louder_db:+.0f} dB" if louder_db else "",
    }


def _line(line: ToneLine) -> dict[str, Any]:
    low, high = line.interval_dbfs
    return {
        "hz": f"{line.frequency_hz:.1f}",
        "stages": ", ".join(map(str, line.stages)),
        "level": f"{line.level_dbfs:.1f}",
        "interval": f"{low:.1f} to {high:.1f}",
        "floor": f"{line.floor_dbfs:.1f}",
        "p": f"{line.p_value:.1e}",
        "marks": line.marks,
        "detected": line.detected,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    drops = [f"{'≥ ' * bound}{_number(drop)}" for drop, bound in zip(trial.drop_db, trial.at_least, strict=True)]
    change = "" if trial.change_db is None else _number(trial.change_db)
    return {"name": trial.name, "drops": drops, "change": change, "note": trial.note}


def _picture(heard: Heard) -> str:
    if len(heard.audio) < 16:
        return ""
    written = io.BytesIO()
    plot_tones([Panel("", heard.audio, heard.report)], written)
    return _data("image/png", written.getvalue())


def _playable(audio: np.ndarray[Any, Any], sample_rate: int) -> tuple[float, str]:
    """Return by how many dB a sound is played louder, and the sound as a data URI, empty where there is none."""
    peak = float(np.abs(audio).max(initial=0.0))
    if not SILENT < peak < math.inf:
        return 0.0, ""
    gain = PLAYED_PEAK / peak if peak < QUIET or peak > 1 else 1.0
    written = io.BytesIO()
    soundfile.write(written, gain * audio, sample_rate, format="FLAC", subtype="PCM_16")
    return 20 * math.log10(gain), _data("audio/flac", written.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}" if math.isfinite(value) else "∞" if value > 0 else "−∞"


def _sizes(value: int | Sequence[int]) -> str:
    return str(value) if isinstance(value, int) else " × ".join(map(str, value))
