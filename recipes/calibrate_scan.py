"""Measure how far `audioup measure --scan` can be trusted: periods named where none is, the faintest it names right.

    python recipes/calibrate_scan.py --data path/to/recordings

Alarms: recordings, sustained notes, drums and noise, which no strided generator made, clip by clip. (Notes tuned to
A = 440 Hz may have a period: 400 samples at 16 kHz. Untuned ones have none.) Lines: one, three or all harmonics of a
period, at falling levels, planted in recordings from their first sample on. Stacks: what untrained transposed
convolutions make of recordings; their period is the product of the strides.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import calibrate
import numpy as np
import tyro
from calibration.scans import (
    COMBS,
    STACKS,
    Alarms,
    Found,
    draw_untuned,
    measure_alarms,
    measure_found,
    plant,
    through_stack,
)
from calibration.shares import Share
from calibration.sounds import SOUNDS, Sound, draw_sounds
from tqdm import tqdm
from vocoder.checkpoint import drafts

from audioup.scan import Scanner


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the false alarms and the power of the blind scan on recordings of your own."""

    data: str = "espeak"
    """A folder of recordings that hold no stride tones, or espeak, ljspeech, vctk, libritts."""
    out: Path = Path("runs/calibrate_scan")
    """Folder for scan.json."""
    durations: tuple[float, ...] = (4.0, 60.0)
    """Seconds of a clip; recordings are joined to that length."""
    alarms: tuple[int, ...] = (250, 12)
    """Clips of each sound without a period, for each duration; of recordings no more than there are."""
    trials: tuple[int, ...] = (8, 2)
    """Sounds for each kind of lines, period and level, and for each stack, for each duration."""
    periods: tuple[int, ...] = (4, 8, 64, 256, 300, 441)
    """Of the lines, in samples."""
    levels_dbfs: tuple[float, ...] = (-50.0, -60.0, -70.0, -80.0)
    """Of the lines."""
    seed: int = 0
    """Decides clips, sounds, harmonics and phases."""


def check_options(options: Options) -> None:
    """Raise ValueError where an option makes no sense, whatever the recordings."""
    for name in ("alarms", "trials"):
        values = getattr(options, name)
        if len(values) != len(options.durations) or min(values, default=0) < 1:
            raise ValueError(f"--{name} must be a number of at least 1 for each of --durations, got {values}")
    if not all(2 < period <= 512 for period in options.periods):
        raise ValueError(f"--periods must be from 3 to 512, got {options.periods}")
    if not all(-200 <= level <= 0 for level in options.levels_dbfs):
        raise ValueError(f"--levels-dbfs must be numbers from -200 to 0, got {options.levels_dbfs}")


def cut(clips: Sequence[Sound], samples: int) -> list[Sound]:
    """Join recordings, where one is too short, and cut them into pieces of so many samples."""
    pieces = [clip[:samples] for clip in clips if len(clip) >= samples]
    joined = np.concatenate([clip for clip in clips if len(clip) < samples] or [np.zeros(0)])
    return [*pieces, *(joined[i : i + samples] for i in range(0, len(joined) - samples + 1, samples))]


def run_alarms(
    speech: Sequence[Sound], seconds: float, clips: int, scanner: Scanner, rng: np.random.Generator
) -> Iterator[Alarms | None]:
    """Scan sounds that hold no period."""
    rate = scanner.sample_rate
    yield from measure_alarms("recordings", seconds, speech[:clips], scanner)
    drawn = {name: draw_sounds(name, rate, clips * seconds, rng) for name in SOUNDS}
    drawn["untuned notes"] = draw_untuned(rate, clips * seconds, rng)
    for name, sounds in drawn.items():
        yield from measure_alarms(name, seconds, cut(sounds, round(seconds * rate))[:clips], scanner)


def run_found(
    speech: Sequence[Sound], seconds: float, trials: int, options: Options, scanner: Scanner, rng: np.random.Generator
) -> Iterator[Found | None]:
    """Scan lines planted in recordings, and stacks."""

    def draw() -> list[Sound]:
        return [speech[i] for i in rng.choice(len(speech), trials)]

    for comb in COMBS:
        for period in options.periods:
            for level in sorted(options.levels_dbfs, reverse=True):
                sounds = [(period, plant(comb, period, level, sound, rng)) for sound in draw()]
                yield from measure_found(comb, seconds, level, sounds, scanner)
    for strides in STACKS:
        period = math.prod(strides)
        sounds = [(period, through_stack(strides, sound, int(rng.integers(2**31)))) for sound in draw()]
        yield from measure_found(",".join(map(str, strides)), seconds, None, sounds, scanner)


def alarm_table(rows: Sequence[Alarms]) -> str:
    """Say how often a period is named where none is."""
    lines = [f"{'sound':16}{'s':>4}{'clips':>7}  {'a period named':24}{'a steady tone reported':24} periods"]
    lines += [
        f"{row.sound:16}{row.seconds:4g}{row.named.tests:7}  {_share(row.named):24}{_share(row.tones):24} "
        f"{', '.join(map(str, row.periods))}".rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def found_table(rows: Sequence[Found]) -> str:
    """Say how often the right period is named, a divisor of it, another one, or none beside a line."""
    lines = [
        f"{'lines':11}{'s':>4}{'dBFS':>6}{'period':>8}{'trials':>8}{'right':>7}{'divisor':>9}{'wrong':>7}{'none':>6}"
    ]
    for row in rows:
        level = "" if row.level_dbfs is None else f"{row.level_dbfs:g}"
        shares = (row.right, row.divisor, row.wrong, row.apart)
        right, divisor, wrong, apart = (f"{share.share:.2f}" for share in shares)
        lines.append(
            f"{row.what:11}{row.seconds:4g}{level:>6}{row.period:>8}{row.right.tests:8}{right:>7}{divisor:>9}"
            f"{wrong:>7}{apart:>6}"
        )
    return "\n".join(lines)


def run(options: Options) -> None:
    """Measure, print tables, write JSON."""
    check_options(options)
    rng = np.random.default_rng(options.seed)
    clips, rate = calibrate.load_recordings(calibrate.Options(data=options.data), rng)
    scanner = Scanner(rate)
    alarms: list[Alarms] = []
    found: list[Found] = []
    options.out.mkdir(parents=True, exist_ok=True)
    numbers = options.out / "scan.json"
    with drafts(numbers) as (draft,), tqdm(unit="clip") as bar:
        for seconds, of_sound, trials in zip(options.durations, options.alarms, options.trials, strict=True):
            samples = round(seconds * rate)
            speech = cut(clips, samples)
            reason = scanner.lattice.too_short(samples)
            if reason or not speech:
                raise ValueError(f"--durations {seconds:g}: {reason or 'the recordings are shorter'}")
            bar.set_description(f"{seconds:g} s")
            for alarm in run_alarms(speech, seconds, of_sound, scanner, rng):
                alarms += [alarm] if alarm else []
                bar.update(alarm is None)
            for one in run_found(speech, seconds, trials, options, scanner, rng):
                found += [one] if one else []
                bar.update(one is None)
        content = {
            "options": {**dataclasses.asdict(options), "out": str(options.out)},
            "sample_rate": rate,
            "alarms": [dataclasses.asdict(row) for row in alarms],
            "found": [dataclasses.asdict(row) for row in found],
        }
        draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{alarm_table(alarms)}\n\n{found_table(found)}\n\nnumbers: {numbers}")


def _share(share: Share) -> str:
    return f"{share.share:.4f} [{share.interval[0]:.4f}, {share.interval[1]:.4f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"calibrate_scan: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("calibrate_scan: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
