"""Sizes and schedules: HiFi-GAN's three, and one that trains in minutes on a CPU."""

from dataclasses import dataclass

from vocoder.discriminators import DiscriminatorShape
from vocoder.model import GeneratorShape


@dataclass(frozen=True)
class Preset:
    """A model's sizes and how it is trained.

    Attributes:
        generator: Sizes of the generator.
        discriminators: Sizes of the discriminators.
        batch_size: Segments a step.
        steps: Generator steps.
        warmup_steps: Steps before the adversarial part.
        learning_rate: AdamW's, at the start.
        halving_steps: Steps in which the learning rate falls to half.
        clip_norm: Largest norm of a gradient.
    """

    generator: GeneratorShape
    discriminators: DiscriminatorShape
    batch_size: int
    steps: int
    warmup_steps: int
    learning_rate: float
    halving_steps: float
    clip_norm: float


_UNIVNET_RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
_PUBLISHED_DISCRIMINATORS = DiscriminatorShape((2, 3, 5, 7, 11), (32, 128, 512, 1024, 1024), _UNIVNET_RESOLUTIONS, 32)
_THREE_DILATIONS = ((1, 3, 5),) * 3


def _published(generator: GeneratorShape) -> Preset:
    # Published: times 0.999 an epoch, which is 809 steps on LJSpeech.
    return Preset(generator, _PUBLISHED_DISCRIMINATORS, 16, 500_000, 5_000, 2e-4, 560_000, 1000.0)


PRESETS = {
    "v1": _published(GeneratorShape((8, 8, 2, 2), 512, (3, 7, 11), _THREE_DILATIONS, 2)),
    "v2": _published(GeneratorShape((8, 8, 2, 2), 128, (3, 7, 11), _THREE_DILATIONS, 2)),
    "v3": _published(GeneratorShape((8, 8, 4), 256, (3, 5, 7), ((1, 2), (2, 6), (3, 12)), 1)),
    "tiny": Preset(
        GeneratorShape((8, 8, 4), 128, (3, 7), ((1, 3), (1, 3)), 1),
        DiscriminatorShape((2, 3, 5), (16, 32, 64, 128), ((1024, 256, 1024), (512, 128, 512)), 8),
        batch_size=8,
        steps=2000,
        warmup_steps=1850,
        learning_rate=1e-3,
        halving_steps=1000,
        clip_norm=1000.0,
    ),
}
