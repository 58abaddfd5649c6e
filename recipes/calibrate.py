"""Measure how far `audioup.measure_tones` can be trusted: false alarms and the faintest tone it finds.

    python recipes/calibrate.py --data path/to/recordings

Size: recordings that no strided generator made are tested at many periods; the share of harmonics with p below 0.01 and
0.001 should be 0.01 and 0.001. Power: steady tones at every stride harmonic, locked to the first sample of each clip,
are added at falling levels; the table says from which level on they are found.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm
from vocoder.data import UnreadableClip, load_clip, open_corpus

from audioup import measure_tones

PERIODS = (5, 7, 9, 11, 13, 17, 24, 31, 32, 63, 64, 128, 256, 257)
BANDS_HZ = ((0, 1000), (1000, 4000), (4000, 1e9))

Clips = list[NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the false alarms and the power of the tone test on recordings of your own."""

    data: str = "espeak"
    """A folder of recordings that hold no stride tones, or espeak, ljspeech, vctk, libritts."""
    out: Path = Path("runs/calibrate")
    """Folder for calibration.json and calibration.png."""
    period: int = 256
    """Product of the strides whose harmonics get the tones."""
    seconds: float = 60.0
    """Speech in each trial of the power measurement."""
    trials: int = 8
    """Random choices of clips and phases."""
    levels_dbfs: tuple[float, ...] = tuple(np.arange(-60.0, -101.0, -2.5))
    """Levels of the tones, loudest first."""
    most_clips: int = 100
    """At most so many recordings."""
    seed: int = 0
    """Decides clips and phases."""


def measure_size(clips: Clips, sample_rate: int) -> list[dict[str, Any]]:
    """Share of harmonics flagged at each period: clip by clip, and with all clips tested together."""
    rows = []
    for period in tqdm(PERIODS, desc="false alarms", unit="period"):
        single = [line.p_value for clip in clips for line in measure_tones(clip, sample_rate, (period,)).lines]
        together = [line.p_value for line in measure_tones(clips, sample_rate, (period,)).lines]
        rows.append(
            {
                "period": period,
                "tests": len(single),
                "flagged_at_0.01": float(np.mean(np.array(single) < 0.01)),
                "flagged_at_0.001": float(np.mean(np.array(single) < 0.001)),
                "together_tests": len(together),
                "together_flagged_at_0.01": float(np.mean(np.array(together) < 0.01)),
            }
        )
    return rows


