"""Recordings measured one by one and together, for the commands that take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from audioup.commands.errors import InputError, printable
from audioup.measured import Measured
from audioup.meter import Meter
from audioup.recording import Recording, find_recordings
from audioup.tone_report import ToneReport


@dataclass
class Result:
    """What was measured of one channel of a file."""

    path: Path
    channel: int
    channels: int
    report: ToneReport

    @property
    def title(self) -> str:
        """Name of the file, with the channel where it has several."""
        name = printable(self.path)
        return name if self.channels == 1 else f"{name}, channel {self.channel}"


class Session:
    """Measures files one by one; of each only its report stays, and one sum for all of a sample rate."""

    def __init__(self, strides: tuple[int, ...], reference: ToneReport | None) -> None:
        self.strides, self.reference = strides, reference
        self.results: list[Result] = []
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
            self.results.append(Result(path, channel, len(channels), report))
        # Channels of one recording, or a file named twice, are not independent evidence: the first of each counts.
        if path.resolve() not in self._summed:
            self._summed.add(path.resolve())
            self._sums[rate] = self._sums[rate] + channels[0] if rate in self._sums else channels[0]


def reference_report(path: Path, strides: tuple[int, ...]) -> ToneReport:
    """Measure what ``--reference`` names."""
    session = Session(strides, None)
    session.measure([path])
    if session.failures:
        raise InputError(in_lines(session.failures))
    report = session.pooled()
    if report is None:
        raise InputError(f"audioup: --reference {printable(path)} holds recordings of different sample rates")
    return report


def in_lines(failures: Sequence[dict[str, str]]) -> str:
    """Lay failures out for the terminal, a line each."""
    return "\n".join(f"audioup: {failure['path']}: {failure['error']}" for failure in failures)
