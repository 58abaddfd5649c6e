"""What upsamples in a model and what its weights tell: kernel, overlap, tone, images, the lines to expect.

A state dict, a file or a module will do; nothing is run.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

from torch import nn

from audioup.checks import check_positive
from audioup.conversion import LEAST_DB, Skipped
from audioup.regularity import regularity_order
from audioup.response import FilterResponse, filter_response
from audioup.table import plain, table
from audioup.tones import tonal_fraction
from audioup.upsampler import Upsampler, of_model

SHOWN_LINES = 4  # in the table


@dataclass(frozen=True)
class InspectedLayer:
    """An upsampling layer and what its weights tell.

    Attributes:
        name: Where it stands in the model.
        kind: What it is made of, such as ``"ConvTranspose1d"`` or ``"Resize + Conv"``.
        stride: Output samples per input sample; a pair for images.
        kernel_size: Taps of its weight, as the layer counts them: at the output rate, or at the input rate for
            sub-pixel.
        in_channels: Of the input.
        out_channels: Of the output.
        overlap: ``"even"``; ``"uneven"`` where the stride does not divide the kernel of a transposed convolution, so
            that some outputs see more taps than others; ``"gaps"`` where it is shorter than the stride.
        tonal_fraction_db: Share of its response to a constant that is tone, `audioup.tonal_fraction`; -300 for none.
        regularity_order: `audioup.regularity_order`; 1 or more has no line on a constant.
        lines_hz: Frequencies of the lines it writes at its own output rate, ``k * rate / stride``; later stages copy
            them to all multiples of the first. Empty for images and without a sample rate.
        kernel_length: Taps of the whole kernel at the output rate; a pair for images.
        response: Images and droop, `audioup.filter_response`; None for images, and for a kernel of zeros.
        undone: Whether the rate falls again behind it, as in an oversampled activation: no stage of the schedule.
        assumed: Whether the stride is a guess: half the kernel.
        note: What else there is to say.
    """

    name: str
    kind: str
    stride: int | tuple[int, ...]
    kernel_size: int | tuple[int, ...]
    in_channels: int
    out_channels: int
    overlap: str
    tonal_fraction_db: float
    regularity_order: int
    lines_hz: tuple[float, ...]
    kernel_length: int | tuple[int, ...]
    response: FilterResponse | None
    undone: bool
    assumed: bool
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json`` can write."""
        return {**asdict(self), "response": None if self.response is None else self.response.to_dict()}


