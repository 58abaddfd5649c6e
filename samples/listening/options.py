"""What the page is built of, and how."""

from dataclasses import dataclass
from pathlib import Path

import tyro

QUIETEST_LUFS, LOUDEST_LUFS = -60.0, -10.0


@dataclass(frozen=True)
class Options:
    """Build the listening page of a comparison of upsamplers."""

    run: tyro.conf.Positional[Path] = Path("runs/comparison")
    """Folder that compare_upsamplers.py wrote."""
    out: Path = Path("samples")
    """Folder for index.html, data/ and README.md."""
    data: str = ""
    """Recordings; by default those that the comparison names."""
    clips: int = 6
    """Held-out clips to hear at most."""
    shortest_s: float = 2.0
    """Of the held-out clips that are heard."""
    longest_s: float = 5.0
    """Of the held-out clips that are heard."""
    excerpt_s: float = 3.0
    """Of every other input."""
    lufs: float = -23.0
    """Loudness of all tracks; less where a track would clip."""
    silence_db: float = 40.0
    """Gain of what is made of silence, for all tracks; less where one would clip."""
    most_mb: float = 15.0
    """Of all files together."""
    attribution: str = ""
    """Origin and licence of the recordings, for the page and its README."""
    commit: str = ""
    """Of the programs that trained; by default what the comparison noted."""
    cache: Path = Path("~/.cache/audioup")
    """Folder of synthesised and downloaded speech."""


def check(options: Options) -> None:
    """Raise `ValueError` where options make no page."""
    if options.clips < 1:
        raise ValueError(f"--clips must be at least 1, got {options.clips}")
    if not 0 < options.shortest_s <= options.longest_s:
        raise ValueError(f"--shortest-s must be above 0 and at most --longest-s, got {options.shortest_s}")
    if not 0.1 <= options.excerpt_s <= 30:
        raise ValueError(f"--excerpt-s must be from 0.1 to 30, got {options.excerpt_s}")
    if not QUIETEST_LUFS <= options.lufs <= LOUDEST_LUFS:
        raise ValueError(f"--lufs must be from {QUIETEST_LUFS:g} to {LOUDEST_LUFS:g}, got {options.lufs}")
    if not 0 <= options.silence_db <= 120:
        raise ValueError(f"--silence-db must be from 0 to 120, got {options.silence_db}")
