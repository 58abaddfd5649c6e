"""The results in words and rows."""

from collections.abc import Iterator, Sequence

from calibration.depths import Depth
from calibration.lines import BANDS_HZ, Level, faintest
from calibration.shares import Share
from calibration.size import Shares, Size

MOST_NAMED = 8  # frequencies in a row of the table
MOST_LEVELS = 9  # of a curve in the table


def size_table(rows: Sequence[Size]) -> str:
    """Say how often each test flags each sound, clip by clip and all clips together."""
    lines = [
        f"{'false alarms':16}{'test':11}{'clips':>8}{'tests':>7}  {'p < 0.01':23} {'p < 0.001':23} detected",
    ]
    for row in rows:
        lines.append(f"{row.sound:16}{row.test:11}{row.clips:>8}{_shares(row.single)}")
        lines.append(f"{'':16}{'':11}{'together':>8}{_shares(row.together)}")
        if row.together_hz:
            where = ", ".join(f"{hz:.1f}" for hz in row.together_hz[:MOST_NAMED])
            more = f" and {len(row.together_hz) - MOST_NAMED} more" * (len(row.together_hz) > MOST_NAMED)
            lines.append(f"{'':16}together p < 0.001 at {where}{more} Hz")
        if row.decoys_at_01 is not None:
            lines.append(f"{'':16}{'':11}{'decoys':>8}{row.decoys_at_01.tests:7}  {_share(row.decoys_at_01)}")
        if row.outstanding:
            where = ", ".join(f"{one.hz:.1f} Hz in {one.flagged:.0%}" for one in row.outstanding)
            lines.append(f"{'':16}flagged in clip after clip (p < 0.001): {where}")
            lines.append(f"{'':16}{'':11}{'others':>8}{_shares(row.typical)}")
    return "\n".join(lines)


def level_table(rows: Sequence[Level]) -> str:
    """Say what is found of planted lines, how well their levels are told, and how often the intervals hold."""
    lines = [
        f"{'lines':19}{'s':>4}{'dBFS':>7}{'tests':>6}  p<.001   {' '.join(f'{name:>8}' for name in BANDS)}  detected"
        f"  {'error, dB: 2.5, 50, 97.5 %':>26}  within .5  sharp  of these  {'interval holds':23} upper end above"
    ]
    for row in (row for _, curve in by_curve(rows) for row in _some(curve)):
        level = "none" if row.level_dbfs is None else f"{row.level_dbfs:.1f}"
        bands = " ".join("       -" if share is None else f"{share:8.3f}" for share in row.found_by_band)
        error = " ".join(f"{points:8.2f}" for points in row.error_db or ())
        lines.append(
            f"{row.kind:19}{row.seconds:4g}{level:>7}{row.found.tests:6}  {row.found.share:.4f}   {bands}  "
            f"{row.detected.share:8.4f}  {error:>26}  {_bare(row.close):>9}  {_bare(row.sharp):>5}  "
            f"{_bare(row.close_where_sharp):>8}  {_share(row.covered):23} {_share(row.bounded)}".rstrip()
        )
    return "\n".join(lines)


def depth_table(rows: Sequence[Depth]) -> str:
    """Say what is found of modulated noise."""
    lines = [f"{'modulated noise, s':18}{'dB':>7}{'tests':>6}  p<.001  detected  error, dB: 2.5, 50, 97.5 %"]
    for row in rows:
        error = " ".join(f"{points:8.2f}" for points in row.error_db)
        lines.append(
            f"{row.seconds:18g}{row.depth_db:7.1f}{row.found.tests:6}  {row.found.share:.4f}  "
            f"{row.detected.share:8.4f}  {error}"
        )
    return "\n".join(lines)


def faintest_table(levels: Sequence[Level], depths: Sequence[Depth]) -> str:
    """Say from which level on nine of ten are found at p < 0.001."""
    lines = [f"{'found nine times in ten from':28}{'s':>5}{'all':>8} {' '.join(f'{name:>8}' for name in BANDS)}"]
    for (kind, seconds), rows in by_curve(levels):
        tried = [row.level_dbfs for row in rows if row.level_dbfs is not None]
        shown = [row for row in rows if row.level_dbfs is not None]
        curves: list[list[float | None]] = [[row.found.share for row in shown]]
        curves += [[row.found_by_band[band] for row in shown] for band in range(len(BANDS_HZ))]
        found = " ".join(f"{_dash(faintest(tried, curve)):>8}" for curve in curves)
        lines.append(f"{kind + ', dBFS':28}{seconds:5g}{found}")
    for seconds in sorted({row.seconds for row in depths}):
        of_duration = [row for row in depths if row.seconds == seconds]
        depth_db = faintest([row.depth_db for row in of_duration], [row.found.share for row in of_duration])
        lines.append(f"{'modulated noise, dB':28}{seconds:5g}{_dash(depth_db):>8}")
    return "\n".join(lines)


def _some(curve: Sequence[Level]) -> list[Level]:
    """Return the row without a line and at most nine levels."""
    planted = [row for row in curve if row.level_dbfs is not None]
    return [row for row in curve if row.level_dbfs is None] + planted[:: -(-len(planted) // MOST_LEVELS)]


def by_curve(rows: Sequence[Level]) -> Iterator[tuple[tuple[str, float], list[Level]]]:
    """Give the rows of each kind and duration."""
    for curve in dict.fromkeys((row.kind, row.seconds) for row in rows):
        yield curve, [row for row in rows if (row.kind, row.seconds) == curve]


def band_name(band: int) -> str:
    """Return the name of one of `BANDS_HZ`."""
    low, high = BANDS_HZ[band]
    return f"{low / 1000:g}-{high / 1000:g} kHz" if high < 1e9 else f">{low / 1000:g} kHz"


BANDS = [band_name(band) for band in range(len(BANDS_HZ))]


def _shares(shares: Shares) -> str:
    at_01, at_001, detected = (_share(one) for one in (shares.at_01, shares.at_001, shares.detected))
    return f"{shares.at_01.tests:7}  {at_01:23} {at_001:23} {detected}"


def _share(share: Share | None) -> str:
    return "" if share is None else f"{share.share:.4f} [{share.interval[0]:.4f}, {share.interval[1]:.4f}]"


def _bare(share: Share | None) -> str:
    return "" if share is None else f"{share.share:.3f}"


def _dash(level: float | None) -> str:
    return "-" if level is None else f"{level:.1f}"
