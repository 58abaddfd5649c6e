"""Which periods explain lines."""

from audioup.periods import Locked, explain


def test_explanations_take_the_shortest_period_that_holds_the_lines():
    def periods(*fractions, others=0):
        lines = [Locked(k, q, 1e-7) for k, q in fractions]
        return [(one.period, one.told) for one in explain(lines, others)]

    assert periods() == []
    assert periods((1, 4), (1, 8)) == [(8, True)]
    assert periods((1, 2)) == [(2, True)]
    assert periods((1, 3), (1, 4), (1, 5)) == [(60, True)]
    # Their least common multiple, 8 * 509, is beyond: two findings.
    assert periods((1, 8), (3, 8), (9, 509)) == [(8, True), (509, False)]
    # Sixty harmonics of 128 and a single one of 256.
    assert periods(*((k, 128) for k in range(1, 61, 2)), (1, 256)) == [(256, True)]
    assert periods((9, 64)) == [(64, True)]
    assert periods((9, 64), others=50) == [(64, False)]


def test_an_unsure_line_does_not_stretch_the_period():
    lines = [Locked(1, 8, 1e-7), Locked(3, 8, 1e-7), Locked(17, 512, 1e-4)]
    assert [(one.period, one.lines) for one in explain(lines, 0)] == [(8, (0, 1)), (512, (2,))]
