"""The vocoders of a comparison, and what they make of held-out speech and of what is no speech."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from comparison.lines import other_inputs
from comparison.phases import Phase
from comparison.variants import VARIANTS
from numpy.typing import NDArray
from vocoder.checkpoint import in_one_line
from vocoder.data import Corpus
from vocoder.report import generate_held_out, vocode
from vocoder.runs import Run

SPEECH = "speech"
EDGE_S = 0.1
Sounds = dict[str, list[tuple[str, NDArray[Any]]]]  # of each kind of input: name and sound of every clip


@dataclass(frozen=True)
class Excerpt:
    """A sound of the page.

    Attributes:
        kind: Of its input.
        number: Of the clip among those of the kind.
        title: Its name.
        start: First sample of the clip that is heard.
        stop: The one after the last.
    """

    kind: str
    number: int
    title: str
    start: int
    stop: int


def read_results(run: Path) -> dict[str, Any]:
    """Read what a comparison measured.

    Raises:
        ValueError: If the folder holds no finished comparison.
    """
    path = run / "results.json"
    if not path.exists():
        raise ValueError(f"{run} holds no results.json: run recipes/compare_upsamplers.py --out {run} to its end first")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        rows, options = results["rows"], results["options"]
        if not rows:
            raise ValueError("rows must not be empty")
        for key in ("variant", "seed", "phase", "steps"):
            rows[0][key]
        for key in ("data", "test_clips", "warmup_steps", "seeds"):
            options[key]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {type(error).__name__}: {in_one_line(error)}") from error
    return results


def last_phases(results: Mapping[str, Any], run: Path) -> list[Phase]:
    """Return of each variant the last phase of the first seed.

    Raises:
        ValueError: If a variant is not known, or the weights of a phase are missing.
    """
    last: dict[str, Phase] = {}
    for row in results["rows"]:
        name, seed = row["variant"], row["seed"]
        if name not in VARIANTS:
            raise ValueError(f"{run} holds a variant {name!r} that recipes/comparison/variants.py does not know")
        if name in last and last[name].seed != seed:
            continue
        last[name] = Phase(VARIANTS[name], seed, row["phase"], row["steps"], results["options"]["warmup_steps"])
    for phase in last.values():
        for path in (phase.weights(run), phase.weights(run).with_suffix(".json")):
            if not path.exists():
                raise ValueError(f"{path} is missing: the comparison is not finished")
    return list(last.values())


def sounds(opened: Run, seed: int, corpus: Corpus, clips: int) -> tuple[Sounds, Sounds]:
    """Return recordings and other inputs, and what a vocoder makes of them, as the comparison did: with its seed.

    Raises:
        ValueError: If no held-out clip is usable.
    """
    torch.manual_seed(seed)  # some add noise
    pairs = generate_held_out(opened.generator, opened.mel, corpus.test, corpus.sample_rate, clips)
    if not pairs:
        raise ValueError("no held-out clip is usable")
    inputs: Sounds = {SPEECH: [(name, real.numpy()) for name, real, _ in pairs]}
    made: Sounds = {SPEECH: [(name, generated.numpy()) for name, _, generated in pairs]}
    for kind, drawn in other_inputs(corpus.sample_rate, opened.mel.hop_length).items():
        inputs[kind] = [(f"{kind} {n}", clip.numpy()) for n, clip in enumerate(drawn, 1)]
        made[kind] = [
            (f"{kind} {n}", vocode(opened.generator, opened.mel, clip).numpy()) for n, clip in enumerate(drawn, 1)
        ]
    return inputs, made


def choose_excerpts(
    inputs: Sounds, sample_rate: int, period: int, most: int, between_s: tuple[float, float], other_s: float
) -> list[Excerpt]:
    """Choose what is heard: the first held-out clips of a length, whole; a part of the first of every other kind.

    Such a part is a whole number of periods, so that its tones go on where it is repeated, and leaves out the edge: on
    silence and noise a vocoder's first samples may click far louder than all the rest.

    Args:
        inputs: What the vocoders are given.
        sample_rate: In Hz.
        period: Product of the strides.
        most: Held-out clips.
        between_s: Their least and their greatest length.
        other_s: Length of the parts of other clips, at most.

    Raises:
        ValueError: If no held-out clip is of that length, or another one too short.
    """
    least, longest = (seconds * sample_rate for seconds in between_s)
    chosen = [
        Excerpt(SPEECH, number, name, 0, len(sound))
        for number, (name, sound) in enumerate(inputs[SPEECH])
        if least <= len(sound) <= longest
    ][:most]
    if not chosen:
        raise ValueError(
            f"none of the {len(inputs[SPEECH])} held-out clips lasts {between_s[0]:g} to {between_s[1]:g} s: "
            "give other --shortest-s and --longest-s"
        )
    start = -(-round(EDGE_S * sample_rate) // period) * period
    for kind in (kind for kind in inputs if kind != SPEECH):
        samples = min(round(other_s * sample_rate), len(inputs[kind][0][1]) - start) // period * period
        if samples < 1:
            raise ValueError(f"{kind} holds no whole period of {period} samples after the first {EDGE_S:g} s")
        chosen.append(Excerpt(kind, 0, kind, start, start + samples))
    return chosen


def cut(of: Sounds, excerpts: Sequence[Excerpt]) -> Iterator[NDArray[Any]]:
    """Return the excerpts of sounds, float64."""
    for excerpt in excerpts:
        yield of[excerpt.kind][excerpt.number][1][excerpt.start : excerpt.stop].astype("float64")
