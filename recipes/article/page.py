"""The report as one page: every claim with what was measured, pictures included, nothing loaded from elsewhere."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --paper: #fff; --faint: #586069; --line: #d0d7de; --good: #116329;
  --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --paper: #0d1117; --faint: #9da7b1; --line: #30363d;
  --good: #56d364; --bad: #ff7b72; } }
body { color: var(--text); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; max-width: 60rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1, h2 { line-height: 1.25; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
.yes { color: var(--good); font-weight: 600; } .no { color: var(--bad); font-weight: 600; }
.faint { color: var(--faint); }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { color: var(--faint); font-size: .9rem; } a { color: inherit; } pre { overflow-x: auto; font-size: .8rem; }
ul { padding-left: 1.2rem; }
"""


def write_page(results: Sequence[Mapping[str, Any]], folder: Path, about: str) -> None:
    """Write ``index.html``.

    Args:
        results: Of each claim ``name``, ``title``, ``expected``, and once it is measured ``holds``, ``summary``,
            ``checks``, ``measured``, ``pictures``, ``seconds``, ``revised``.
        folder: For the page; the pictures are read from there.
        about: How it was made, in a line.
    """
    known = [result for result in results if result.get("holds") is not None]
    rows = "\n".join(
        f'<tr><td><a href="#{_safe(result["name"])}">{_safe(result["title"])}</a></td><td>{_verdict(result)}</td></tr>'
        for result in results
    )
    sections = "\n".join(_section(result, folder) for result in known)
    holding = sum(bool(result["holds"]) for result in known)
    text = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Deconvolution and checkerboard artifacts, measured</title><style>{STYLE}</style></head><body>
<h1>Deconvolution and checkerboard artifacts, measured</h1>
<p>The claims of Odena, Dumoulin &amp; Olah, “Deconvolution and Checkerboard Artifacts” (Distill, 2016), computed anew:
{holding} of {len(known)} hold here in every point as they are stated below. What counts as holding stood before this
run; what was set or moved after first trials is said with each.
E2 and E4 are shares of an image’s energy that repeat with 2 and with 4 samples.</p>
<p class="faint">{_safe(about)}</p>
<table><tr><th>Claim</th><th>Here</th></tr>
{rows}
</table>
{sections}
</body></html>
"""
    draft = folder / ".writing-index.html"
    draft.write_text(text, encoding="utf-8")
    draft.replace(folder / "index.html")


def _section(result: Mapping[str, Any], folder: Path) -> str:
    checks = "".join(
        f"<li>{_safe(check)}: {_word(passed, 'yes', 'no')}</li>" for check, passed in result["checks"].items()
    )
    pictures = "".join(
        f'<figure><img src="{_data_uri(folder / name)}" alt="{_safe(caption)}">'
        f"<figcaption>{_safe(caption)}</figcaption></figure>"
        for name, caption in result["pictures"].items()
    )
    numbers = json.dumps(result["measured"], indent=1, ensure_ascii=False)
    return f"""<h2 id="{_safe(result["name"])}">{_safe(result["title"])}: {_verdict(result)}</h2>
<p><b>Expected</b> {_safe(result["expected"])}</p>
{f'<p class="faint">After first trials: {_safe(result["revised"])}.</p>' if result["revised"] else ""}
<p><b>Measured</b> {_safe(result["summary"])}</p>
<ul>{checks}</ul>
{pictures}
<details><summary>All numbers ({result["seconds"]:.1f} s)</summary><pre>{_safe(numbers)}</pre></details>"""


def _verdict(result: Mapping[str, Any]) -> str:
    if result.get("holds") is None:
        return '<span class="faint">not measured yet</span>'
    in_part = "holds in part" if any(result["checks"].values()) else "does not hold here"
    return _word(result["holds"], "holds", in_part)


def _word(good: bool, yes: str, no: str) -> str:
    return f'<span class="yes">{yes}</span>' if good else f'<span class="no">{no}</span>'


def _safe(text: str) -> str:
    return html.escape(text, quote=True)


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
