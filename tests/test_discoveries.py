"""Which of many tests to believe."""

import numpy as np

from audioup.discoveries import benjamini_hochberg


def test_benjamini_hochberg_by_hand():
    p = np.array([0.02, 0.001, 0.9, 0.012, 0.03])
    # Sorted against 0.01, 0.02, 0.03, 0.04, 0.05: the last to pass is 0.03, with all before it.
    assert benjamini_hochberg(p, 0.05).tolist() == [True, True, False, True, True]
    assert benjamini_hochberg(p, 0.005).tolist() == [False, True, False, False, False]
    assert not benjamini_hochberg(p, 0.001).any()
