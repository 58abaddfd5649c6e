"""How many of how many, with a 95 % interval that knows that the tests of one recording are alike."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv


@dataclass(frozen=True)
class Share:
    """A share of tests.

    Attributes:
        share: Flagged over tests.
        tests: How many.
        design_effect: Variance of the share over that of as many independent tests; 1 where it cannot be told.
        interval: 95 %, exact binomial for ``tests / design_effect`` tests.
    """

    share: float
    tests: int
    design_effect: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.4f} [{low:.4f}, {high:.4f}] of {self.tests}"


def share_of(flags: NDArray[np.bool_]) -> Share:
    """Return the share flagged.

    Args:
        flags: Shape ``(clusters, tests)``: tests of one cluster, which is a clip or a trial, may depend on each other.

    Source: Korn & Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data" (Survey Methodology, 1998), on the design effect in Clopper & Pearson's interval.
    """
    clusters, tests = len(flags), flags.size
    share = float(flags.mean())
    effect = 1.0
    if clusters > 1 and 0 < share < 1:
        effect = max(1.0, float(flags.mean(1).var(ddof=1)) / clusters / (share * (1 - share) / tests))
    n = tests / effect
    low = float(betaincinv(share * n, n - share * n + 1, 0.025)) if share > 0 else 0.0
    high = float(betaincinv(share * n + 1, n - share * n, 0.975)) if share < 1 else 1.0
    return Share(share, tests, effect, (low, high))
