"""A tone report in a few numbers."""

import math
from typing import Any


def strongest_line(tone: dict[str, Any]) -> dict[str, Any] | None:
    """Return the strongest line that was detected, of a tone report as a dictionary, or None."""
    return max((line for line in tone["lines"] if line["detected"]), key=lambda line: line["level_dbfs"], default=None)


def levels(tone: dict[str, Any]) -> dict[str, float | None]:
    """Return of a tone report, in dBFS, what is compared.

    Args:
        tone: As `audioup.ToneReport.to_dict` gives it.

    Returns:
        ``strongest_dbfs`` and ``strongest_hz`` of the strongest line that was detected, or None; ``bound_dbfs``, the
        highest end of any line's interval, and ``total_dbfs``, the root sum of squares of all lines, detected or not;
        None where nothing could be tested.
    """
    strongest, lines = strongest_line(tone), tone["lines"]
    return {
        "strongest_dbfs": strongest["level_dbfs"] if strongest else None,
        "strongest_hz": strongest["frequency_hz"] if strongest else None,
        "bound_dbfs": max((line["interval_dbfs"][1] for line in lines), default=None),
        "total_dbfs": 10 * math.log10(sum(10 ** (line["level_dbfs"] / 10) for line in lines)) if lines else None,
    }
