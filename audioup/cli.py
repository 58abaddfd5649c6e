"""The command line: ``audioup measure``."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from audioup.measured import Measured
from audioup.meter import Meter
from audioup.recording import Recording, find_recordings, first_seconds
from audioup.tone_report import ToneReport

MOST_TABLES = 4  # of more recordings than this only the verdicts are printed, and the table of all together
MOST_PANELS = 8  # of a picture


class InputError(Exception):
    """One line for the person at the terminal; the status is 2."""


@dataclass
class Measure:
    """Measure the tones that a generator's upsampling strides leave in its recordings.

    Files must start where the generator started: a tone is recognised by keeping its phase from the first sample on.
    Channels are measured apart. Several files of one sample rate are also tested together, which finds fainter tones.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings (wav, flac, ogg, mp3) of at least 0.8 s, or 48 times the product of strides if longer; folders of
    them, or patterns such as 'runs/*/audio/*.generated.wav'."""
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
        meters = _Meters(_parse_strides(self.strides))
        reference = None if self.reference is None else _reference(self.reference, meters)
        files, failures = _measure_files(self.files, meters)
        if reference is not None:
            rate, beside = reference
            others = sorted({f.meter.sample_rate for f in files} - {rate})
            if others:
                raise InputError(f"audioup: --reference has {rate} Hz, but there are recordings of {others[0]} Hz")
        else:
            beside = None
        if not files:
            raise InputError(_lines(failures) if failures else "audioup: no files given")
        results = [
            _Result(f, channel, f.meter.report(m, beside)) for f in files for channel, m in enumerate(f.channels)
        ]
        pooled = _pool(files, beside)
        if self.json:
            rows = [{"path": str(r.file.path), "channel": r.channel, **r.report.to_dict()} for r in results]
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
class _File:
    path: Path
    meter: Meter
    channels: list[Measured]


@dataclass
class _Result:
    file: _File
    channel: int
    report: ToneReport

    @property
    def title(self) -> str:
        return str(self.file.path) if len(self.file.channels) == 1 else f"{self.file.path}, channel {self.channel}"


class _Meters(dict[int, Meter]):
    """One meter for each sample rate."""

    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides

    def __missing__(self, sample_rate: int) -> Meter:
        self[sample_rate] = meter = Meter(sample_rate, self.strides)
        return meter


def _parse_strides(text: str) -> tuple[int, ...]:
    try:
        strides = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"audioup: --strides must be integers separated by commas, got {text!r}") from None
    if min(strides) < 1 or max(strides) < 2:
        raise InputError(f"audioup: --strides must be positive and not all 1, got {text!r}")
    return strides


def _measure_files(paths: Sequence[Path], meters: _Meters) -> tuple[list[_File], list[dict[str, str]]]:
    files, failures = [], []
    with tqdm(unit="s", unit_scale=True, disable=None, leave=False, desc="measuring") as bar:  # at a terminal only
        for path, missing in list(find_recordings(paths)):
            try:
                if missing is not None:
                    raise ValueError(missing)
                files.append(_measure_file(path, meters, bar))
            except (OSError, ValueError) as error:
                failures.append({"path": str(path), "error": str(error)})
    return files, failures


def _measure_file(path: Path, meters: _Meters, bar: "tqdm[Any]") -> _File:
    with Recording(path) as recording:
        meter = meters[recording.sample_rate]
        bar.total = (bar.total or 0) + recording.samples / recording.sample_rate

        def read(start: int, stop: int) -> Any:
            bar.update((stop - start) / recording.sample_rate)
            return recording.read(start, stop)

        channels = meter.measure(read, recording.samples)
        meter.check_length(recording.samples)
        return _File(path, meter, channels)


def _reference(path: Path, meters: _Meters) -> tuple[int, ToneReport]:
    files, failures = _measure_files([path], meters)
    if failures:
        raise InputError(_lines(failures))
    report = _pool(files, None)
    if report is None:
        raise InputError(f"audioup: --reference {path} holds recordings of different sample rates")
    return report.sample_rate, report


def _pool(files: Sequence[_File], reference: ToneReport | None) -> ToneReport | None:
    # Channels of one recording, or a file named twice, are not independent evidence: the first of each is pooled.
    first = {f.path.resolve(): f for f in files}.values()
    meters = {f.meter.sample_rate: f.meter for f in first}
    if len(meters) > 1:
        return None
    (meter,) = meters.values()
    return meter.report(reduce(add, [f.channels[0] for f in first]), reference)


def _print(results: Sequence[_Result], pooled: ToneReport | None) -> None:
    for r in results:
        print(f"{r.title}\n{r.report}\n" if len(results) <= MOST_TABLES else f"{r.title}: {r.report.verdict}")
    if pooled is None:
        print("the files have different sample rates, so they are not tested together")
    elif len(results) > 1:
        print(f"all files together\n{pooled}")


def _lines(failures: Sequence[dict[str, str]]) -> str:
    return "\n".join(f"audioup: {failure['path']}: {failure['error']}" for failure in failures)


def _plot(results: Sequence[_Result], path: Path) -> None:
    if not path.suffix:
        raise InputError(f"audioup: --plot must end in .png, .svg or .pdf, got {str(path)!r}")
    try:
        from audioup.plot import LONGEST_S, Panel, plot_tones
    except ImportError as error:
        raise InputError(f"audioup: --plot needs pip install 'audioup[plot]' ({error})") from None
    if len(results) > MOST_PANELS:
        print(f"audioup: --plot shows the first {MOST_PANELS} of {len(results)}", file=sys.stderr)
    try:
        panels = [
            Panel(r.title, first_seconds(r.file.path, LONGEST_S, r.channel), r.report) for r in results[:MOST_PANELS]
        ]
        plot_tones(panels, path)
    except (OSError, ValueError) as error:
        raise InputError(f"audioup: --plot {path}: {error}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after ``audioup``; by default those of the process.

    Returns:
        Exit status: 0 done, 1 some files failed, 2 bad input. (Wrong usage exits with 2 at once.)
    """
    app = tyro.extras.SubcommandApp()
    app.command(name="measure")(Measure)
    try:
        command = app.cli(args=arguments, prog="audioup", description=__doc__)
        return int(command.run())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python flushes it once more as it exits
        return 1


if __name__ == "__main__":
    sys.exit(main())
