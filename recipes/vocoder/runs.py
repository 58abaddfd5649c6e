"""Open what `train_vocoder.py` left in a run's folder: the trained generator and the mel it takes."""

import json
from dataclasses import dataclass
from pathlib import Path

from vocoder.checkpoint import checkpoints, in_one_line, load_checkpoint, misfit, steps_done
from vocoder.mel import LogMel, input_mel
from vocoder.model import Generator
from vocoder.options import Settings, generator_shape, settings_of

HIGHEST_RATE = 1_000_000  # Hz; the mel of more would fill the memory


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
        ValueError: If the folder holds no run, no checkpoint yet, or one that cannot be read. The file is named.
        OSError: If a file cannot be opened.
    """
    config = folder / "config.json"
    if not config.exists():
        raise ValueError(f"{folder} holds no run of train_vocoder.py")
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        options, sample_rate = settings_of(content["options"]), content["sample_rate"]
        if type(sample_rate) is not int or not 0 < sample_rate <= HIGHEST_RATE:
            raise ValueError(f"sample_rate must be an integer from 1 to {HIGHEST_RATE}, got {sample_rate!r}")
        shape = generator_shape(options)
        mel = input_mel(sample_rate, shape.hop_length)
        generator = Generator(mel.mel.n_mels, shape, options.upsampler, options.noise)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:  # RecursionError is of the last
        raise ValueError(f"{config} cannot be read: {type(error).__name__}: {in_one_line(error)}") from error
    saved = checkpoints(folder / "checkpoints")
    if not saved:
        raise ValueError(f"{folder} has no checkpoint yet")
    weights, _ = load_checkpoint(saved[-1], ("generator",))
    if faults := misfit(weights["generator"], generator):
        raise ValueError(f"{saved[-1]} does not fit {config}: {faults}")
    generator.load_state_dict(weights["generator"])
    return Run(options, sample_rate, steps_done(saved[-1]), generator.eval(), mel, saved[-1])
