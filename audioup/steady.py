"""Which of a lattice's frequencies hold a steady line, with all that were tested paid for."""

import math

import numpy as np

from audioup.blocks import FAINTEST_DBFS
from audioup.discoveries import benjamini_hochberg
from audioup.lattice import Lattice, LatticeSums
from audioup.meter import SMALLEST_DBFS
from audioup.periods import Locked
from audioup.scan_report import ScanLine
from audioup.slowtime import HALF_BANDWIDTH_HZ

FALSE_ALARMS = 0.005  # probability that a line is called one in a recording that holds none
FALSE_DISCOVERIES = 0.01  # Benjamini-Hochberg level of further harmonics of a period
TURNS = 4.0  # over a recording: tapers tell no finer where it is short
ERRORS = 3.5  # standard errors of a frequency that count as none
FINEST = 1e-4  # of the resolution: a noiseless line's frequency is no better known


class Steady:
    """What sums say of each frequency of a lattice.

    The probability 0.005 that any is called a line though none is there is shared out: a fraction of denominator ``q``
    gets a share in proportion to ``1 / q^2`` (Genovese, Roeder & Wasserman, "False discovery control with p-value
    weighting", Biometrika, 2006, on weights). Simple fractions are few, and likelier.

    Args:
        lattice: The frequencies.
        sums: Of them.
        longest: Samples of the longest clip.

    Attributes:
        p_value: Of each frequency alone.
        level: The sine's amplitude.
        radius: Half the width of its 95 % interval.
    """

    def __init__(self, lattice: Lattice, sums: LatticeSums, longest: int) -> None:
        self.lattice, self.resolution_hz = lattice, lattice.sample_rate / longest
        self.nyquist = lattice.periods == 2
        fits = [
            (*band.fit(nyquist), *band.offset())
            for band, nyquist in zip(sums.bands, lattice.bands(self.nyquist), strict=True)
        ]
        self.p_value, log_p, level, radius, offset, error = (np.concatenate(part) for part in zip(*fits, strict=True))
        self.level, self.radius = lattice.amplitude * level, lattice.amplitude * radius
        share = 1 / lattice.periods.astype(np.float64) ** 2
        self.log_family = log_p - np.log(share / share[: lattice.fractions].sum())
        # At Nyquist all is real and no phase can turn: what is within the resolution is taken to be there.
        self.offset_hz = np.where(self.nyquist, 0.0, offset)
        error = np.maximum(ERRORS * error, FINEST * self.resolution_hz)
        self.tolerance_hz = np.where(self.nyquist, self.resolution_hz / 2, error)

    def found(self) -> list[int]:
        """Return the indices of lines and, among decoys, of other tones: where several are one, of the likeliest."""
        apart_hz = max(HALF_BANDWIDTH_HZ, TURNS * self.resolution_hz)
        loud = self.level >= 10 ** (FAINTEST_DBFS / 20)
        passing = np.flatnonzero(loud & (self.log_family <= math.log(FALSE_ALARMS)))
        frequency_hz = self.lattice.frequency * self.lattice.sample_rate
        kept: list[int] = []
        for i in passing[np.argsort(self.log_family[passing])]:
            if (np.abs(frequency_hz[kept] - frequency_hz[i]) >= apart_hz).all():
                kept.append(int(i))
        return sorted(kept)

    def locked(self, index: int) -> bool:
        """Whether the line is on its fraction, as far as can be told."""
        return bool(abs(self.offset_hz[index]) <= self.tolerance_hz[index])

    def exact(self, index: int) -> Locked:
        """Return the fraction and how well the line's own frequency is known."""
        k, q = self.lattice.numerators[index], self.lattice.periods[index]
        return Locked(int(k), int(q), float(self.tolerance_hz[index] / self.lattice.sample_rate))

    def harmonics(self, period: int) -> list[int]:
        """Return the lines of a period that is there: few frequencies, so that fainter ones pass."""
        among = np.flatnonzero(period % self.lattice.periods[: self.lattice.fractions] == 0)
        loud = self.level[among] >= 10 ** (FAINTEST_DBFS / 20)
        passing = loud & benjamini_hochberg(self.p_value[among], FALSE_DISCOVERIES)
        return [int(i) for i in among[passing] if self.locked(int(i))]

    def line(self, index: int) -> ScanLine:
        """Describe a line."""
        level, radius = float(self.level[index]), float(self.radius[index])
        return ScanLine(
            frequency_hz=float(self.lattice.frequency[index] * self.lattice.sample_rate),
            numerator=int(self.lattice.numerators[index]),
            denominator=int(self.lattice.periods[index]),
            level_dbfs=dbfs(level),
            interval_dbfs=(dbfs(level - radius), dbfs(level + radius)),
            p_value=float(self.p_value[index]),
            family_p=math.exp(min(0.0, float(self.log_family[index]))),
            offset_hz=float(self.offset_hz[index]),
            tolerance_hz=float(self.tolerance_hz[index]),
        )

    def bound_dbfs(self) -> float:
        """Return the highest upper end of an interval, which bounds every line, found or not."""
        return dbfs(float((self.level + self.radius)[: self.lattice.fractions].max()))

    def decoy_rate(self) -> float:
        """Return the share of decoys with p < 0.01."""
        return float(np.mean(self.p_value[self.lattice.fractions :] < 0.01))


def dbfs(amplitude: float) -> float:
    """Return an amplitude in dB of full scale, at least -200."""
    return max(SMALLEST_DBFS, 20 * math.log10(amplitude)) if amplitude > 0 else SMALLEST_DBFS
