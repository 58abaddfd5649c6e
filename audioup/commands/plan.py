"""``audioup plan``: strides for a hop length, before anything is trained."""

import json
from dataclasses import dataclass
from typing import Annotated

import tyro

from audioup.commands.errors import InputError
from audioup.plan import plan

# Words, so that one that is no integer is answered by one line.
Integer = Annotated[str, tyro.conf.arg(metavar="INT")]
INTEGERS = tyro.conf.arg(metavar="INT,INT,...")
Integers = Annotated[str, INTEGERS]


@dataclass
class Plan:
    """Plan how a generator upsamples: where tones may fall, what it costs, how far it looks.

    Lists the strides that multiply to the hop length, or looks closely at --strides. The generator is HiFi-GAN's; only
    places of lines are predicted, not their levels.
    """

    sample_rate: Integer
    """In Hz."""
    hop_length: Integer
    """Samples a frame."""
    strides: Annotated[str | None, INTEGERS] = None
    """Upsampling factors from input to output, to look at these only."""
    kernels: Annotated[str | None, INTEGERS] = None
    """Kernel sizes of their transposed convolutions; twice the stride if not given."""
    channels: Integer = "512"
    """Before the first stage; every stage halves them."""
    n_mels: Integer = "80"
    """Channels of the input."""
    resblock_kernels: Integers = "3,7,11"
    """Of the residual blocks of every stage, side by side; '' for none."""
    dilations: Integers = "1,3,5"
    """Of every residual block; '' for none."""
    largest_stride: Integer = "8"
    """Of listed schedules."""
    most_stages: Integer = "6"
    """Of listed schedules."""
    any_order: bool = False
    """List schedules whose strides rise, too."""
    causal: bool = False
    """Let no layer look ahead."""
    most: Integer = "10"
    """Schedules to list."""
    json: bool = False
    """Print JSON instead of tables."""

    def run(self) -> int:
        """Print the plan; return the exit status."""
        try:
            report = plan(
                _integer("--sample-rate", self.sample_rate),
                _integer("--hop-length", self.hop_length),
                None if self.strides is None else _integers("--strides", self.strides),
                None if self.kernels is None else _integers("--kernels", self.kernels),
                channels=_integer("--channels", self.channels),
                n_mels=_integer("--n-mels", self.n_mels),
                block_kernels=_integers("--resblock-kernels", self.resblock_kernels),
                dilations=_integers("--dilations", self.dilations),
                causal=self.causal,
                largest_stride=_integer("--largest-stride", self.largest_stride),
                most_stages=_integer("--most-stages", self.most_stages),
                any_order=self.any_order,
                most=_integer("--most", self.most),
            )
        except ValueError as error:
            raise InputError(f"audioup: {error}") from None
        print(json.dumps(report.to_dict(), indent=1, allow_nan=False) if self.json else report)
        return 0


def _integer(name: str, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise InputError(f"audioup: {name} must be an integer, got {word[:40]!r}") from None


def _integers(name: str, words: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in words.split(",")) if words else ()
    except ValueError:
        raise InputError(f"audioup: {name} must be integers separated by commas, got {words[:40]!r}") from None
