"""Compare upsamplers in one vocoder: same data in the same order, same steps and losses; only the upsampler changes.

    python recipes/compare_upsamplers.py
    python recipes/compare_upsamplers.py --data path/to/recordings --variants transposed resize-nearest ours

Some variants add an ingredient, which their options say. A seed decides data order and noise; layers of other shapes
draw other initial weights. Every variant is trained without discriminators; transposed, nearest-resize, the regular
layer and ours go on with them, with two seeds each. What is finished is never trained or measured again, what was
interrupted goes on: start the program again. ``--train-only`` with other ``--variants`` beside each other fills more
cores; once more without it for the tables and pictures.
"""

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import tyro
from comparison.curves import read_curves
from comparison.draw import draw_all
from comparison.goal import judge
from comparison.phases import Phase, phases_of, write_json
from comparison.tables import markdown, text
from comparison.variants import VARIANTS
from tqdm import tqdm
from vocoder.data import open_corpus


@dataclasses.dataclass(frozen=True)
class Options:
    """Train the same vocoder with each upsampler and each ingredient, and compare tones, quality and cost."""

    out: Path = Path("runs/comparison")
    """Folder of the runs, results.json, results.txt and the pictures."""
    data: str = "espeak"
    """Recordings, as in train_vocoder.py."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """What to compare; the first is what all are compared to."""
    seeds: tuple[int, ...] = (1234, 1235)
    """Of the adversarial trainings; the others take the first."""
    preset: Literal["tiny", "v3", "v2", "v1"] = "tiny"
    """Sizes."""
    warmup_steps: int = 1500
    """Of every variant, without discriminators."""
    adversarial_steps: int = 500
    """After them; 0 leaves the adversarial part out."""
    batch_size: int = 8
    """Segments a step."""
    segment_size: int = 8192
    """Samples a segment."""
    test_clips: int = 16
    """Held-out clips to generate and to measure."""
    crepe: Literal["full", "tiny"] = "full"
    """Pitch tracker of the periodicity error and the voicing F1: full is Vocos' choice, tiny 30 times as fast."""
    rounds: int = 9
    """Of the timings."""
    train_only: bool = False
    """Train and stop."""
    publish: Path | None = None
    """Copy results, pictures and the first seed's weights, in half precision, to this folder."""
    cache: Path = Path("~/.cache/audioup")
    """Folder of synthesised and downloaded speech."""
    accelerator: str = "auto"
    """cpu, cuda, ...: see Lightning Fabric."""


def compare(options: Options, phases: Sequence[Phase]) -> dict[str, Any]:
    """Measure everything that was trained; return the results."""
    from comparison.measuring import Measuring  # the metrics' packages, which training does without

    corpus = open_corpus(options.data, None, options.cache)
    measuring = Measuring(options.out, corpus, options.test_clips, options.crepe)
    measuring.check_alike(phases)
    recordings = measuring.recordings(phases[0])
    measured = {phase.key: measuring.phase(phase) for phase in tqdm(phases, "measuring", unit="vocoder")}
    speeds = measuring.speeds(phases, options.rounds)
    rows: list[dict[str, Any]] = [
        {
            "variant": phase.variant.name,
            "what": phase.variant.what,
            "seed": phase.seed,
            "seeds": len({other.seed for other in phases if other.variant == phase.variant}),
            "phase": phase.name,
            "steps": phase.steps,
            **phase.card(options.out),
            "quality": measured[phase.key]["quality"],
            "lines": measured[phase.key]["lines"],
            "cost": speeds[phase.variant.name],
        }
        for phase in phases
    ]
    for row in rows:
        alike = [other for other in rows if (other["variant"], other["phase"]) == (options.variants[0], row["phase"])]
        if alike:
            baseline = next((other for other in alike if other["seed"] == row["seed"]), alike[0])
            row["goal"] = judge(row, baseline, recordings)
    runs = dict.fromkeys(phase.run for phase in phases)
    return {
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
        "sample_rate": corpus.sample_rate,
        "recordings": recordings,
        "rows": rows,
        "curves": {run: read_curves(options.out / "runs" / run) for run in runs},
        "recordings_curve": measuring.validation_level(phases[0]),
    }


def check(options: Options) -> None:
    """Raise `ValueError` where options make no comparison."""
    unknown = [name for name in options.variants if name not in VARIANTS]
    if unknown or not options.variants or len(set(options.variants)) < len(options.variants):
        raise ValueError(f"--variants must be different ones of {', '.join(VARIANTS)}, got {options.variants}")
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise ValueError(f"--seeds must be different ones, at least one, got {options.seeds}")
    for name, least in (("warmup_steps", 1), ("adversarial_steps", 0), ("test_clips", 1), ("rounds", 1)):
        if getattr(options, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(options, name)}")


def run(options: Options) -> None:
    """Train what is missing, measure it, write tables, numbers and pictures."""
    check(options)
    common = {key: getattr(options, key) for key in ("data", "preset", "batch_size", "segment_size")}
    free = {key: getattr(options, key) for key in ("cache", "test_clips", "accelerator")}
    phases = list(phases_of(options.variants, options.seeds, options.warmup_steps, options.adversarial_steps))
    if not options.train_only:
        import_module("comparison.measuring")  # now, not after hours of training
    for number, phase in enumerate(phases, 1):
        print(f"{number} of {len(phases)}: {phase.key}")
        phase.train(options.out, common, free)
    if options.train_only:
        return
    results = compare(options, phases)
    write_json(options.out / "results.json", results)
    (options.out / "results.txt").write_text(text(results) + "\n", encoding="utf-8")
    (options.out / "results.md").write_text(markdown(results) + "\n", encoding="utf-8")
    pictures = draw_all(results, options.out)
    print(text(results))
    print(f"look: {', '.join(map(str, pictures))}   numbers: {options.out / 'results.json'}")
    if options.publish:
        last = [phase for phase in phases if phase.final and phase.seed == options.seeds[0]]
        weights = [phase.publish(options.out, options.publish / "weights") for phase in last]
        for path in (*pictures, *(options.out / f"results.{suffix}" for suffix in ("json", "txt", "md"))):
            shutil.copyfile(path, options.publish / path.name)
        print(f"{options.publish}: {len(weights)} weights, {sum(path.stat().st_size for path in weights) / 1e6:.1f} MB")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except ImportError as error:
        print(f"compare_upsamplers: {error}: pip install -e '.[compare]'", file=sys.stderr)
        return 2
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"compare_upsamplers: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("compare_upsamplers: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
