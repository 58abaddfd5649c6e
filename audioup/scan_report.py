"""What a scan for periods says: numbers for programs, a table for people."""

from dataclasses import asdict, dataclass
from typing import Any

from audioup.schedules import listed

ROWS = 8  # of lines in the table, for each period and for the rest


@dataclass(frozen=True)
class ScanLine:
    """A steady line at a fraction of the sample rate.

    Attributes:
        frequency_hz: Of the fraction.
        numerator: Of the fraction, in lowest terms.
        denominator: The shortest period, in samples, that has the line.
        level_dbfs: Amplitude of the locked sine in dB of full scale (a full-scale sine is 0 dBFS).
        interval_dbfs: 95 % interval of ``level_dbfs``; the lower end is -200 where zero lies within.
        p_value: Probability of so steady a line where none is, of this frequency alone.
        family_p: The same of all frequencies that were tested; at most 0.005, but for further lines of a period, which
            survive Benjamini-Hochberg at 0.01 over its harmonics.
        offset_hz: By how much the sound's own line is higher, as its phase drifts; 0 at Nyquist, where none is seen.
        tolerance_hz: 3.5 standard errors of ``offset_hz``. A line further off than that is a tone of another
            frequency.
    """

    frequency_hz: float
    numerator: int
    denominator: int
    level_dbfs: float
    interval_dbfs: tuple[float, float]
    p_value: float
    family_p: float
    offset_hz: float
    tolerance_hz: float

    @property
    def locked(self) -> bool:
        """Whether the line is on its fraction, as far as can be told."""
        return abs(self.offset_hz) <= self.tolerance_hz


@dataclass(frozen=True)
class ScanPeriod:
    """A period that explains lines.

    Attributes:
        samples: The period.
        frequency_hz: Its first harmonic.
        lines: Lines among its harmonics, by frequency.
        harmonics: How many it has up to and including Nyquist.
        chance: Probability that a steady note of any pitch comes so near to a period as short as this one.
        strides: Schedules with this product, those of published generators first: hints, no findings.
    """

    samples: int
    frequency_hz: float
    lines: tuple[ScanLine, ...]
    harmonics: int
    chance: float
    strides: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        tries = " or ".join(listed(strides) for strides in self.strides)
        hint = f"; try --strides {tries}" if tries else "; no product of usual strides"
        return (
            f"period {self.samples}, multiples of {self.frequency_hz:.2f} Hz: {len(self.lines)} of {self.harmonics} "
            f"lines; a held note would be so near by chance: p {self.chance:.1e}{hint}"
        )


@dataclass(frozen=True)
class ScanReport:
    """What `scan_periods` found.

    Attributes:
        sample_rate: In Hz.
        duration_s: Of all clips together.
        scanned_s: Of that, what was listened to: long recordings are sampled evenly.
        clips: How many clips were tested together; too short and silent ones are left out.
        longest_period: In samples.
        frequencies: How many were tested.
        periods: Those that explain lines, the best supported first.
        apart: Steady lines that name no period, for they are off their fractions or a held note would do the same.
        bound_dbfs: Every steady line of a period up to ``longest_period`` is below, detected or not; None if not
            testable.
        decoy_rate: Share with p < 0.01 of frequencies of longer periods, near 0.01 unless the sound itself holds steady
            tones; None if not testable.
        verdict: ``"period S"``, ``"periods S and R"``, ``"steady tones of no period that can be told"``, ``"no period
            up to 512 found, none of its lines above X dBFS"`` or ``"not testable: why"``.
        notes: What a reader should know besides.
    """

    sample_rate: int
    duration_s: float
    scanned_s: float
    clips: int
    longest_period: int
    frequencies: int
    periods: tuple[ScanPeriod, ...]
    apart: tuple[ScanLine, ...]
    bound_dbfs: float | None
    decoy_rate: float | None
    verdict: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that ``json`` can write."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [f"{self.duration_s:.2f} s at {self.sample_rate} Hz, scanned: {self.verdict}"]
        for period in self.periods:
            rows += [str(period), *_rows(period.lines)]
        if self.apart:
            rows += ["steady, but no period", *_rows(self.apart)]
        if self.decoy_rate is not None:
            rows.append(
                f"{self.frequencies} frequencies of periods up to {self.longest_period} tested; "
                f"decoys flagged at p < 0.01: {self.decoy_rate:.1%} of longer ones"
            )
        return "\n".join([*rows, *self.notes])


def _rows(lines: tuple[ScanLine, ...]) -> list[str]:
    shown = sorted(lines, key=lambda line: -line.level_dbfs)[:ROWS]
    rows = [f"{'Hz':>10} {'of rate':>8} {'dBFS':>7} {'95 % interval':>17} {'off by, mHz':>17} {'p':>8} {'of all':>8}"]
    for line in shown:
        low, high = line.interval_dbfs
        off = f"{1000 * line.offset_hz:.2f} +- {1000 * line.tolerance_hz:.2f}"
        rows.append(
            f"{line.frequency_hz:10.2f} {f'{line.numerator}/{line.denominator}':>8} {line.level_dbfs:7.1f} {low:8.1f} "
            f"{high:8.1f} {off:>17} {line.p_value:8.1e} {line.family_p:8.1e}"
        )
    if len(lines) > len(shown):
        rows.append(f"and {len(lines) - len(shown)} more lines")
    return rows
