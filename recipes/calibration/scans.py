"""What the blind scan says of sounds without a period, of lines planted in speech, and of networks with strides."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from audioup.scan import Scanner
from audioup.scan_report import ScanReport
from calibration.shares import Share, share_of
from calibration.sounds import Sound, notes

COMBS = ("1 line", "3 lines", "all lines")
STACKS = ((8, 8, 4), (8, 8, 2), (5, 5, 4, 3), (7, 7, 9), (8, 8), (5, 4))
CHANNELS = 8  # of the last stage of a stack, and twice as many of each before
BANDS = 20  # of what goes into a stack
SLOPE = 0.1  # of its rectifiers


@dataclass(frozen=True)
class Alarms:
    """How often the scan says something of sounds that no period was put into.

    Attributes:
        sound: Its name.
        seconds: Of a clip, at most.
        named: Share of clips in which it names a period.
        tones: Share in which it reports any steady line or tone.
        periods: The periods named.
    """

    sound: str
    seconds: float
    named: Share
    tones: Share
    periods: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """What the scan says of sounds with a period.

    Attributes:
        what: ``"1 line"``, ``"3 lines"``, ``"all lines"`` or the strides of a stack.
        seconds: Of a trial.
        level_dbfs: Of each line, or None for a stack.
        period: What was put in, or None for several.
        right: Share of trials in which it names this period and no other.
        divisor: Share in which it names divisors of it, and no other.
        wrong: Share in which it names any other.
        apart: Share in which it names none, but reports a line.
    """

    what: str
    seconds: float
    level_dbfs: float | None
    period: int | None
    right: Share
    divisor: Share
    wrong: Share
    apart: Share


def scan(scanner: Scanner, sound: Sound) -> ScanReport:
    """Scan one clip."""
    return scanner.report(scanner.measure(lambda start, stop: sound[start:stop, None], len(sound))[0])


def draw_untuned(sample_rate: int, seconds: float, rng: np.random.Generator) -> list[Sound]:
    """Draw sustained notes of any pitch: those of equal temperament hold A = 440 Hz, which may have a period indeed."""
    clips: list[Sound] = []
    while sum(map(len, clips)) < seconds * sample_rate:
        clips.append(notes(sample_rate * rng.uniform(0.97, 1.03), rng))
    return clips


def measure_alarms(sound: str, seconds: float, clips: Sequence[Sound], scanner: Scanner) -> Iterator[Alarms | None]:
    """Scan clips that hold no period: None after each, at last the row."""
    reports = []
    for clip in clips:
        reports.append(scan(scanner, clip))
        yield None
    named = [bool(report.periods) for report in reports]
    tones = [report.verdict.startswith(("period", "steady")) for report in reports]
    periods = tuple(period.samples for report in reports for period in report.periods)
    yield Alarms(sound, seconds, _share(named), _share(tones), periods)


def measure_found(
    what: str, seconds: float, level_dbfs: float | None, trials: Sequence[tuple[int, Sound]], scanner: Scanner
) -> Iterator[Found | None]:
    """Scan sounds whose period is known: None after each, at last the row."""
    named: list[set[int]] = []
    lines = []
    for _, sound in trials:
        report = scan(scanner, sound)
        named.append({period.samples for period in report.periods})
        lines.append(bool(report.apart))
        yield None
    periods = [period for period, _ in trials]
    right = [found == {period} for found, period in zip(named, periods, strict=True)]
    divisor = [
        bool(found) and found != {period} and all(period % one == 0 for one in found)
        for found, period in zip(named, periods, strict=True)
    ]
    wrong = [bool(found) and not (a or b) for found, a, b in zip(named, right, divisor, strict=True)]
    apart = [not found and any_line for found, any_line in zip(named, lines, strict=True)]
    period = periods[0] if len(set(periods)) == 1 else None
    yield Found(what, seconds, level_dbfs, period, *map(_share, (right, divisor, wrong, apart)))


def plant(comb: str, period: int, level_dbfs: float, sound: Sound, rng: np.random.Generator) -> Sound:
    """Return the sound with lines of this level at harmonics of a period, of which at least one has no shorter one."""
    harmonics = np.arange(1, (period + 1) // 2)  # Nyquist has but one phase
    chosen = set(harmonics.tolist())
    if comb != "all lines":
        own = [k for k in chosen if math.gcd(k, period) == 1]
        first = int(rng.choice(own))
        rest = rng.permutation(sorted(chosen - {first})).tolist()
        chosen = {first, *rest[: int(comb.split()[0]) - 1]}
    n = np.arange(period)
    one = sum(np.cos(2 * np.pi * k * n / period + rng.uniform(0, 2 * np.pi)) for k in sorted(chosen))
    return sound + 10 ** (level_dbfs / 20) * np.resize(one, len(sound))


def through_stack(strides: Sequence[int], sound: Sound, seed: int) -> Sound:
    """Return what an untrained stack of transposed convolutions makes of the sound's band levels, at -20 dBFS."""
    frame = math.prod(strides)
    generator = torch.Generator().manual_seed(seed)
    frames = torch.from_numpy(sound[: len(sound) // frame * frame].reshape(-1, frame)).float()
    spectrum = torch.fft.rfft(frames * torch.hann_window(frame), max(frame, 2 * BANDS)).abs()
    bands = torch.stack([part.mean(1) for part in spectrum.tensor_split(BANDS, dim=1)])
    x = torch.log(bands + 1e-4)
    x = (x - x.mean()) / x.std()
    for stage, stride in enumerate(strides):
        width = CHANNELS * 2 ** (len(strides) - 1 - stage)
        weight = torch.randn(len(x), width, 2 * stride, generator=generator) / math.sqrt(2 * len(x))
        x = torch.nn.functional.leaky_relu(
            torch.nn.functional.conv_transpose1d(x, weight, stride=stride, padding=stride // 2), SLOPE
        )
        x = x[:, : bands.shape[1] * math.prod(strides[: stage + 1])]
    mix = torch.randn(1, len(x), 7, generator=generator)
    y = torch.nn.functional.conv1d(x[None], mix, padding=3)[0, 0].double().numpy()
    y -= y.mean()
    return np.asarray(0.1 * y / np.sqrt(np.mean(y**2)))


def _share(flags: Sequence[bool]) -> Share:
    return share_of(np.array(flags)[:, None])
