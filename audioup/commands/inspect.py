"""``audioup inspect``: what upsamples in a model file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from audioup.commands.errors import InputError, parse_strides, printable


@dataclass
class Inspect:
    """List what upsamples in a model file, and what its weights tell: overlap, tone, images, the lines to expect.

    Nothing in the file is run. Tone is the share of a layer's response to a constant that is tone, and order the
    regularity order: 1 or more has no line on a constant. Image is the strongest image over the sine that it copies.
    """

    model: tyro.conf.Positional[Path]
    """An .onnx graph; a .safetensors file; or a state dict that torch.save wrote (.pt, .pth), of which only weights are
    read."""
    sample_rate: int | None = None
    """Of the sound, in Hz: where the lines are. By default what the file, or the config.json beside it, says."""
    strides: Annotated[str | None, tyro.conf.arg(metavar="INT,INT,...")] = None
    """Of the transposed convolutions of a state dict, which does not hold them. By default those of the file's metadata
    or of the config.json beside it (HiFi-GAN, BigVGAN, DAC, EnCodec); else half the kernel, marked by a ?."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        """Read the file and print what is in it; return the exit status."""
        from audioup.inspect import inspect_model

        strides = None if self.strides is None else parse_strides(self.strides)
        try:
            found = inspect_model(self.model, self.sample_rate, strides)
        except (OSError, ValueError, ImportError) as error:
            raise InputError(f"audioup: {printable(self.model)}: {error}") from None
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False) if self.json else found)
        return 0
