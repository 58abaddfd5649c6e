"""Which periods explain lines: the fewest harmonics that hold them, and how easily a steady tone would do so.

A line at ``k/q`` of the sample rate, in lowest terms, names the period ``q``, several lines their least common
multiple. But every frequency is near some fraction, and the nearer, the larger the denominator: a held note that hits
one by chance names a period as well, most often a long one. So a period counts only if that chance is small.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from audioup.lattice import LONGEST_PERIOD, farey

SMALL = 0.01  # probability
CHORD = 3  # notes for one that is found: most lie between the fractions and are not


class Locked(NamedTuple):
    """A line: ``numerator / period`` of the sample rate, in lowest terms, give or take ``tolerance``."""

    numerator: int
    period: int
    tolerance: float


@dataclass(frozen=True)
class Explanation:
    """One period and the lines it holds.

    Attributes:
        period: In samples.
        lines: Their indices.
        chance: That one of the sound's notes, of any pitch, comes so near to a fraction of denominators up to
            ``period``.
    """

    period: int
    lines: tuple[int, ...]
    chance: float

    @property
    def told(self) -> bool:
        """Whether chance does not explain it as well."""
        return self.chance <= SMALL


def explain(lines: Sequence[Locked], others: int) -> list[Explanation]:
    """Share out lines among as few and as short periods as hold them, the best supported first.

    Args:
        lines: The lines.
        others: Steady tones of the same recording that are no lines.

    Example:
        >>> lines = [Locked(k, q, 1e-7) for k, q in ((1, 8), (1, 4), (1, 509))]
        >>> [(found.period, found.lines, found.told) for found in explain(lines, 0)]
        [(8, (0, 1), True), (509, (2,), False)]
    """
    left, found = list(range(len(lines))), []
    while left:
        period = _extended(_best(lines, left), lines, left)
        held = tuple(i for i in left if period % lines[i].period == 0)
        left = [i for i in left if i not in held]
        found.append(
            Explanation(period, held, _chance([lines[i] for i in held], period, CHORD * (1 + others + len(left))))
        )
    return found


def _best(lines: Sequence[Locked], left: Sequence[int]) -> int:
    """Return the period of the highest odds.

    A line of any frequency is on a harmonic of ``q`` with probability ``2 tolerance q``; long periods are less likely
    beforehand, as ``1 / q``.
    """

    def odds(period: int) -> float:
        gains = [-math.log(2 * lines[i].tolerance * period) for i in left if period % lines[i].period == 0]
        return sum(gains) - math.log(period) if gains else -math.inf

    return max(range(2, LONGEST_PERIOD + 1), key=odds)


def _extended(period: int, lines: Sequence[Locked], left: Sequence[int]) -> int:
    """Return the period, or a multiple that holds more lines where these are too many to be on it by chance."""
    for multiple in range(2, LONGEST_PERIOD // period + 1):
        longer = multiple * period
        outside = [i for i in left if period % lines[i].period]
        more = [i for i in outside if longer % lines[i].period == 0]
        ways = math.comb(len(outside), len(more)) * multiple
        chance = ways * math.prod(min(1.0, 2 * lines[i].tolerance * longer) for i in more)
        if more and chance <= SMALL:
            return _extended(longer, lines, left)
    return period


def _chance(held: Sequence[Locked], period: int, notes: int) -> float:
    """Return the probability that one of so many notes, and its partials, does what these lines do.

    Every partial tells the fundamental, the higher the better; that may be anywhere up to Nyquist.
    """
    harmonics = [line.numerator * period // line.period for line in held]
    fundamental = math.gcd(*harmonics)
    partials = [k // fundamental for k in harmonics]
    tolerance = 1 / math.hypot(*(n / line.tolerance for line, n in zip(held, partials, strict=True)))
    return min(1.0, notes * int(_FRACTIONS[period]) * 4 * tolerance)


_FRACTIONS = np.cumsum(np.bincount(farey(LONGEST_PERIOD)[1]))  # in (0, 1/2], by their largest denominator
