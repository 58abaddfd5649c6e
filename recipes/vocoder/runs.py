"""Open what `train_vocoder.py` left in a run's folder: the trained generator and the mel it takes."""

import json
from dataclasses import dataclass
from pathlib import Path

from vocoder.checkpoint import checkpoints, load_checkpoint, steps_done
from vocoder.mel import LogMel, input_mel
from vocoder.model import Generator
from vocoder.options import Settings
from vocoder.presets import PRESETS


@dataclass(frozen=True)
class Run:
    """A training run, as its newest checkpoint has it.

    Attributes:
        options: What it was trained with.
        sample_rate: In Hz.
        steps: Generator steps done.
        generator: On the CPU, in ``eval()``.
        mel: Turns sound into the generator's input.
        checkpoint: Folder that the weights came from.
    """

    options: Settings
    sample_rate: int
    steps: int
    generator: Generator
    mel: LogMel
    checkpoint: Path


def open_run(folder: Path) -> Run:
    """Load the newest checkpoint of a run.

    Args:
        folder: Its folder, such as ``runs/vocoder``.

    Raises:
        ValueError: If the folder holds no run, no checkpoint yet, or one that cannot be read.
    """
    config = folder / "config.json"
    if not config.exists():
        raise ValueError(f"{folder} holds no run of train_vocoder.py")
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        fields = {key: value for key, value in content["options"].items() if key in Settings.__dataclass_fields__}
        options = Settings(**fields)
        sample_rate = int(content["sample_rate"])
        preset = PRESETS[options.preset]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{config} cannot be read: {error!r}") from error
    saved = checkpoints(folder / "checkpoints")
    if not saved:
        raise ValueError(f"{folder} has no checkpoint yet")
    weights, _ = load_checkpoint(saved[-1], ("generator",))
    mel = input_mel(sample_rate, preset.generator.hop_length)
    generator = Generator(mel.mel.n_mels, preset.generator, options.upsampler, options.noise)
    try:
        generator.load_state_dict(weights["generator"])
    except RuntimeError as error:
        raise ValueError(f"{saved[-1]} does not fit {config}: {error}") from error
    return Run(options, sample_rate, steps_done(saved[-1]), generator.eval(), mel, saved[-1])
