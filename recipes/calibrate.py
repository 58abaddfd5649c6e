"""Measure how far `audioup.measure_tones` can be trusted: false alarms, the faintest it finds, levels and their bounds.

    python recipes/calibrate.py --data path/to/recordings

Size: speech, sustained notes, drums and noise, which no strided generator made, are tested at 36 periods; the share
with p below 0.01 and 0.001 should be 0.01 and 0.001. Power: lines locked to the first sample of each clip are planted
in the recordings at falling levels, of one sign, in proportion to the speech, and with signs at random; noise is
modulated. Levels: how near the estimates are, and how often the intervals hold the truth.

Intervals of shares allow for clips, or trials, that differ from one another. Trials draw from the same recordings:
where they need most of them, at ten minutes, they are no independent samples of speech.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import tyro
from calibration.depths import Depth, measure_depths
from calibration.lines import KINDS, Level, draw_speech, measure_levels
from calibration.picture import draw_calibration
from calibration.size import PERIODS, Questions, Size, measure_size
from calibration.sounds import SOUNDS, Sound, draw_sounds
from calibration.tables import depth_table, faintest_table, level_table, size_table
from tqdm import tqdm
from vocoder.checkpoint import drafts
from vocoder.data import UnreadableClip, load_clip, open_corpus

from audioup.blocks import Blocks

CLIP_S = 6.0  # of a clip whose false alarms are counted: many short ones tell more than a few long ones

Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the false alarms, the power and the levels of the tone test on recordings of your own."""

    data: str = "espeak"
    """A folder of recordings that hold no stride tones, or espeak, ljspeech, vctk, libritts."""
    out: Path = Path("runs/calibrate")
    """Folder for calibration.json and calibration.png."""
    period: int = 256
    """Product of the strides whose harmonics get the lines."""
    size_seconds: float = 240.0
    """Of each sound whose false alarms are counted."""
    durations: tuple[float, ...] = (4.0, 60.0, 600.0)
    """Seconds of sound in a trial of power; longer ones than the recordings are left out."""
    trials: tuple[int, ...] = (40, 20, 3)
    """Of each duration."""
    levels_dbfs: tuple[float, ...] = tuple(np.arange(-40.0, -121.0, -5.0).tolist())
    """Of the lines."""
    depths_db: tuple[float, ...] = tuple(np.arange(0.0, -61.0, -5.0).tolist())
    """Of the modulation of noise."""
    most_minutes: float = 30.0
    """Of recordings to load, at random."""
    seed: int = 0
    """Decides clips, sounds, phases and signs."""


def load_recordings(options: Options, rng: np.random.Generator) -> tuple[list[Sound], int]:
    """Return clips in random order and their sample rate."""
    corpus = open_corpus(options.data)
    clips: list[Sound] = []
    files = (*corpus.train, *corpus.valid, *corpus.test)
    for index in rng.permutation(len(files)):
        if sum(map(len, clips)) >= 60 * options.most_minutes * corpus.sample_rate:
            break
        try:
            clips.append(load_clip(files[index], corpus.sample_rate).double().numpy())
        except UnreadableClip as error:
            print(f"left out: {error}")
    return clips, corpus.sample_rate


def run_size(clips: Sequence[Sound], sample_rate: int, options: Options, rng: np.random.Generator) -> list[Size]:
    """Count false alarms on the recordings and on sounds made here."""
    questions = Questions(sample_rate)
    cut = [clip[: round(CLIP_S * sample_rate)] for clip in clips]
    long_enough = [clip for clip in cut if questions.long_enough(clip)]
    lengths = np.cumsum([0, *map(len, long_enough)])
    speech = long_enough[: int(np.searchsorted(lengths, options.size_seconds * sample_rate))]
    if not speech:
        raise ValueError(
            f"--data must hold clips of 12 blocks of {PERIODS[-1]} samples and 2 s, {options.data} does not"
        )
    sounds = {"recordings": speech}
    for name, stream in zip(SOUNDS, rng.spawn(len(SOUNDS)), strict=True):
        drawn = draw_sounds(name, sample_rate, options.size_seconds, stream)
        sounds[name] = [clip for clip in drawn if questions.long_enough(clip)]
    rows: list[Size] = []
    total = len(PERIODS) * sum(map(len, sounds.values()))
    with tqdm(total=total, desc="false alarms", unit="test") as bar:
        for name, of_sound in sounds.items():
            rows += _rows(measure_size(name, of_sound, questions), bar, 1)
    return rows


