"""Options of the training program."""

import dataclasses
import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from training import machine
from training.machine import Machine, check_shares

from vocoder.model import GeneratorShape
from vocoder.presets import PRESETS

SMOOTH = ("resize-linear", "resize-cubic", "resize-sinc")
LEAST_SEGMENT = 2048  # samples: the longest Fourier transform of the losses reflects 1024 at either end

# What may differ between the parts of one run; everything else decides the weights.
FREE_TO_CHANGE = {
    "resume",
    "resume_from",
    "steps",
    "save_every",
    "validate_every",
    "test_clips",
    "workers",
    "out",
    "cache",
}
FREE_TO_CHANGE |= machine.FREE_TO_CHANGE
# Options that earlier runs did not have.
LATEST = {
    "tone_loss": 0.0,
    "activation": "leaky_relu",
    "nodes": 1,
    "accumulate": 1,
    "on_nan": "stop",
    "resume_from": None,
}


@dataclasses.dataclass(frozen=True)
class Options(Machine):
    """Train a small HiFi-GAN vocoder, then listen to it and measure its stride tones."""

    name: str = "vocoder"
    """The run's results go to OUT/NAME."""
    data: str = "espeak"
    """espeak (synthesised on the spot), ljspeech, vctk, libritts (downloaded), or a folder of recordings."""
    upsampler: Literal[
        "transposed",
        "transposed-partial",
        "subpixel",
        "subpixel-default",
        "resize-nearest",
        "resize-linear",
        "resize-cubic",
        "resize-sinc",
        "regular-1-short",
        "regular-2-short",
        "regular-1",
        "regular-1-projected",
        "regular-2",
    ] = "transposed"
    """The layer of every upsampling stage."""
    preset: Literal["auto", "tiny", "v3", "v2", "v1"] = "auto"
    """Sizes: tiny trains in minutes on a CPU; v1, v2, v3 are HiFi-GAN's. auto is tiny on a CPU, v3 on a GPU."""
    steps: int | None = None
    """Generator steps in all; by default the preset's."""
    warmup_steps: int | None = None
    """Steps without discriminators at the start; by default the preset's. As many as steps: no adversarial part."""
    batch_size: int | None = None
    """Segments a step, over all processes; by default the preset's."""
    segment_size: int = 8192
    """Samples a segment."""
    learning_rate: float | None = None
    """AdamW's, at the start; by default the preset's."""
    activation: Literal["leaky_relu", "snake", "snakebeta"] = "leaky_relu"
    """leaky_relu is HiFi-GAN's; snake and snakebeta are BigVGAN's, at twice the sample rate against aliasing."""
    noise: float | None = None
    """Standard deviation, at the start, of the noise that excites every stage; 0 is HiFi-GAN as published. By default
    0.1 for resize-linear, -cubic and -sinc, which leave later stages no highs to shape, and 0 for the others."""
    tone_loss: float = 0.0
    """Weight of the loss on what generated segments have in common at the stride harmonics; 0 leaves it out. Try 300
    with regular-1; free kernels lose their sound with it."""
    seed: int = 1234
    """Decides weights, data order and noise."""
    sample_rate: int | None = None
    """In Hz; by default the commonest among the recordings. Others are resampled."""
    save_every: int = 250
    """Steps between checkpoints."""
    validate_every: int = 250
    """Steps between validations: sound, mel L1 and tone levels to TensorBoard."""
    test_clips: int = 16
    """Held-out clips to generate and to measure at the end."""
    resume: bool = False
    """Continue OUT/NAME from its newest checkpoint; options that are not given are those it was begun with."""
    resume_from: int | None = None
    """The same from the checkpoint of this step; later ones are renamed, and no longer count."""
    out: Path = Path("runs")
    """Folder of all runs."""
    cache: Path = Path("~/.cache/audioup")
    """Folder of synthesised and downloaded speech."""
    workers: int = 0
    """Processes that read ahead; worthwhile when recordings do not fit into memory."""


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """Options with nothing left to the preset."""

    steps: int = 0
    warmup_steps: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    noise: float = 0.0


