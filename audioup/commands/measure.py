"""``audioup measure``: stride tones in recordings."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from audioup.commands.errors import InputError, printable
from audioup.measured import Measured
from audioup.meter import Meter
from audioup.recording import Recording, find_recordings, first_seconds
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
        strides = _parse_strides(self.strides)
        if self.plot is not None:
            _check_picture(self.plot)
        reference = None if self.reference is None else _reference(self.reference, strides)
        session = _Session(strides, reference)
        session.measure(self.files)
        results, failures = session.results, session.failures
        if not results:
            raise InputError(_lines(failures) if failures else "audioup: no files given")
        pooled = session.pooled()
        if self.json:
            rows = [{"path": printable(r.path), "channel": r.channel, **r.report.to_dict()} for r in results]
            together = None if pooled is None else pooled.to_dict()
            print(json.dumps({"files": rows, "pooled": together, "failures": failures}, indent=1, allow_nan=False))
        else:
            _print(results, pooled)
        if failures:
            print(_lines(failures), file=sys.stderr)
        if self.plot is not None:
            _plot(results, self.plot)
        return 1 if failures else 0


@dataclass
class _Result:
    path: Path
    channel: int
    channels: int
    report: ToneReport

    @property
    def title(self) -> str:
        name = printable(self.path)
        return name if self.channels == 1 else f"{name}, channel {self.channel}"


class _Session:
    """Measures files one by one; of each only its report stays, and one sum for all of a sample rate."""

    def __init__(self, strides: tuple[int, ...], reference: ToneReport | None) -> None:
        self.strides, self.reference = strides, reference
        self.results: list[_Result] = []
        self.failures: list[dict[str, str]] = []
        self._meters: dict[int, Meter] = {}
        self._sums: dict[int, Measured] = {}
        self._summed: set[Path] = set()

    def measure(self, paths: Sequence[Path]) -> None:
        """Measure files, and what is in folders and patterns."""
        with tqdm(unit="s", unit_scale=True, disable=None, leave=False, desc="measuring") as bar:  # at a terminal only
            for path, missing in list(find_recordings(paths)):
                try:
                    if missing is not None:
                        raise ValueError(missing)
                    self._measure(path, bar)
                except (OSError, ValueError) as error:
                    self.failures.append({"path": printable(path), "error": str(error)})

    def pooled(self) -> ToneReport | None:
        """Report on all files together; None where they have different sample rates."""
        if len(self._sums) != 1:
            return None
        ((rate, measured),) = self._sums.items()
        return self._meters[rate].report(measured, self.reference)

    def _measure(self, path: Path, bar: "tqdm[Any]") -> None:
        with Recording(path) as recording:
            rate = recording.sample_rate
            if self.reference is not None and rate != self.reference.sample_rate:
                raise ValueError(f"its sample rate is {rate} Hz, that of --reference {self.reference.sample_rate} Hz")
            if rate not in self._meters:
                self._meters[rate] = Meter(rate, self.strides)
            meter = self._meters[rate]
            bar.total = (bar.total or 0) + recording.samples / rate

            def read(start: int, stop: int) -> Any:
                bar.update((stop - start) / rate)
                return recording.read(start, stop)

            meter.check_length(recording.samples or meter.period)  # an empty one is told as such
            channels = meter.measure(read, recording.samples)
        for channel, measured in enumerate(channels):
            report = meter.report(measured, self.reference)
            self.results.append(_Result(path, channel, len(channels), report))
        # Channels of one recording, or a file named twice, are not independent evidence: the first of each counts.
        if path.resolve() not in self._summed:
            self._summed.add(path.resolve())
            self._sums[rate] = self._sums[rate] + channels[0] if rate in self._sums else channels[0]


def _parse_strides(text: str) -> tuple[int, ...]:
    try:
        strides = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"audioup: --strides must be integers separated by commas, got {text!r}") from None
    if min(strides) < 1 or max(strides) < 2:
        raise InputError(f"audioup: --strides must be positive and not all 1, got {text!r}")
    return strides


def _reference(path: Path, strides: tuple[int, ...]) -> ToneReport:
    session = _Session(strides, None)
    session.measure([path])
    if session.failures:
        raise InputError(_lines(session.failures))
    report = session.pooled()
    if report is None:
        raise InputError(f"audioup: --reference {printable(path)} holds recordings of different sample rates")
    return report


def _print(results: Sequence[_Result], pooled: ToneReport | None) -> None:
    for r in results:
        print(f"{r.title}\n{r.report}\n" if len(results) <= MOST_TABLES else f"{r.title}: {r.report.verdict}")
    if pooled is None:
        print("the files have different sample rates, so they are not tested together")
    elif len(results) > 1:
        print(f"all files together\n{pooled}")


def _lines(failures: Sequence[dict[str, str]]) -> str:
    return "\n".join(f"audioup: {failure['path']}: {failure['error']}" for failure in failures)


def _check_picture(path: Path) -> None:
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"audioup: --plot must end in .png, .svg or .pdf, got {str(path)!r}")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"audioup: --plot {path}: {'a folder' if path.is_dir() else 'no such folder'}")


def _plot(results: Sequence[_Result], path: Path) -> None:
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
