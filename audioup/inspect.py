"""What upsamples in a model and what its weights tell: kernel, overlap, tone, images, the lines to expect.

A state dict, a file or a module will do; nothing is run.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audioup.checks import check_positive
from audioup.conversion import LEAST_DB, Skipped
from audioup.effort import EACH, Effort, of_projections, of_response
from audioup.regularity import regularity_order
from audioup.response import GRID, FilterResponse, filter_response
from audioup.table import plain, readable, table
from audioup.tones import tonal_fraction
from audioup.upsampler import Upsampler, of_model

SHOWN_LINES = 4  # in the table
LARGEST_RESPONSE = 2**15  # taps times stride; those of vocoders have up to 2**12
ORDERS = 8  # that are tried at most, as a rule


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
            that some outputs see more taps than others; ``"gap"`` where it is shorter than the stride;
            ``"unknown"`` where the stride is a guess.
        tonal_fraction_db: Share of its response to a constant that is tone, `audioup.tonal_fraction`; -300 for none.
        regularity_order: `audioup.regularity_order`; 1 or more has no line on a constant. Of kernels so long, or of so
            many layers, that it would take minutes, 1 stands for any order above 0.
        lines_hz: Frequencies of the lines it writes at its own output rate, ``k * rate / stride``; later stages copy
            them to all multiples of the first. Empty for images and without a sample rate.
        kernel_length: Taps of the whole kernel at the output rate; a pair for images.
        response: Images and droop, `audioup.filter_response`; None for images, for a kernel of zeros, and for one as
            long as those that undo a Fourier transform, or of so many layers that it would take minutes.
        rate: Of its output, over that of the sound; None where it is not known, or for images.
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
    rate: Fraction | None
    undone: bool
    assumed: bool
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json`` can write."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "response": None if self.response is None else self.response.to_dict(),
            "rate": None if self.rate is None else float(self.rate),
        }


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
        """Of the stages for sound, from input to output; empty where they do not follow one upon the other."""
        stages: set[tuple[Fraction, int]] = set()  # branches side by side count once
        for one in self.layers:
            if isinstance(one.stride, int) and not one.undone:
                if one.rate is None or one.assumed:
                    return ()
                stages.add((one.rate, one.stride))
        strides = tuple(stride for _, stride in sorted(stages))
        reached = [Fraction(math.prod(strides[: n + 1]), math.prod(strides)) for n in range(len(strides))]
        return strides if reached == [rate for rate, _ in sorted(stages)] else ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json`` can write."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "layers": [layer.to_dict() for layer in self.layers],
            "skipped": [asdict(one) for one in self.skipped],
        }

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
        skipped = [
            f"skipped {plain(one.name) or '(model)'} ({plain(one.kind)}): {plain(one.reason)}" for one in self.skipped
        ]
        notes += [plain(note) for note in self.notes]
        return "\n".join([table(rows) if self.layers else "nothing that upsamples", *notes, *skipped])


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
        note = "lines are placed as if these layers, one after the other, alone changed the rate"
        return inspected(type(model).__name__, layers, skipped, sample_rate, [note] if sample_rate else [])
    if not isinstance(model, (str, Path)):
        raise TypeError(f"model must be a torch.nn.Module or a path, got {type(model).__name__}")
    from audioup.model_file import read_model

    found = read_model(Path(model), strides)
    rate = found.sample_rate if sample_rate is None else sample_rate
    return inspected(readable(Path(model).name), found.layers, found.skipped, rate, found.notes)


def inspected(
    name: str,
    layers: Sequence[Upsampler],
    skipped: Sequence[Skipped] = (),
    sample_rate: int | None = None,
    notes: Sequence[str] = (),
) -> Inspection:
    """Describe layers that were found."""
    rows, effort = [], Effort()
    for layer in layers:
        lines: tuple[float, ...] = ()
        if sample_rate is not None and layer.rate is not None and len(layer.strides) == 1:
            (stride,), spacing_hz = layer.strides, sample_rate * layer.rate / layer.strides[0]
            n, d = spacing_hz.as_integer_ratio()  # whose quotients are rounded once, and fast
            lines = tuple(k * n / d for k in range(1, stride // 2 + 1))
        rows.append(_row(layer, lines, effort))
    more = ["? a state dict has no strides: half the kernel was assumed"] if any(one.assumed for one in layers) else []
    return Inspection(name, sample_rate, tuple(rows), tuple(skipped), (*notes, *more))


def _row(layer: Upsampler, lines_hz: tuple[float, ...], effort: Effort) -> InspectedLayer:
    kernel, sound = layer.kernel, len(layer.strides) == 1
    channels, lengths = kernel.shape[0] * kernel.shape[1], kernel.shape[2:]
    fraction = float(tonal_fraction(kernel, layer.strides))
    # Memory goes with their product.
    measurable = sound and bool(kernel.any()) and kernel.shape[-1] * layer.strides[0] <= LARGEST_RESPONSE
    measurable = measurable and effort.spent(EACH + of_response(channels, lengths[-1], layer.strides[0], GRID))
    if effort.spent(of_projections(lengths, ORDERS)):
        order = regularity_order(kernel, layer.strides)
    else:  # equal phase gains are order 1; a share of tone is a square
        order = int(fraction <= 20 * math.log10(4 * torch.finfo(kernel.dtype).eps))
    return InspectedLayer(
        name=layer.name,
        kind=layer.kind,
        stride=_one(layer.strides),
        kernel_size=_one(layer.kernel_sizes),
        in_channels=kernel.shape[0],
        out_channels=kernel.shape[1] * layer.groups,
        overlap=layer.overlap,
        tonal_fraction_db=max(LEAST_DB, fraction),
        regularity_order=order,
        lines_hz=lines_hz,
        kernel_length=_one(tuple(kernel.shape[2:])),
        response=filter_response(kernel, layer.strides[0]) if measurable else None,
        rate=layer.rate if sound else None,
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
