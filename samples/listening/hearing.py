"""What is heard of a comparison: every track's excerpts and tones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from comparison.phases import Phase
from numpy.typing import NDArray
from tqdm import tqdm
from vocoder.data import open_corpus

from listening.options import Options
from listening.tones import Tones, measure
from listening.vocoders import SPEECH, Excerpt, Sounds, choose_excerpts, cut, sounds

REFERENCE = "recording"


@dataclass
class Heard:
    """What is heard of each track, reference first: its excerpts, and its tones by kind of input."""

    excerpts: list[Excerpt]
    tracks: list[dict[str, Any]]
    cuts: list[list[NDArray[np.float64]]]
    tones: list[dict[str, Tones]]
    strides: tuple[int, ...]
    sample_rate: int
    held_out: int
    parameters: list[int]

    @property
    def period(self) -> int:
        """In samples: the product of strides."""
        return math.prod(self.strides)


def listen(options: Options, results: Mapping[str, Any], phases: Sequence[Phase]) -> Heard:
    """Run all vocoders and measure their tones."""
    made_with = results["options"]
    corpus = open_corpus(options.data or made_with["data"], None, options.cache)
    rate, heard = corpus.sample_rate, None
    for phase in tqdm(phases, "vocoders", unit="vocoder"):
        opened = phase.open(options.run)
        strides = opened.generator.shape.strides
        if opened.sample_rate != rate:
            raise ValueError(f"{phase.key} was trained at {opened.sample_rate} Hz, but --data has {rate} Hz")
        inputs, made = sounds(opened, phase.seed, corpus, made_with["test_clips"])
        if heard is None:
            between = (options.shortest_s, options.longest_s)
            excerpts = choose_excerpts(inputs, rate, math.prod(strides), options.clips, between, options.excerpt_s)
            first = {"name": REFERENCE, "what": "what the mel was taken from", "trained": ""}
            heard = Heard(excerpts, [], [], [], strides, rate, len(inputs[SPEECH]), [])
            _add(heard, first, inputs)
        if strides != heard.strides:
            raise ValueError(f"{phase.key} has strides {strides}, others {heard.strides}: they cannot share a page")
        heard.parameters.append(sum(p.numel() for p in opened.generator.parameters()))
        trained = {"phase": phase.name, "steps": phase.steps, "seed": phase.seed, "digest": phase.digest(options.run)}
        name, what = phase.variant.name, phase.variant.what
        _add(heard, {"name": name, "what": what, "trained": f"{phase.name}, {phase.steps} steps", **trained}, made)
    if heard is None:
        raise ValueError("no vocoder to hear")
    return heard


def _add(heard: Heard, track: dict[str, Any], made: Sounds) -> None:
    heard.tracks.append(track)
    heard.cuts.append(list(cut(made, heard.excerpts)))
    heard.tones.append(
        {kind: measure([sound for _, sound in clips], heard.sample_rate, heard.strides) for kind, clips in made.items()}
    )