def run_power(
    clips: Sequence[Sound], sample_rate: int, options: Options, rng: np.random.Generator
) -> tuple[list[Level], list[Depth]]:
    """Plant lines in the recordings, and modulate noise."""
    levels: list[Level] = []
    depths: list[Depth] = []
    levels_dbfs, depths_db = (sorted(tried, reverse=True) for tried in (options.levels_dbfs, options.depths_db))
    plan = list(zip(options.durations, options.trials, strict=True))
    work_s = sum(seconds * trials for seconds, trials in plan)
    with tqdm(total=work_s * len(KINDS) * (len(levels_dbfs) + 1), desc="lines", unit="s", unit_scale=True) as bar:
        for seconds, trials in plan:
            speech = draw_speech(clips, round(seconds * sample_rate), trials, rng)
            for kind in KINDS:
                found = measure_levels(kind, seconds, speech, sample_rate, options.period, levels_dbfs, rng)
                levels += _rows(found, bar, seconds)
    with tqdm(total=work_s * len(depths_db), desc="modulated noise", unit="s", unit_scale=True) as bar:
        for seconds, trials in plan:
            depths += _rows(measure_depths(seconds, trials, sample_rate, options.period, depths_db, rng), bar, seconds)
    return levels, depths


def check_options(options: Options) -> None:
    """Raise ValueError where an option makes no sense, whatever the recordings."""
    if options.period < 2:
        raise ValueError(f"--period must be at least 2, got {options.period}")
    for name in ("size_seconds", "most_minutes"):
        if not 0 < getattr(options, name) < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {getattr(options, name)}")
    if not options.durations or len(options.durations) != len(options.trials):
        raise ValueError(f"--trials must be one for each of --durations {options.durations}, got {options.trials}")
    if min(options.trials) < 1:
        raise ValueError(f"--trials must be at least 1, got {options.trials}")
    for name in ("levels_dbfs", "depths_db"):
        values = getattr(options, name)
        if not values or not all(-200 <= value <= 0 for value in values):
            raise ValueError(f"--{name.replace('_', '-')} must be numbers from -200 to 0, got {values}")


def fit_durations(options: Options, clips: Sequence[Sound], sample_rate: int) -> Options:
    """Leave out trials that need more speech than there is.

    Raises:
        ValueError: If a trial is too short to be tested, or none is left.
    """
    blocks = Blocks(sample_rate, options.period)
    for seconds in options.durations:
        reason = blocks.too_short(round(seconds * sample_rate)) if math.isfinite(seconds) else "infinite"
        if reason:
            raise ValueError(
                f"--durations must be long enough for --period {options.period}, got {seconds:g}: {reason}"
            )
    speech_s = sum(map(len, clips)) / sample_rate
    kept = [(seconds, n) for seconds, n in zip(options.durations, options.trials, strict=True) if seconds <= speech_s]
    if not kept:
        raise ValueError(f"--durations must be at most the {speech_s:.1f} s of recordings, got {options.durations}")
    if len(kept) < len(options.durations):
        print(f"left out: trials of more than the {speech_s:.1f} s of recordings")
    durations, trials = zip(*kept, strict=True)
    return dataclasses.replace(options, durations=durations, trials=trials)


def run(options: Options) -> None:
    """Measure, print tables, write JSON and a picture."""
    check_options(options)
    rng = np.random.default_rng(options.seed)
    clips, rate = load_recordings(options, rng)
    blocks = Blocks(rate, options.period)
    testable = [clip for clip in clips if not blocks.too_short(len(clip))]
    options = fit_durations(options, testable, rate)
    options.out.mkdir(parents=True, exist_ok=True)
    numbers, picture = options.out / "calibration.json", options.out / "calibration.png"
    with drafts(numbers, picture) as (numbers_draft, picture_draft):
        size = run_size(clips, rate, options, rng)
        levels, depths = run_power(testable, rate, options, rng)
        content = {
            "options": {**dataclasses.asdict(options), "out": str(options.out)},
            "sample_rate": rate,
            "clips": len(clips),
            "duration_s": sum(map(len, clips)) / rate,
            "periods": PERIODS,
            "size": [dataclasses.asdict(row) for row in size],
            "levels": [dataclasses.asdict(row) for row in levels],
            "depths": [dataclasses.asdict(row) for row in depths],
        }
        numbers_draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        draw_calibration(size, levels, depths, picture_draft)
    print(f"{len(clips)} clips, {content['duration_s']:.0f} s at {rate} Hz; {len(PERIODS)} periods\n")
    tables = (size_table(size), level_table(levels), depth_table(depths), faintest_table(levels, depths))
    print("\n\n".join(tables))
    print(f"\nnumbers: {numbers}   picture: {picture}")


def _rows(results: Iterator[Row | None], bar: "tqdm[None]", step: float) -> list[Row]:
    """Collect the rows and let the bar follow what comes between them."""
    rows = []
    for row in results:
        if row is None:
            bar.update(step)
        else:
            rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"calibrate: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("calibrate: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
