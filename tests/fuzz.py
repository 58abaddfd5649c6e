"""Feed hostile files to all that reads files: recordings, checkpoints, ONNX graphs.

Files are damaged byte by byte and field by field, most of them so that their header is still one; files that make
something new happen are damaged further. What is tried is what a user would run: `audioup measure`, `inspect`, the
opening of `report`, and the recipes' loading of clips, checkpoints and runs. Nothing may come of it but a result or an
error that is documented: no crash, no other exception, nothing that takes more than 5 s or 1 GB, and no code in a file
may run. What goes wrong is kept in OUT/found.

    python tests/fuzz.py --inputs 100000
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro
from fuzzing.cases import TARGETS
from fuzzing.watch import Tally, made
from fuzzing.worker import MEMORY_MB, SECONDS
from tqdm import tqdm

from audioup.table import table

SHARES = {"audio": 0.35, "checkpoint": 0.35, "onnx": 0.3}  # of the inputs, where all targets are tried


@dataclass(frozen=True)
class Options:
    """Feed hostile files to all that reads files; exit with 1 if anything goes wrong."""

    target: Literal["audio", "checkpoint", "onnx", "all"] = "all"
    """What is tried."""
    inputs: int = 100_000
    """How many inputs, of all targets together."""
    seed: int = 0
    """Decides the inputs."""
    out: Path = Path("runs/fuzz")
    """Folder for fuzz.json and what goes wrong."""


def shown(tallies: Sequence[Tally]) -> str:
    """Lay the results out for the terminal."""
    head = (
        "",
        "inputs",
        "passed the header",
        "accepted",
        "refused",
        "ends",
        "found",
        "slowest",
        "memory",
        "at rest",
        "took",
    )
    rows = [head]
    for one in tallies:
        share = f"{one.passed} ({one.passed / max(1, one.inputs):.0%})"
        figures = (one.inputs, share, one.accepted, one.refused, one.news, len(one.found))
        memory = f"{one.peak_mb:.0f} MB", f"{one.baseline_mb:.0f} MB"
        rows.append((one.target, *map(str, figures), f"{one.slowest_s:.2f} s", *memory, f"{one.seconds:.0f} s"))
    found = [
        # Of a traceback the last line says it, of what a process died of the first.
        f"{one.name}: {one.what.strip().splitlines()[-1 if one.kind == 'exception' else 0][:150]}"
        for tally in tallies
        for one in tally.found
    ]
    return "\n".join([table(rows), *found])


def main(arguments: Sequence[str] | None = None) -> int:
    """Try inputs and report; return the exit status."""
    given = tyro.cli(Options, args=arguments, description=__doc__)
    targets = TARGETS if given.target == "all" else (given.target,)
    out = given.out.absolute()
    shutil.rmtree(out / "found", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    tallies = []
    with tqdm(total=given.inputs, unit="input", smoothing=0.02) as bar:
        for target in targets:
            bar.set_description(target)
            count = round(given.inputs * (SHARES[target] if len(targets) > 1 else 1))
            tallies.append(made(target, count, given.seed, out, bar.update))
    limits = {"seconds": SECONDS, "memory_mb": MEMORY_MB}
    report = {"seed": given.seed, "limits": limits, "targets": [asdict(one) for one in tallies]}
    (out / "fuzz.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(shown(tallies))
    print(
        f"{out / 'fuzz.json'} is written"
        + (f", and what went wrong is in {out / 'found'}" * any(t.found for t in tallies))
    )
    return 1 if any(one.found for one in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
