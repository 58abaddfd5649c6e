"""``audioup measure``: stride tones in recordings."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from audioup.commands.errors import InputError, parse_strides, printable
from audioup.commands.session import Result, Session, in_lines, reference_report
from audioup.recording import first_seconds
from audioup.tone_report import ToneReport

MOST_TABLES = 4  # of more recordings than this only the verdicts are printed, and the table of all together
MOST_PANELS = 8  # of a picture


@dataclass
class Measure:
    """Measure the tones that a generator's upsampling strides leave in its recordings.

    Files must start where the generator started: a tone is recognised by keeping its phase from the first sample on.
    Channels are measured apart. Several files of one sample rate are also tested together, which finds fainter tones.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings (wav, flac, ogg, mp3) of about a second, or 48 times the product of strides if longer; folders of
    them, or patterns such as 'runs/mine/audio/*.generated.wav'. Each should be another content."""
    strides: Annotated[str, tyro.conf.arg(metavar="INT,INT,...")]
    """Upsampling factors from input to output, such as 8,8,4."""
    reference: Path | None = None
    """A recording, folder or pattern of what the generator was to imitate: lines that it holds too are told apart."""
    json: bool = False
    """Print JSON instead of tables."""
    plot: Path | None = None
    """Write a picture: spectrograms with the stride harmonics marked, and the level of each."""

    def run(self) -> int:
        """Measure every file and print the result; return the exit status."""
        strides = parse_strides(self.strides)
        if self.plot is not None:
            _check_picture(self.plot)
        reference = None if self.reference is None else reference_report(self.reference, strides)
        session = Session(strides, reference)
        session.measure(self.files)
        results, failures = session.results, session.failures
        if not results:
            raise InputError(in_lines(failures) if failures else "audioup: no files given")
        pooled = session.pooled()
        if self.json:
            rows = [{"path": printable(r.path), "channel": r.channel, **r.report.to_dict()} for r in results]
            together = None if pooled is None else pooled.to_dict()
            print(json.dumps({"files": rows, "pooled": together, "failures": failures}, indent=1, allow_nan=False))
        else:
            _print(results, pooled)
        if failures:
            print(in_lines(failures), file=sys.stderr)
        if self.plot is not None:
            _plot(results, self.plot)
        return 1 if failures else 0


def _print(results: Sequence[Result], pooled: ToneReport | None) -> None:
    for r in results:
        print(f"{r.title}\n{r.report}\n" if len(results) <= MOST_TABLES else f"{r.title}: {r.report.verdict}")
    if pooled is None:
        print("the files have different sample rates, so they are not tested together")
    elif len(results) > 1:
        print(f"all files together\n{pooled}")


def _check_picture(path: Path) -> None:
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"audioup: --plot must end in .png, .svg or .pdf, got {str(path)!r}")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"audioup: --plot {path}: {'a folder' if path.is_dir() else 'no such folder'}")


def _plot(results: Sequence[Result], path: Path) -> None:
    try:
        from audioup.plot import LONGEST_S, Panel, plot_tones
    except ImportError as error:
        raise InputError(f"audioup: --plot needs pip install 'audioup[plot]' ({error})") from None
    if len(results) > MOST_PANELS:
        print(f"audioup: --plot shows the first {MOST_PANELS} of {len(results)}", file=sys.stderr)
    try:
        panels = [Panel(r.title, first_seconds(r.path, LONGEST_S, r.channel), r.report) for r in results[:MOST_PANELS]]
        plot_tones(panels, path)
    except (OSError, ValueError) as error:
        raise InputError(f"audioup: --plot {path}: {error}") from None
