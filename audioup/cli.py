"""The command line: ``audioup measure``."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import tyro

from audioup.measure import ToneReport, measure_tones


class InputError(Exception):
    """One line for the person at the terminal; the status is 2."""


@dataclass
class Measure:
    """Measure the tones that a generator's upsampling strides leave in its recordings.

    Files must start where the generator started: a tone is recognised by keeping its phase from the first sample on.
    Channels are measured apart. Several files of one sample rate are also tested together, which finds fainter tones.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings (wav, flac, ogg, mp3) of at least 0.8 s, or 48 times the product of strides if longer."""
    strides: Annotated[str, tyro.conf.arg(metavar="INT,INT,...")]
    """Upsampling factors from input to output, such as 8,8,4."""
    json: bool = False
    """Print JSON instead of tables."""
    plot: Path | None = None
    """Write a picture: spectrograms with the stride harmonics marked, and the level of each."""

    def run(self) -> int:
        """Measure every file and print the result; return the exit status."""
        strides = _parse_strides(self.strides)
        recordings, failures = [], []
        for path in self.files:
            try:
                recordings += _measure_file(path, strides)
            except soundfile.LibsndfileError as error:
                failures.append({"path": str(path), "error": f"no recording: {error.error_string}"})
            except (OSError, ValueError) as error:
                failures.append({"path": str(path), "error": str(error)})
        if not recordings:
            raise InputError(_lines(failures) if failures else "audioup: no files given")
        pooled = _pool(recordings, strides)
        if self.json:
            files = [{"path": str(r.path), "channel": r.channel, **r.report.to_dict()} for r in recordings]
            together = None if pooled is None else pooled.to_dict()
            print(json.dumps({"files": files, "pooled": together, "failures": failures}, indent=1, allow_nan=False))
        else:
            for r in recordings:
                print(f"{r.title}\n{r.report}\n")
            if pooled is None:
                print("the files have different sample rates, so they are not tested together")
            elif len(recordings) > 1:
                print(f"all files together\n{pooled}")
        if failures:
            print(_lines(failures), file=sys.stderr)
        if self.plot is not None:
            _plot(recordings, self.plot)
        return 1 if failures else 0


def _lines(failures: Sequence[dict[str, str]]) -> str:
    return "\n".join(f"audioup: {failure['path']}: {failure['error']}" for failure in failures)


@dataclass
class _Recording:
    path: Path
    channel: int
    title: str
    audio: "np.ndarray[Any, np.dtype[np.float64]]"
    report: ToneReport


def _parse_strides(text: str) -> tuple[int, ...]:
    try:
        strides = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"audioup: --strides must be integers separated by commas, got {text!r}") from None
    if min(strides) < 1 or max(strides) < 2:
        raise InputError(f"audioup: --strides must be positive and not all 1, got {text!r}")
    return strides


def _measure_file(path: Path, strides: tuple[int, ...]) -> list[_Recording]:
    if not path.is_file():
        raise FileNotFoundError("no such file" if not path.exists() else "not a file")
    if path.suffix.lower() == ".raw":
        raise ValueError("a raw file does not say its sample rate; convert it to wav first")
    with path.open("rb") as file:  # opened here, so that any file name will do
        audio, sample_rate = soundfile.read(file, dtype="float64", always_2d=True)
    channels = audio.shape[1]
    return [
        _Recording(
            path,
            channel,
            str(path) if channels == 1 else f"{path}, channel {channel}",
            audio[:, channel],
            measure_tones(audio[:, channel], sample_rate, strides),
        )
        for channel in range(channels)
    ]


def _pool(recordings: Sequence[_Recording], strides: tuple[int, ...]) -> ToneReport | None:
    # Channels of one recording, or a file named twice, are not independent evidence: the first of each is pooled.
    first = {r.path.resolve(): r for r in recordings if r.channel == 0}.values()
    rates = {r.report.sample_rate for r in first}
    return measure_tones([r.audio for r in first], rates.pop(), strides) if len(rates) == 1 else None


def _plot(recordings: Sequence[_Recording], path: Path) -> None:
    if not path.suffix:
        raise InputError(f"audioup: --plot must end in .png, .svg or .pdf, got {str(path)!r}")
    try:
        from audioup.plot import Panel, plot_tones
    except ImportError as error:
        raise InputError(f"audioup: --plot needs pip install 'audioup[plot]' ({error})") from None
    try:
        plot_tones([Panel(r.title, r.audio, r.report) for r in recordings], path)
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
