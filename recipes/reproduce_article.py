"""Measure every claim of "Deconvolution and Checkerboard Artifacts" and write one page about it.

    python recipes/reproduce_article.py
    python recipes/reproduce_article.py --quick
    python recipes/reproduce_article.py --only stacked damped

``runs/article/`` (``runs/article-quick/``) gets index.html, self-contained, and claims.json. Claims that are measured
are not measured again, networks that are trained not trained again, and training that was interrupted goes on.

Source: Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts" (Distill, 2016).
"""

import dataclasses
import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import tyro
from article.claims import CLAIMS, Claim
from article.earlier import read_result
from article.outcome import Context
from article.page import write_page
from gan.options import check_folder
from tqdm import tqdm
from vocoder.checkpoint import drafts

# What a kept result holds.
RESULT: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "title", "expected", "summary"), str),
    **dict.fromkeys(("measured", "checks", "pictures", "key"), dict),
    "holds": bool,
    "seconds": (int, float),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the claims of "Deconvolution and Checkerboard Artifacts"."""

    only: tuple[str, ...] = ()
    """Names of claims, as in claims.json; by default all."""
    quick: bool = False
    """16 x 16 images and few steps, so verdicts on training may differ: all of it in about ten minutes on two cores."""
    fresh: bool = False
    """Measure again what is measured already; trained networks are kept."""
    out: Path | None = None
    """Folder of the results; by default runs/article, or runs/article-quick with --quick."""
    data: str = "photos"
    """photos (the two that come with scikit-learn), or a folder of images, with or without a folder for each class."""
    accelerator: str = "auto"
    """For the GANs: cpu, cuda, ...: see Lightning Fabric."""
    threads: int = 1
    """Of torch on the CPU; with networks this small, several mostly wait for each other."""


def wanted(names: Sequence[str]) -> list[Claim]:
    """Return the claims of these names, in the order of the table; all if there are none."""
    known = {claim.name for claim in CLAIMS}
    for name in names:
        if name not in known:
            raise ValueError(f"--only must name any of {', '.join(claim.name for claim in CLAIMS)}, got {name}")
    return [claim for claim in CLAIMS if not names or claim.name in names]


def key(claim: Claim, context: Context) -> dict[str, Any]:
    """Return what a kept result must agree with to be used again."""
    # Of a folder the name says nothing about its content; scikit-learn's photographs are always the same.
    photographs = {} if context.data == "photos" else {"photographs": context.photographs}
    return {
        "expected": claim.expected,
        "limits": dict(claim.limits),
        "quick": context.quick,
        "data": context.data,
        **photographs,
        "torch": version("torch"),
    }


def kept(claim: Claim, context: Context) -> dict[str, Any] | None:
    """Return the result of an earlier run, or None if there is none that fits and has its pictures."""
    wanted = key(claim, context)
    path = context.folder / "claims" / f"{claim.name}.json"
    if not path.exists():
        return None
    result = read_result(path, RESULT)
    fits = result["key"] == wanted
    whole = all((context.folder / picture).exists() for picture in result["pictures"])
    return result if fits and whole else None


def measure(claim: Claim, context: Context) -> dict[str, Any]:
    """Measure a claim and keep the result."""
    start = time.perf_counter()
    outcome = claim.measure(context, claim.limits)
    result = {
        "name": claim.name,
        "title": claim.title,
        "expected": claim.expected,
        **outcome.to_dict(),
        "seconds": time.perf_counter() - start,
        "key": key(claim, context),
    }
    write_json(result, context.folder / "claims" / f"{claim.name}.json")
    return result


def write_json(content: Any, path: Path) -> None:
    """Write JSON so that a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with drafts(path) as (draft,):
        draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_all(context: Context) -> list[dict[str, Any]]:
    """Write claims.json and index.html from what is measured; return that."""
    results = []
    for claim in CLAIMS:
        unknown = {"name": claim.name, "title": claim.title, "expected": claim.expected, "holds": None}
        results.append({**(kept(claim, context) or unknown), "revised": claim.revised})
    known = [{k: v for k, v in result.items() if k != "key"} for result in results]
    write_json(known, context.folder / "claims.json")
    sizes = "16 x 16 images and few steps (--quick)" if context.quick else "32 x 32 images"
    about = (
        f"python recipes/reproduce_article.py, {sizes}, data {context.data}, audioup {version('audioup')}, torch "
        f"{version('torch')}, Python {platform.python_version()}, {torch.get_num_threads()} threads"
    )
    write_page(known, context.folder, about)
    return [result for result in known if result["holds"] is not None]


def run(options: Options) -> None:
    """Measure what is not measured yet, and write the page."""
    claims = wanted(options.only)
    if options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")
    torch.set_num_threads(options.threads)
    folder = options.out or Path("runs/article-quick" if options.quick else "runs/article")
    context = Context(folder, options.quick, options.data, options.accelerator)
    check_folder(folder / "claims")
    for claim in CLAIMS:  # damage is named before anything is measured: all of them go into the page
        kept(claim, context)
    folder.mkdir(parents=True, exist_ok=True)
    with tqdm(claims, unit="claim") as bar:
        for claim in bar:
            bar.set_description(claim.name)
            result = None if options.fresh else kept(claim, context)
            if result is None:
                result = measure(claim, context)
                write_all(context)
            tqdm.write(f"{claim.name}: {'holds' if result['holds'] else 'DOES NOT HOLD HERE'}\n    {result['summary']}")
            for check, passed in result["checks"].items():
                if not passed:
                    tqdm.write(f"    not so: {check}")
    found = write_all(context)
    print(f"{sum(result['holds'] for result in found)} of {len(found)} claims hold, {len(CLAIMS)} in all")
    print(f"look: {folder / 'index.html'}   numbers: {folder / 'claims.json'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"reproduce_article: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("reproduce_article: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