def begun_with(options: Options, said: Collection[str] | None = None) -> Options:
    """Fill in what was not said from the run to be continued.

    Args:
        options: As given.
        said: Names of those that were; by default those that are not at their defaults.

    Raises:
        ValueError: If there is no such run, its configuration is damaged, or an option that decides weights differs.
    """
    config = options.out / options.name / "config.json"
    if not config.exists():
        raise ValueError(f"--resume: {config.parent} holds no run")
    given, defaults = plain(options), plain(Options())
    try:
        then = json.loads(config.read_text(encoding="utf-8"))["options"]
        saved = {**LATEST, **plain(settings_of({**LATEST, **then}))}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"--resume: {config} cannot be read: {error!r}") from error
    if "nodes" not in then:  # when every process had a batch of its own
        saved["batch_size"] *= saved["devices"]
    differing = [key for key in given if (given[key] != defaults[key] if said is None else key in said)]
    refused = [
        f"{key}: {saved[key]!r} then, {given[key]!r} now"
        for key in differing
        if key not in {"name", *FREE_TO_CHANGE} and given[key] != saved[key]
    ]
    if refused:
        raise ValueError(f"--resume: {config.parent} was begun with other options ({'; '.join(refused)})")
    own = {"name", "out", "cache", "resume", "resume_from", *differing}
    return dataclasses.replace(options, **{key: saved[key] for key in given if key not in own})


def resolve(options: Options, device: torch.device) -> Settings:
    """Fill in what is left to the preset and the device, and check the numbers."""
    name = options.preset if options.preset != "auto" else ("v3" if device.type == "cuda" else "tiny")
    preset = PRESETS[name]
    defaults = {
        "steps": preset.steps,
        "warmup_steps": preset.warmup_steps,
        "batch_size": preset.batch_size,
        "learning_rate": preset.learning_rate,
        "noise": 0.1 if options.upsampler in SMOOTH else 0.0,
    }
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    unset = {key: value for key, value in defaults.items() if given[key] is None}
    settings = Settings(**{**given, **unset, "preset": name})
    for key in ("steps", "batch_size", "segment_size", "save_every", "validate_every", "test_clips"):
        if getattr(settings, key) < 1:
            raise ValueError(f"--{key.replace('_', '-')} must be at least 1, got {getattr(settings, key)}")
    for key in ("warmup_steps", "learning_rate", "noise", "tone_loss", "seed", "workers"):
        if not 0 <= getattr(settings, key) < math.inf:
            raise ValueError(
                f"--{key.replace('_', '-')} must not be negative, and finite, got {getattr(settings, key)}"
            )
    check_shares(settings, settings.batch_size)
    if settings.seed >= 2**32:
        raise ValueError(f"--seed must be below 2**32, got {settings.seed}")
    if settings.segment_size % preset.generator.hop_length:
        raise ValueError(
            f"--segment-size must be a multiple of the hop length, {preset.generator.hop_length}, "
            f"got {settings.segment_size}"
        )
    if settings.segment_size < LEAST_SEGMENT:
        raise ValueError(f"--segment-size must be at least {LEAST_SEGMENT}, got {settings.segment_size}")
    if settings.name in ("", ".", "..") or Path(settings.name).name != settings.name:
        raise ValueError(f"--name must be a plain folder name, got {settings.name!r}")
    return settings


def generator_shape(options: Settings) -> GeneratorShape:
    """Return the sizes of the generator that is trained."""
    return dataclasses.replace(PRESETS[options.preset].generator, activation=options.activation)


def plain(options: Options) -> dict[str, Any]:
    """Return the options as values that JSON can hold."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(options).items()}


def settings_of(entries: Any) -> Settings:
    """Read options out of a run's configuration; `TypeError` if they are none, or of other types than declared."""
    if not isinstance(entries, dict):
        raise TypeError(f"options must be an object, got {type(entries).__name__}")
    types = get_type_hints(Settings)
    known: dict[str, Any] = {key: value for key, value in entries.items() if key in types}
    for key, value in known.items():
        if not _fits(value, types[key]):
            kind = types[key].__name__ if isinstance(types[key], type) else types[key]
            raise TypeError(f"{key} must be {kind}, got {value!r}")
        if types[key] in (Path, float):
            known[key] = types[key](value)
    return Settings(**known)


def _fits(value: Any, annotation: Any) -> bool:
    """Say whether a value of JSON is of the type that an option is declared with."""
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if get_args(annotation):  # a union
        return any(_fits(value, one) for one in get_args(annotation))
    if annotation is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is (str if annotation is Path else annotation)
