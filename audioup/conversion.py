"""What a conversion did to a model, layer by layer: a table for people, values for machines."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from audioup.table import table

LEAST_DB = -300.0  # stands for none at all


@dataclass(frozen=True)
class Skipped:
    """A layer that upsamples and was left as it is.

    Attributes:
        name: Dotted path in the model; empty for the model itself.
        kind: Its class.
        reason: Why.
    """

    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Converted:
    """A layer that was put in the place of another.

    Attributes:
        name: Dotted path in the model; empty for the model itself.
        source: What was there, such as ``"ConvTranspose1d"`` or ``"Upsample + Conv2d"``.
        layer: What is there now, as its constructor call.
        stride: Output samples per input sample, for each axis.
        kernel_length: Taps at the output rate, for each axis.
        kernel_length_before: Those of what was there.
        residual_db: Distance of the two kernels over the norm of the old one; -300 where there is none.
        tonal_fraction_db: Of the new kernel; see `audioup.tonal_fraction`. None for images.
        tonal_fraction_before_db: Of the old kernel.
        bias_residual_db: Where the old bias had a value for every phase: what is lost of it, over the whole.
        note: What else there is to know.
    """

    name: str
    source: str
    layer: str
    stride: tuple[int, ...]
    kernel_length: tuple[int, ...]
    kernel_length_before: tuple[int, ...]
    residual_db: float
    tonal_fraction_db: float | None
    tonal_fraction_before_db: float | None
    bias_residual_db: float | None
    note: str


@dataclass(frozen=True)
class Conversion:
    """What `audioup.convert` did.

    Attributes:
        model: The model; another object than was given only where that was itself an upsampling layer.
        layers: What was converted, in the model's order.
        skipped: What upsamples and was not, with reasons.
    """

    model: nn.Module
    layers: tuple[Converted, ...]
    skipped: tuple[Skipped, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all but the model as values that JSON can hold."""
        return {"layers": [asdict(row) for row in self.layers], "skipped": [asdict(row) for row in self.skipped]}

    def __str__(self) -> str:
        rows = [("layer", "was", "is", "taps", "residual", "tone")]
        for row in self.layers:
            before, after = ("x".join(map(str, n)) for n in (row.kernel_length_before, row.kernel_length))
            exact = "exact inside" if row.note.startswith("equal away") else "exact"
            residual = exact if row.residual_db <= -120 else f"{row.residual_db:.1f} dB"
            tones = [row.tonal_fraction_before_db, row.tonal_fraction_db]
            tone = "" if None in tones else " -> ".join(f"{value:.0f}" for value in tones) + " dB"
            name = row.name or "(model)"
            rows.append((name, row.source, row.layer.split("(")[0], f"{before} -> {after}", residual, tone))
        lines = [table(rows)]
        for row in self.layers:
            if row.bias_residual_db is not None and row.bias_residual_db > LEAST_DB:
                lines.append(
                    f"{row.name}: one bias for all phases; what is lost is {row.bias_residual_db:.1f} dB of the old"
                )
            if row.note:
                lines.append(f"{row.name}: {row.note}")
        if not self.layers:
            lines = ["nothing was converted"]
        lines += [f"skipped {row.name or '(model)'} ({row.kind}): {row.reason}" for row in self.skipped]
        return "\n".join(lines)
