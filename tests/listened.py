"""A comparison of untrained vocoders as compare_upsamplers.py leaves one, and the listening page built of it."""

import base64
import io
import json
import math
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import comparison.lines
import numpy as np
import soundfile
import torch
from comparison.phases import phases_of
from playwright.sync_api import Page
from safetensors.torch import save_file
from sounds import RATE, white
from vocoder.checkpoint import save_checkpoint
from vocoder.model import Generator
from vocoder.options import Options, plain, resolve
from vocoder.presets import PRESETS

sys.path.insert(0, str(Path(__file__).parents[1] / "samples"))

import make

HOSTILE = "<img src=x onerror=alert(1)>"
STRIDES = PRESETS["tiny"].generator.strides
PERIOD = math.prod(STRIDES)
SEED = 3


def spoken(seconds: float, hz: float, seed: int) -> np.ndarray:
    """Return a buzz with a vibrato and pauses."""
    n = np.arange(round(RATE * seconds))
    phase = 2 * np.pi * hz / RATE * n + 2 * np.sin(2 * np.pi * 5.3 / RATE * n)
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.maximum(0, np.sin(2 * np.pi * 1.7 / RATE * n))
    return 0.1 * buzz + white(seconds, 1e-3, seed)[: len(n)]


def make_run(folder: Path) -> Path:
    """Lay out a comparison as compare_upsamplers.py does, of untrained vocoders: transposed and ours."""
    data, run = folder / "data", folder / "comparison"
    clips = {"train/one": 1.5, "valid/two": 1.5, "test/brief": 1.0, "test/hello": 2.2, f"test/{HOSTILE}": 2.4}
    for number, (name, seconds) in enumerate(clips.items()):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(data / f"{name}.wav", spoken(seconds, 120 + 13 * number, number), RATE)
    rows = []
    for phase in phases_of(["transposed", "ours"], [SEED], 2, 1):
        given = Options(preset="tiny", data=str(data), seed=SEED, **phase.variant.options)
        options = resolve(given, torch.device("cpu"))
        torch.manual_seed(phase.steps)
        generator = Generator(80, PRESETS["tiny"].generator, options.upsampler, options.noise)
        with torch.no_grad():  # as quiet as speech, and no two vocoders alike
            generator.conv_post.parametrizations.weight.original0.mul_(0.5)
        one = run / "runs" / phase.run
        save_checkpoint(one / "checkpoints", phase.steps, {"generator": generator.state_dict()}, {})
        config = {"options": plain(options), "sample_rate": RATE}
        (one / "config.json").write_text(json.dumps(config), encoding="utf-8")
        phase.weights(run).parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in generator.state_dict().items()}, phase.weights(run))
        phase.weights(run).with_suffix(".json").write_text('{"options": {}}', encoding="utf-8")
        rows.append({"variant": phase.variant.name, "seed": SEED, "phase": phase.name, "steps": phase.steps})
    options = {"data": str(data), "test_clips": 3, "warmup_steps": 2, "adversarial_steps": 1, "seeds": [SEED]}
    results = {"options": {**options, "variants": ["transposed", "ours"]}, "rows": rows}
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return run


def built(folder: Path) -> tuple[Path, Path]:
    """Build the page of `make_run`; return the run and the folder of the page."""
    run, page = make_run(folder), folder / "page"
    seconds, comparison.lines.SECONDS = comparison.lines.SECONDS, 4.0
    try:
        assert (
            make.main([str(run), "--out", str(page), "--attribution", f"Spoken by {HOSTILE}", "--commit", "abc"]) == 0
        )
    finally:
        comparison.lines.SECONDS = seconds
    return run, page


@cache
def built_once(base: Path) -> Path:
    """Return the folder of the page, built where several modules find it."""
    return built(base / "listened")[1]


def ready(page: Page, clip: str = "") -> None:
    """Wait for the sound of a clip, or of any."""
    page.wait_for_selector(f'#listen[data-ready="{clip}"]' if clip else "#listen[data-ready]", timeout=20000)


def listing_of(page: Path) -> dict[str, Any]:
    text = (page / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="listing">(.*?)</script>', text, re.S)[1])


def tracks_of(page: Path, clip: dict[str, Any]) -> list[np.ndarray]:
    """Decode the tracks of a clip from its script."""
    script = (page / clip["file"]).read_text(encoding="utf-8")
    identifier, tracks = json.loads("[" + script[len("audioup.arrived(") : script.rindex(")")] + "]")
    assert identifier == clip["id"]
    return [soundfile.read(io.BytesIO(base64.b64decode(track)))[0] for track in tracks]
