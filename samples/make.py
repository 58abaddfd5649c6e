"""Build the listening page of a comparison: sound, measured tones, and a page that opens from disk.

    python samples/make.py runs/comparison
    python samples/make.py runs/comparison --attribution "Recordings: ..., licence ..."

Nothing is trained: the vocoders that `recipes/compare_upsamplers.py` kept are run again, and their tones measured as
there. Needs ``pip install 'audioup[samples]'``.
"""

import dataclasses
import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "recipes")]

import compare_upsamplers  # noqa: E402
import tyro  # noqa: E402
from comparison.lines import in_brief  # noqa: E402
from comparison.tables import level  # noqa: E402
from listening.clips import clips_of  # noqa: E402
from listening.hearing import Heard, listen  # noqa: E402
from listening.options import Options, check  # noqa: E402
from listening.page import publish, render_page, render_readme  # noqa: E402
from listening.vocoders import EDGE_S, SPEECH, last_phases, read_results  # noqa: E402

# Of compare_upsamplers.py: they do not decide what comes out, or name places of a machine.
UNSAID = ("out", "cache", "publish", "train_only", "accelerator")


def run(options: Options) -> list[Path]:
    """Build the page; return its files."""
    check(options)
    results = read_results(options.run)
    heard = listen(options, results, last_phases(results, options.run))
    clips, scripts = clips_of(options, heard)
    listing = {
        "sample_rate": heard.sample_rate,
        "strides": heard.strides,
        "tracks": heard.tracks,
        "clips": clips,
        "kinds": {kind: [tones[kind].to_dict() for tones in heard.tones] for kind in heard.tones[0]},
    }
    rule = (
        f"the first {options.clips} of the held-out clips, by name, that last {options.shortest_s:g} to "
        f"{options.longest_s:g} s"
    )
    common = {"listing": listing, "rule": rule, "attribution": options.attribution, "held_out": heard.held_out}
    files = {"index.html": page(heard, common), **scripts}
    files["README.md"] = readme(options, results, common, files)
    size = sum(len(content.encode()) for content in files.values()) / 1e6
    if size > options.most_mb:
        raise ValueError(
            f"the page would take {size:.1f} MB, more than --most-mb {options.most_mb:g}: give fewer --clips"
        )
    publish(files, options.out)
    return [options.out / name for name in files]


def page(heard: Heard, common: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    clips, period = common["listing"]["clips"], heard.period
    titles = [(number, clip["title"]) for number, clip in enumerate(clips)]
    spoken = [titles[n] for n, clip in enumerate(clips) if clip["kind"] == SPEECH]
    others = [titles[n] for n, clip in enumerate(clips) if clip["kind"] != SPEECH]
    rows = [("", *heard.tones[0], "found", "trained")]
    for track, tones in zip(heard.tracks, heard.tones, strict=True):
        lines = {kind: in_brief(found.report) for kind, found in tones.items()}
        found = f"{lines[SPEECH]['detected']} of {lines[SPEECH]['lines']}"
        rows.append((track["name"], *(level(one).replace("-", "−") for one in lines.values()), found, track["trained"]))
    steps = sorted({track["steps"] for track in heard.tracks[1:]})
    return render_page(
        groups=[("Held-out speech", spoken), ("Other inputs", others)],
        table=rows,
        spacing=f"{heard.sample_rate / period:g}",
        parameters=_span(heard.parameters),
        steps=_span(steps),
        **common,
    )


def readme(options: Options, results: Mapping[str, Any], common: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Return the README: commands, weights, and every file with its source."""
    listing = common["listing"]
    rows = [
        (
            clip["file"],
            f"{len(files[clip['file']].encode()) / 1e6:.2f}",
            clip["title"],
            f"{clip['seconds']:.2f}",
            clip["loud"],
            hashlib.sha256(files[clip["file"]].encode()).hexdigest()[:16],
        )
        for clip in listing["clips"]
    ]
    return render_readme(
        training=training_command(results["options"]),
        building=building_command(options),
        commit=options.commit or ", ".join(dict.fromkeys(row.get("commit", "unknown") for row in results["rows"])),
        files=rows,
        excerpt=f"{options.excerpt_s:g}",
        edge=f"{EDGE_S:g}",
        **common,
    )


def training_command(made_with: Mapping[str, Any]) -> str:
    """Return the command of a comparison, without what is by default and without places."""
    words = ["python", "recipes/compare_upsamplers.py"]
    for field in dataclasses.fields(compare_upsamplers.Options):
        value = made_with.get(field.name)
        given = list(value) if isinstance(value, (list, tuple)) else value
        usual = list(field.default) if isinstance(field.default, tuple) else field.default
        if field.name not in UNSAID and field.name in made_with and given != usual:
            words.append(f"--{field.name.replace('_', '-')}")
            words += map(str, given) if isinstance(given, list) else [_place(given)]
    return shlex.join(words)


def building_command(options: Options) -> str:
    """Return the command of the page, without what is by default and without places."""
    words = ["python", "samples/make.py", f"runs/{options.run.resolve().name}"]
    for field in dataclasses.fields(Options):
        value = getattr(options, field.name)
        if field.name not in ("run", "out", "cache", "commit") and value != field.default:
            words += [f"--{field.name.replace('_', '-')}", _place(value) if field.name == "data" else str(value)]
    return shlex.join(words)


def _place(value: object) -> str:
    # A folder is named without where it lies.
    return Path(value).name if isinstance(value, str) and "/" in value else str(value)


def _span(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        files = run(options)
    except (ValueError, OSError) as error:
        print(f"make: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make: interrupted; nothing was written", file=sys.stderr)
        return 130
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{options.out / 'index.html'}: {len(files)} files, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
