"""The results of a comparison as tables, for the terminal and for a README."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from audioup.table import table

Row = Mapping[str, Any]
OTHERS = ("silence", "sustained notes", "drums", "white noise")
QUALITY = {
    "mel_l1": ("mel L1", 3),
    "mel_l1_without_lines": ("without lines", 3),
    "multi_resolution_stft": ("STFT", 3),
    "stoi": ("STOI", 3),
    "pesq_wb": ("PESQ-wb", 2),
    "visqol": ("ViSQOL", 2),
    "mcd_db": ("MCD, dB", 2),
    "periodicity_error": ("periodicity", 3),
    "voicing_f1": ("V/UV F1", 3),
    "dnsmos_overall": ("DNSMOS", 2),
}


class Section(NamedTuple):
    """A table: its title, and a function that makes the cells of a row after the vocoder's name."""

    title: str
    head: tuple[str, ...]
    cells: Callable[[Row], tuple[str, ...]]


def tones(row: Row) -> tuple[str, ...]:
    """Return the cells of lines: on speech the strongest, all together and how many, and the strongest elsewhere."""
    speech = row["lines"]["speech"]
    at = "" if speech["strongest_hz"] is None else f" at {speech['strongest_hz']:g} Hz"
    return (
        f"{level(speech)}{at}",
        "" if speech["total_dbfs"] is None else f"{speech['total_dbfs']:.1f}",
        f"{speech['detected']} of {speech['lines']}",
        *(level(row["lines"][name]) for name in OTHERS),
    )


def quality(row: Row) -> tuple[str, ...]:
    """Return the cells of quality; those that need a reference are empty for the recordings."""
    found = row["quality"]
    return tuple(
        f"{found[key]:.{digits}f}" if found.get(key) is not None else "" for key, (_, digits) in QUALITY.items()
    )


def costs(row: Row) -> tuple[str, ...]:
    """Return the cells of cost."""
    cost = row["cost"]
    return (
        f"{cost['parameters']:,}",
        f"{cost['multiply_adds'] / 1e6:.0f}",
        f"{cost['real_time_factor']:.4f}",
        f"{1000 * cost['step_s']:.0f}",
        f"{1000 * cost['adversarial_step_s']:.0f}",
    )


def goal(row: Row) -> tuple[str, ...]:
    """Return the cells of the goal: by how much each part is missed, or ratios."""
    found = row["goal"]
    worst = max(found["over_db"].items(), key=lambda item: item[1], default=None)
    shown = "none" if worst is None else f"{len(found['over_db'])}, by {worst[1]:.1f} dB at {worst[0]} Hz"
    return (
        shown,
        f"{found['detected']} ({found['detected_in_recordings']})",
        f"{found['mel_l1_ratio']:.3f}",
        f"{found['real_time_factor_ratio']:.2f}",
        ", ".join(name for name, met in found["met"].items() if met) or "none",
    )


TONES = Section(
    "Lines in dBFS; < is an upper bound where none was found. All: root sum of squares, with what is there by chance.",
    ("strongest on speech", "all", "found", *OTHERS),
    tones,
)
GOOD = Section("Quality on held-out speech", tuple(name for name, _ in QUALITY.values()), quality)
COST = Section(
    "Cost: 1e6 multiply-adds for a second of sound; seconds of computing for it; ms for a training step",
    ("parameters", "MMAC/s", "real-time factor", "step", "adversarial step"),
    costs,
)
GOAL = Section(
    "The goal: harmonics too loud; lines found (in the recordings); mel L1 and real-time factor over the baseline's",
    ("too loud", "found", "mel L1", "real-time factor", "met"),
    goal,
)


def level(lines: Row) -> str:
    """Return a strongest line's level, or the bound where there is none."""
    if lines["strongest_dbfs"] is not None:
        return f"{lines['strongest_dbfs']:.1f}"
    return "not testable" if lines["bound_dbfs"] is None else f"< {lines['bound_dbfs']:.1f}"


def named(row: Row) -> str:
    """Name a vocoder of a phase; by its seed where it has several."""
    return f"{row['variant']} {row['seed']}" if row["seeds"] > 1 else row["variant"]


def blocks(results: Row) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return all tables: a title and rows, the first of which is the head."""
    found: list[tuple[str, list[tuple[str, ...]]]] = []
    recordings = results["recordings"]
    for phase in dict.fromkeys(row["phase"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["phase"] == phase]
        count = f"{phase}, {rows[0]['steps']} steps"
        for section in (TONES, GOOD, GOAL):
            cells = [("", *section.head)]
            cells += [(named(row), *section.cells(row)) for row in rows if section is not GOAL or "goal" in row]
            if section is not GOAL:
                cells.append(("recordings", *section.cells(recordings)))
            found.append((f"{section.title} ({count})", cells))
    once = {row["variant"]: row for row in results["rows"]}
    found.append((COST.title, [("", *COST.head), *((name, *COST.cells(row)) for name, row in once.items())]))
    return found


def text(results: Row) -> str:
    """Lay everything out for the terminal."""
    return "\n\n".join(f"{title}\n{table(rows)}" for title, rows in blocks(results))


def markdown(results: Row) -> str:
    """Lay everything out in Markdown."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return "\n\n".join(
        "\n".join([f"**{title}**", "", line(rows[0]), line(["---"] * len(rows[0])), *map(line, rows[1:])])
        for title, rows in blocks(results)
    )
