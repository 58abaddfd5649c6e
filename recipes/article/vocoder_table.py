"""The question that the article ends with, about sound: answered by the vocoders of the README, by reference."""

import re
from collections.abc import Mapping
from pathlib import Path

from article.outcome import Context, Outcome

README = Path(__file__).parents[2] / "README.md"


def vocoder_table(readme: Path = README) -> dict[str, dict[str, float]]:
    """Read the README's table of one vocoder per upsampler.

    Returns:
        Of each upsampler ``mel L1``, and ``speech`` and ``silence``: the strongest line in dBFS, ``-inf`` where none
        was found.

    Raises:
        ValueError: If the table is not there.
    """
    row = re.compile(
        r"^\| `([\w-]+)` \| [\d, ]+ \| [\d,]+ \| ([\d.]+) \| [\d.]+ \| [\d.]+ \| ([^|]+) \| ([^|]+) \| [\d.]+ \|$"
    )
    found = [match for line in readme.read_text(encoding="utf-8").splitlines() if (match := row.match(line))]
    if not found:
        raise ValueError(f"{readme} holds no table of vocoders")
    return {
        match[1]: {"mel L1": float(match[2]), "speech": _level(match[3]), "silence": _level(match[4])}
        for match in found
    }


def vocoders(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Repeat what the README's vocoders say: stride lines with transposed convolution and with nearest resize."""
    table = vocoder_table()
    free, resized = table["transposed"], table["resize-nearest"]
    return Outcome(
        {"of the README": {name: {k: v for k, v in row.items() if v > float("-inf")} for name, row in table.items()}},
        {
            "lines with transposed convolution": free["silence"] > float("-inf") and free["speech"] > float("-inf"),
            "none on silence with resize-convolution": resized["silence"] == float("-inf"),
            "and lower on speech": resized["speech"] < free["speech"],
        },
        f"strongest line on speech {free['speech']:g} dBFS with transposed convolution, {resized['speech']:g} with "
        f"nearest resize; on silence {free['silence']:g}, and none; see First results",
    )


def _level(words: str) -> float:
    return float("-inf") if words.startswith("none") else float(words.replace("−", "-").split()[0])
