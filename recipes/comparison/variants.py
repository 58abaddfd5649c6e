"""What is compared: one vocoder, trained alike, with another upsampler or one ingredient more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BASELINE, OURS = "transposed", "ours"
NOISE, TONE_LOSS = 0.001, 300.0


@dataclass(frozen=True)
class Variant:
    """One vocoder of the comparison.

    Attributes:
        name: Short, unique; names files.
        what: The same for people.
        options: Those of `train_vocoder.py` that make it; all others are equal.
        adversarial: Whether it is trained on with discriminators, and with every seed.
    """

    name: str
    what: str
    options: Mapping[str, Any] = field(default_factory=dict)
    adversarial: bool = False


def _variant(name: str, what: str, upsampler: str = "", adversarial: bool = False, **options: Any) -> Variant:
    return Variant(name, what, {"upsampler": upsampler or name, **options}, adversarial)


# Smooth filters leave later stages no highs, and learn nothing without the noise that is their default.
VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        _variant(BASELINE, "transposed convolution, L = 2s", adversarial=True),
        _variant("transposed-partial", "transposed, uneven overlap, L = 3s/2"),
        _variant("subpixel", "sub-pixel, L = 3s, begun by ICNR"),
        _variant("subpixel-default", "sub-pixel, L = 3s, torch's start"),
        _variant("resize-nearest", "nearest-resize + conv, L = 2s", adversarial=True),
        _variant("resize-linear", "linear-resize + conv, noise 0.1", noise=0.1),
        _variant("resize-sinc", "sinc-resize + conv, noise 0.1", noise=0.1),
        _variant("regular-1-short", "order 1, L = 2s"),
        _variant("regular-2-short", "order 2, L = 3s"),
        _variant("regular-1-projected", "order 1, L = 3s, projected start", adversarial=True),
        _variant(
            OURS,
            "order 1, L = 3s, noise 0.001, tone loss",
            "regular-1-projected",
            adversarial=True,
            noise=NOISE,
            tone_loss=TONE_LOSS,
        ),
        _variant("transposed-noise", "transposed, noise 0.001", BASELINE, noise=NOISE),
        _variant("transposed-tone-loss", "transposed, tone loss", BASELINE, tone_loss=TONE_LOSS),
    )
}
