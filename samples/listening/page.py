"""The files of the listening page: the page, a script of sound for each clip, and a word on how they came about."""

import base64
import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

HERE = Path(__file__).parent
# Joined in this order into one script, which its hash admits; what it inserts, the scripts of sound, is admitted by it.
SCRIPTS = ("page", "fourier", "overlap", "figure", "player", "picture", "abx", "listening", "blind", "main")
TICKS = 5  # of the frequency axis
MARKS = {"index.html": "<title>Hear the upsamplers</title>", "README.md": "# Samples"}  # what tells an earlier page


def flac(sound: NDArray[np.float64], sample_rate: int) -> bytes:
    """Return sound as a FLAC file of 16 bits.

    Raises:
        ValueError: If it would clip.
    """
    steps = np.round(sound * 2**15)
    if np.abs(steps).max(initial=0) >= 2**15:
        raise ValueError(f"sound must stay below full scale, got a peak of {np.abs(sound).max():.3g}")
    written = io.BytesIO()
    soundfile.write(written, steps.astype(np.int16), sample_rate, format="FLAC", subtype="PCM_16")
    return written.getvalue()


def data_script(identifier: str, tracks: Sequence[bytes]) -> str:
    """Return the script that hands the page the tracks of a clip."""
    sounds = [base64.b64encode(track).decode("ascii") for track in tracks]
    return f"audioup.arrived({json.dumps(identifier)}, {json.dumps(sounds, separators=(',', ':'))});\n"


def render_page(listing: Mapping[str, Any], **words: Any) -> str:
    """Return the page as HTML; whatever came with files is escaped, and only this script may run.

    Args:
        listing: What the script reads.
        words: What the template shows besides.
    """
    parts = [(HERE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    script = '(() => {\n"use strict";\n' + "\n".join(parts) + "})();"
    style = (HERE / "style.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(script)} 'strict-dynamic'; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    highest_khz = listing["sample_rate"] / 2000
    return _render(
        "page.html",
        True,
        listing=listing,
        script=Markup(script),
        style=Markup(style),
        policy=Markup(policy),
        axis=[f"{highest_khz * (TICKS - 1 - n) / (TICKS - 1):.3g}" for n in range(TICKS)],
        **words,
    )


def render_readme(**words: Any) -> str:
    """Return the README of the page's folder, in Markdown."""
    return _render("readme.md", False, **words)


def publish(files: Mapping[str, str], out: Path) -> None:
    """Write all files, by their path in ``out``, or none; what an earlier page left in ``out/data`` goes.

    Raises:
        ValueError: If there is something in their places that is no earlier page.
        OSError: If they cannot be written; what was there is left alone.
    """
    _check_free(out)
    draft = out / ".writing"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        (draft / "data").mkdir(parents=True)
        for name, content in files.items():
            (draft / name).write_text(content, encoding="utf-8")
        if (out / "data").exists():
            (out / "data").rename(draft / "earlier")
        try:
            (draft / "data").rename(out / "data")
        except OSError:
            if (draft / "earlier").exists():
                (draft / "earlier").rename(out / "data")
            raise
        for name in files:
            if "/" not in name:
                (draft / name).replace(out / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_free(out: Path) -> None:
    others = [path for path in (out / "data").glob("*") if not re.fullmatch(r"[0-9]{2,}-.*\.js", path.name)]
    for name, mark in MARKS.items():
        path = out / name
        if path.exists() and mark not in path.read_text(encoding="utf-8", errors="replace"):
            others.append(path)
    if others:
        raise ValueError(f"{others[0]} is no part of an earlier page: choose another --out")


def _render(name: str, escaped: bool, **words: Any) -> str:
    environment = Environment(autoescape=escaped, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = _cell
    return environment.from_string((HERE / name).read_text(encoding="utf-8")).render(words) + "\n"


def _cell(text: object) -> str:
    # Of a Markdown table, in which names of files may hold anything.
    escaped = str(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
