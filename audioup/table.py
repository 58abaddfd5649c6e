"""Tables for the terminal."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns as wide as their longest word."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(word.ljust(n) for word, n in zip(row, widths, strict=True)).rstrip() for row in rows)


def plain(text: str) -> str:
    """Return text that came with a file, with escapes for what a terminal would obey rather than show."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