@dataclass(frozen=True)
class Inspection:
    """What upsamples in a model.

    Attributes:
        name: Of the file, or the class of the model.
        sample_rate: Of the sound, in Hz; None where it is not known, or the model makes images.
        layers: From input to output, as far as the order is known.
        skipped: What upsamples too, but its kernel could not be read.
        notes: What a reader should know besides.
    """

    name: str
    sample_rate: int | None
    layers: tuple[InspectedLayer, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the stages for sound."""
        return tuple(layer.stride for layer in self.layers if isinstance(layer.stride, int) and not layer.undone)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json`` can write."""
        return {**asdict(self), "layers": [layer.to_dict() for layer in self.layers]}

    def __str__(self) -> str:
        head = ("layer", "kind", "stride", "kernel", "channels", "overlap", "tone", "order", "image", "lines, Hz")
        rows = [head]
        for layer in self.layers:
            lines = [f"{hz:g}" for hz in layer.lines_hz[:SHOWN_LINES]]
            more = ", ..." if len(layer.lines_hz) > SHOWN_LINES else ""
            image_db = math.nan if layer.response is None else layer.response.image_db
            tone_db = layer.tonal_fraction_db
            rows.append(
                (
                    plain(layer.name) or "(model)",
                    layer.kind,
                    _sizes(layer.stride) + "?" * layer.assumed,
                    _sizes(layer.kernel_size),
                    f"{layer.in_channels} -> {layer.out_channels}",
                    layer.overlap,
                    "none" if tone_db <= LEAST_DB else _in_db(tone_db),
                    str(layer.regularity_order),
                    _in_db(image_db) if math.isfinite(image_db) else "",
                    ", ".join(lines) + more,
                )
            )
        notes = [f"{plain(layer.name)}: {layer.note}" for layer in self.layers if layer.note]
        if undone := [plain(layer.name) for layer in self.layers if layer.undone]:
            notes.append(f"undone behind them, as in oversampled activations: {', '.join(undone)}")
        skipped = [f"skipped {plain(one.name) or '(model)'} ({one.kind}): {plain(one.reason)}" for one in self.skipped]
        return "\n".join([table(rows) if self.layers else "nothing that upsamples", *notes, *skipped, *self.notes])


def inspect_model(
    model: nn.Module | Path | str, sample_rate: int | None = None, strides: Sequence[int] | None = None
) -> Inspection:
    """List every upsampling layer of a model, with what its weights tell.

    Args:
        model: A module, or a file: ``.onnx``; ``.safetensors``; ``.pt``, ``.pth`` and others that ``torch.save`` made,
            of which only weights are read. A module's layers are found as `audioup.convert` finds them.
        sample_rate: Of the sound, in Hz; by default what the file, or the ``config.json`` beside it, says.
        strides: Of the transposed convolutions in a state dict, which does not hold them. By default those that the
            file's metadata or the ``config.json`` beside it say; else half the kernel is taken, and said to be a guess.

    Returns:
        An `Inspection`.

    Raises:
        ValueError: If the file is damaged, holds code or is no model, if there is nothing that upsamples in it, or the
            strides do not fit what is there.
        OSError: If the file cannot be opened.
        ImportError: If reading it takes a package that is not installed.
        TypeError: If the model is neither a module nor a path.

    Example:
        >>> model = nn.Sequential(nn.ConvTranspose1d(80, 8, 16, 8, 4), nn.LeakyReLU(), nn.ConvTranspose1d(8, 1, 3, 2))
        >>> [(layer.name, layer.overlap, layer.lines_hz) for layer in inspect_model(model, 16000).layers]
        [('0', 'even', (1000.0, 2000.0, 3000.0, 4000.0)), ('2', 'uneven', (8000.0,))]
    """
    if sample_rate is not None:
        check_positive("sample_rate", sample_rate)
    if isinstance(model, nn.Module):
        if strides is not None:
            raise ValueError("a module knows its strides: give none")
        layers, skipped = of_model(model)
        if not layers and not skipped:
            raise ValueError(f"nothing in {type(model).__name__} upsamples")
        return inspected(type(model).__name__, layers, skipped, sample_rate)
    if not isinstance(model, (str, Path)):
        raise TypeError(f"model must be a torch.nn.Module or a path, got {type(model).__name__}")
    from audioup.model_file import read_model

    found = read_model(Path(model), strides)
    rate = found.sample_rate if sample_rate is None else sample_rate
    return inspected(Path(model).name, found.layers, found.skipped, rate, found.notes)


def inspected(
    name: str,
    layers: Sequence[Upsampler],
    skipped: Sequence[Skipped] = (),
    sample_rate: int | None = None,
    notes: Sequence[str] = (),
) -> Inspection:
    """Describe layers that were found."""
    # Where rates are not known, one layer follows the other and the last one makes the sound.
    sound = [layer for layer in layers if len(layer.strides) == 1]
    whole = math.prod(layer.strides[0] for layer in sound)
    passed = accumulate((layer.strides[0] for layer in sound), mul)
    rates = {id(layer): layer.rate or Fraction(so_far, whole) for layer, so_far in zip(sound, passed, strict=True)}
    rows = []
    for layer in layers:
        lines: tuple[float, ...] = ()
        if sample_rate is not None and id(layer) in rates:
            (stride,), rate_hz = layer.strides, sample_rate * rates[id(layer)]
            lines = tuple(float(k * rate_hz / stride) for k in range(1, stride // 2 + 1))
        rows.append(_row(layer, lines))
    more = ["? a state dict has no strides: half the kernel was assumed"] if any(one.assumed for one in layers) else []
    return Inspection(name, sample_rate, tuple(rows), tuple(skipped), (*notes, *more))


def _row(layer: Upsampler, lines_hz: tuple[float, ...]) -> InspectedLayer:
    kernel, sound = layer.kernel, len(layer.strides) == 1
    fraction = float(tonal_fraction(kernel, layer.strides))
    return InspectedLayer(
        name=layer.name,
        kind=layer.kind,
        stride=_one(layer.strides),
        kernel_size=_one(layer.kernel_sizes),
        in_channels=kernel.shape[0],
        out_channels=kernel.shape[1] * layer.groups,
        overlap=layer.overlap,
        tonal_fraction_db=max(LEAST_DB, fraction),
        regularity_order=regularity_order(kernel, layer.strides),
        lines_hz=lines_hz,
        kernel_length=_one(tuple(kernel.shape[2:])),
        response=filter_response(kernel, layer.strides[0]) if sound and kernel.any() else None,
        undone=layer.undone,
        assumed=layer.assumed,
        note=layer.note,
    )


def _in_db(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f} dB"  # without -0.0


def _one(values: tuple[int, ...]) -> int | tuple[int, ...]:
    return values[0] if len(values) == 1 else values


def _sizes(value: int | tuple[int, ...]) -> str:
    return str(value) if isinstance(value, int) else "x".join(map(str, value))
