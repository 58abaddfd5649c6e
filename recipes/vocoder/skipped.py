"""What became of recordings that could not be used: counted, named, and listed in a file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from audioup.table import plain, readable
from vocoder.data import Corpus
from vocoder.segments import Segments

NAMED = 10  # on the terminal; the file has them all
LISTING = "skipped.txt"
Skipped = Sequence[tuple[str, str]]  # path and reason; what follows a colon in a reason is not counted apart


def counted(skipped: Skipped) -> str:
    """Count by reason, the commonest first: ``3 files skipped: 2 unreadable, 1 empty``."""
    counts = Counter(plain(reason.partition(":")[0]) for _, reason in skipped)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(f"{count} {reason}" for reason, count in ordered)
    return f"{len(skipped)} {'file' if len(skipped) == 1 else 'files'} skipped" + (f": {reasons}" if reasons else "")


def named(skipped: Skipped) -> str:
    """Name the first few, a line each, and say how many more there are."""
    lines = [f"skipped {_line(*one)}" for one in skipped[:NAMED]]
    if len(skipped) > NAMED:
        lines.append(f"and {len(skipped) - NAMED} more; {LISTING} of the run names them all")
    return "\n".join(lines)


def say_skipped(corpus: Corpus) -> None:
    """Print, before training, what was left out of a corpus."""
    print(counted(corpus.skipped))
    if corpus.skipped:
        print(named(corpus.skipped))


def say_unreadable(segments: Segments) -> None:
    """Print, after training, which recordings proved unreadable while it ran, and which are clipped."""
    if unreadable := segments.skipped():
        print(f"during training: {counted(unreadable)}")
        print(named(unreadable))
    if clipped := [segments.clips[place].path for place in sorted(segments.clipped)]:
        more = f" and {len(clipped) - NAMED} more" if len(clipped) > NAMED else ""
        shown = ", ".join(map(readable, clipped[:NAMED])) + more
        print(f"clipped, and used all the same: {len(clipped)} ({shown})")


def list_skipped(folder: Path, skipped: Skipped) -> None:
    """Write all that was skipped into the run's folder, a line each; no file if there is nothing.

    Raises:
        OSError: If the folder cannot be written.
    """
    listing = folder / LISTING
    if skipped:
        listing.write_text("".join(f"{_line(*one)}\n" for one in skipped), encoding="utf-8")
    else:
        listing.unlink(missing_ok=True)


def _line(path: str, reason: str) -> str:
    return f"{readable(path)}: {plain(reason)}"
