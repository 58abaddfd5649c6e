"""Which of many tests to believe."""

import numpy as np
from numpy.typing import NDArray


def benjamini_hochberg(p_value: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Say which tests to reject so that, in the mean, at most a share of ``rate`` of those is rejected wrongly.

    Source: Benjamini & Hochberg, "Controlling the false discovery rate" (J. R. Stat. Soc. B, 1995).
    """
    ordered = np.sort(p_value)
    passing = ordered <= rate * np.arange(1, len(ordered) + 1) / len(ordered)
    return p_value <= (ordered[passing].max() if passing.any() else -1.0)