def measure_power(clips: Clips, sample_rate: int, options: Options) -> list[dict[str, Any]]:
    """Share of injected tones found at p < 0.001, by level and by band."""
    rng = np.random.default_rng(options.seed)
    frequency = np.arange(1, options.period // 2 + 1) * sample_rate / options.period
    found: dict[float, list[NDArray[np.bool_]]] = {level: [] for level in options.levels_dbfs}
    bar = tqdm(total=options.trials * len(options.levels_dbfs), desc="power", unit="test")
    for _ in range(options.trials):
        speech = _draw(clips, int(options.seconds * sample_rate), rng)
        # One period of a unit sine at every harmonic; at Nyquist only the cosine part exists.
        n, k = np.arange(options.period), np.arange(1, options.period // 2 + 1)[:, None]
        phase = rng.uniform(0, 2 * np.pi, (len(k), 1)) * (2 * k != options.period)
        tones = np.cos(2 * np.pi * k * n / options.period + phase).sum(0)
        for level in options.levels_dbfs:
            amplitude = 10 ** (level / 20)
            mixed = [clip + amplitude * np.resize(tones, len(clip)) for clip in speech]
            report = measure_tones(mixed, sample_rate, (options.period,))
            found[level].append(np.array([line.p_value < 0.001 for line in report.lines]))
            bar.update()
    bar.close()
    rows = []
    for level, trials in found.items():
        share = np.mean(trials, axis=0)
        bands = [share[(frequency > low) & (frequency <= high)] for low, high in BANDS_HZ]
        rows.append(
            {
                "level_dbfs": float(level),
                "found": float(share.mean()),
                "found_by_band": [float(band.mean()) if band.size else None for band in bands],
            }
        )
    return rows


def faintest(rows: Sequence[dict[str, Any]], band: int | None = None) -> float | None:
    """Interpolate the level found with probability 0.9; None where even the loudest is not, or all are."""
    levels = [row["level_dbfs"] for row in rows]
    shares = [row["found"] if band is None else row["found_by_band"][band] for row in rows]
    for i in range(1, len(rows)):
        above, below = shares[i - 1], shares[i]
        if above is not None and above >= 0.9 > below:
            return float(levels[i] + (0.9 - below) / (above - below) * (levels[i - 1] - levels[i]))
    return None


def _draw(clips: Clips, samples: int, rng: np.random.Generator) -> Clips:
    drawn: Clips = []
    for index in rng.permutation(len(clips)):
        missing = samples - sum(map(len, drawn))
        if missing <= 0:
            break
        drawn.append(clips[index][:missing])
    return drawn


def _plot(size: list[dict[str, Any]], power: list[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    at = range(len(size))
    left.bar(at, [row["flagged_at_0.01"] for row in size], color="0.6", label="clip by clip")
    left.axhline(0.01, color="red", linewidth=1, label="nominal")
    left.set_xticks(list(at), [str(row["period"]) for row in size])
    left.set(xlabel="period in samples", ylabel="share flagged at p < 0.01", title="false alarms on recordings")
    left.legend()
    levels = [row["level_dbfs"] for row in power]
    right.plot(levels, [row["found"] for row in power], "k.-", label="all harmonics")
    for band, (low, high) in enumerate(BANDS_HZ):
        name = f"{low / 1000:g} to {high / 1000:g} kHz" if high < 1e9 else f"above {low / 1000:g} kHz"
        right.plot(levels, [row["found_by_band"][band] for row in power], linewidth=1, label=name)
    right.axhline(0.9, color="red", linewidth=1)
    right.set(xlabel="level of the tone, dBFS", ylabel="share found at p < 0.001", title="power")
    right.legend()
    figure.savefig(path, dpi=110)


def run(options: Options) -> None:
    """Measure, print two tables, write JSON and a picture."""
    if options.period < 2 or options.trials < 1 or options.most_clips < 1 or not options.levels_dbfs:
        raise ValueError("--period must be at least 2, --trials and --most-clips at least 1, --levels-dbfs not empty")
    corpus = open_corpus(options.data)
    rate = corpus.sample_rate
    chosen = (*corpus.test, *corpus.valid, *corpus.train)[: options.most_clips]
    clips: Clips = []
    for clip in chosen:
        try:
            clips.append(load_clip(clip, rate).double().numpy())
        except UnreadableClip as error:
            print(f"left out: {error}")
    duration_s = sum(map(len, clips)) / rate
    least_s = 12 * max(4 * options.period, 0.064 * rate + options.period) / rate  # twelve blocks of the test
    if not least_s <= options.seconds <= duration_s:
        raise ValueError(
            f"--seconds must be from {least_s:.1f}, for --period {options.period}, to the {duration_s:.1f} s of "
            f"{options.data}, got {options.seconds:g}"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    size, power = measure_size(clips, rate), measure_power(clips, rate, options)
    tests = sum(row["tests"] for row in size)
    overall = {
        key: sum(row[key] * row["tests"] for row in size) / tests for key in ("flagged_at_0.01", "flagged_at_0.001")
    }
    together = sum(row["together_tests"] for row in size)
    overall["together_flagged_at_0.01"] = (
        sum(row["together_flagged_at_0.01"] * row["together_tests"] for row in size) / together
    )
    result = {
        "data": options.data,
        "clips": len(clips),
        "duration_s": duration_s,
        "sample_rate": rate,
        "size": size,
        "size_overall": overall,
        "power": power,
        "power_seconds": options.seconds,
        "faintest_dbfs": faintest(power),
        "faintest_by_band_dbfs": [faintest(power, band) for band in range(len(BANDS_HZ))],
    }
    (options.out / "calibration.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _plot(size, power, options.out / "calibration.png")
    print(f"{len(clips)} clips, {duration_s:.0f} s at {rate} Hz\nperiod   tests  p<0.01  p<0.001  together p<0.01")
    for row in size:
        print(
            f"{row['period']:6} {row['tests']:7}  {row['flagged_at_0.01']:.4f}   {row['flagged_at_0.001']:.4f}  "
            f"{row['together_flagged_at_0.01']:.4f} of {row['together_tests']}"
        )
    print(
        f"   all {tests:7}  {overall['flagged_at_0.01']:.4f}   {overall['flagged_at_0.001']:.4f}  "
        f"{overall['together_flagged_at_0.01']:.4f} of {together}"
    )
    print(f"tone in {options.seconds:g} s  found at p < 0.001")
    for row in power:
        print(f"{row['level_dbfs']:8.1f} dBFS  {row['found']:.2f}")
    shown = result["faintest_dbfs"]
    print("found with probability 0.9 from", "outside the levels tried" if shown is None else f"{shown:.1f} dBFS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
