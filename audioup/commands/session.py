"""Recordings measured one by one and together, for the commands that take them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from audioup.commands.errors import InputError
from audioup.measured import Measured
from audioup.meter import Meter
from audioup.recording import Recording, find_recordings
from audioup.scan import Scanned, Scanner
from audioup.scan_report import ScanReport
from audioup.slowtime import Real
from audioup.table import readable
from audioup.tone_report import ToneReport

Sum = TypeVar("Sum", Measured, Scanned)
Report = TypeVar("Report", ToneReport, ScanReport)


@dataclass
class Result(Generic[Report]):
    """What was measured of one channel of a file."""

    path: Path
    channel: int
    channels: int
    report: Report

    @property
    def title(self) -> str:
        """Name of the file, with the channel where it has several."""
        name = readable(self.path)
        return name if self.channels == 1 else f"{name}, channel {self.channel}"


class Files(ABC, Generic[Sum, Report]):
    """Measures files one by one; of each only its report stays, and one sum for all of a sample rate."""

    def __init__(self) -> None:
        self.results: list[Result[Report]] = []
        self.failures: list[dict[str, str]] = []
        self._sums: dict[int, Sum] = {}
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
                    self.failures.append({"path": readable(path), "error": str(error)})

    def pooled(self) -> Report | None:
        """Report on all files together; None where they have different sample rates."""
        if len(self._sums) != 1:
            return None
        ((rate, summed),) = self._sums.items()
        return self._report(rate, summed)

    @abstractmethod
    def _to_read(self, rate: int, samples: int) -> int:
        """Return how many samples of a recording will be read; raise `ValueError` if it cannot be measured."""

    @abstractmethod
    def _sum(self, rate: int, read: Callable[[int, int], Real], samples: int) -> list[Sum]:
        """Sum up a recording, channel by channel."""

    @abstractmethod
    def _report(self, rate: int, summed: Sum) -> Report:
        """Report on a sum."""

    def _measure(self, path: Path, bar: "tqdm[Any]") -> None:
        with Recording(path) as recording:
            rate = recording.sample_rate
            bar.total = (bar.total or 0) + self._to_read(rate, recording.samples) / rate

            def read(start: int, stop: int) -> Real:
                bar.update((stop - start) / rate)
                return recording.read(start, stop)

            channels = self._sum(rate, read, recording.samples)
        for channel, summed in enumerate(channels):
            self.results.append(Result(path, channel, len(channels), self._report(rate, summed)))
        # Channels of one recording, or a file named twice, are not independent evidence: the first of each counts.
        if path.resolve() not in self._summed:
            self._summed.add(path.resolve())
            self._sums[rate] = self._sums[rate] + channels[0] if rate in self._sums else channels[0]


class Session(Files[Measured, ToneReport]):
    """Measures the tones of known strides."""

    def __init__(self, strides: tuple[int, ...], reference: ToneReport | None) -> None:
        super().__init__()
        self.strides, self.reference = strides, reference
        self._meters: dict[int, Meter] = {}

    def _to_read(self, rate: int, samples: int) -> int:
        if self.reference is not None and rate != self.reference.sample_rate:
            raise ValueError(f"its sample rate is {rate} Hz, that of --reference {self.reference.sample_rate} Hz")
        if rate not in self._meters:
            self._meters[rate] = Meter(rate, self.strides)
        self._meters[rate].check_length(samples or self._meters[rate].period)  # an empty one is told as such
        return samples

    def _sum(self, rate: int, read: Callable[[int, int], Real], samples: int) -> list[Measured]:
        return self._meters[rate].measure(read, samples)

    def _report(self, rate: int, summed: Measured) -> ToneReport:
        return self._meters[rate].report(summed, self.reference)


class ScanSession(Files[Scanned, ScanReport]):
    """Looks for periods where strides are unknown."""

    def __init__(self) -> None:
        super().__init__()
        self._scanners: dict[int, Scanner] = {}

    def _to_read(self, rate: int, samples: int) -> int:
        if rate not in self._scanners:
            self._scanners[rate] = Scanner(rate)
        return self._scanners[rate].to_read(samples)

    def _sum(self, rate: int, read: Callable[[int, int], Real], samples: int) -> list[Scanned]:
        return self._scanners[rate].measure(read, samples)

    def _report(self, rate: int, summed: Scanned) -> ScanReport:
        return self._scanners[rate].report(summed)


def reference_report(path: Path, strides: tuple[int, ...]) -> ToneReport:
    """Measure what ``--reference`` names."""
    session = Session(strides, None)
    session.measure([path])
    if session.failures:
        raise InputError(in_lines(session.failures))
    report = session.pooled()
    if report is None:
        raise InputError(f"audioup: --reference {readable(path)} holds recordings of different sample rates")
    return report


def in_lines(failures: Sequence[dict[str, str]]) -> str:
    """Lay failures out for the terminal, a line each."""
    return "\n".join(f"audioup: {failure['path']}: {failure['error']}" for failure in failures)
