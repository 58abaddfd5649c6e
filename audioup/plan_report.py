"""What a plan says: numbers for programs, tables for people."""

import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from audioup.schedules import listed

LOW_HZ = 8000  # lines up to here are counted apart
COLUMNS = 100
UNKNOWN = (
    "These are the places where lines may be, not their levels: those are up to the weights and to what goes in. "
    "`audioup measure` finds them in sound, `audioup.probe` in a network."
)


@dataclass(frozen=True)
class StagePlan:
    """One stage with a transposed convolution, and the residual blocks after it.

    Attributes:
        stride: Output samples per input sample.
        kernel_size: Taps.
        overlap: ``"even"``, ``"uneven"`` or ``"gap"``; see `audioup.costs.overlap`.
        taps_per_phase: The fewest and the most frames that meet in a sample.
        in_channels: Before the stage.
        out_channels: After it.
        line_hz: Where its first line may be, the rate of what goes in; the others are at multiples of it.
        lines: How many there are up to and including Nyquist.
        low_lines: How many up to and including 8 kHz.
        multiply_adds: Of the transposed convolution, for a second of sound.
        parameters: Of it.
        block_multiply_adds: Of the residual blocks, for a second of sound.
        block_parameters: Of them.
    """

    stride: int
    kernel_size: int
    overlap: str
    taps_per_phase: tuple[int, int]
    in_channels: int
    out_channels: int
    line_hz: float
    lines: int
    low_lines: int
    multiply_adds: float
    parameters: int
    block_multiply_adds: float
    block_parameters: int


@dataclass(frozen=True)
class Extent:
    """What upsamplers, or a whole generator with them, cost and see.

    Attributes:
        multiply_adds: For a second of sound.
        parameters: Weights and biases, without the gains of weight norm.
        context: Input frames before and after its own that the samples of a frame depend on.
        field_ms: All of these frames, its own among them.
        look_ahead_samples: Output samples that wait for later frames.
        look_ahead_ms: The same in time.
    """

    multiply_adds: float
    parameters: int
    context: tuple[int, int]
    field_ms: float
    look_ahead_samples: int
    look_ahead_ms: float


@dataclass(frozen=True)
class LayerPlan:
    """The same strides with one family of layers.

    Attributes:
        name: As in `audioup.convert` and in the recipe.
        kernel_lengths: Taps of the (composite) kernels at their output rates.
        order: Regularity order held whatever is learned; 0 for a free kernel.
        delay_samples: By which the upsamplers delay, were their kernels symmetric.
        upsamplers: These layers alone.
        generator: The generator with them.
    """

    name: str
    kernel_lengths: tuple[int, ...]
    order: int
    delay_samples: float
    upsamplers: Extent
    generator: Extent


@dataclass(frozen=True)
class PlannedSchedule:
    """Strides with kernel sizes.

    Attributes:
        strides: From input to output.
        kernel_sizes: Of transposed convolutions.
        channels: After the last stage.
        stages: One for each stride.
        layers: Transposed convolutions of these kernel sizes, then the other families with kernels as usual.
        published: Generators that have these strides and kernel sizes, with the source.
        warnings: What is amiss.
    """

    strides: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    channels: int
    stages: tuple[StagePlan, ...]
    layers: tuple[LayerPlan, ...]
    published: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class PlanReport:
    """What `plan` found.

    Attributes:
        sample_rate: In Hz.
        hop_length: Samples a frame.
        channels: Before the first stage.
        n_mels: Channels of the input.
        block_kernels: Of the residual blocks.
        dilations: Of each.
        causal: Whether no layer looks ahead.
        largest_stride: Of candidates.
        most_stages: Of candidates, as often as the channels can be halved.
        any_order: Whether strides of candidates may rise.
        found: Schedules there are; as many as wanted are kept.
        schedules: By multiply-adds of the generator with transposed convolutions.
    """

    sample_rate: int
    hop_length: int
    channels: int
    n_mels: int
    block_kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    causal: bool
    largest_stride: int
    most_stages: int
    any_order: bool
    found: int
    schedules: tuple[PlannedSchedule, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that ``json`` can write."""
        return asdict(self)

    def __str__(self) -> str:
        blocks = f"{listed(self.block_kernels)} x {listed(self.dilations)}" if self.block_kernels else "none"
        head = (
            f"{self.sample_rate} Hz, hop length {self.hop_length}: {self.sample_rate / self.hop_length:.6g} frames/s "
            f"of {self.n_mels} mels, {self.channels} channels, blocks {blocks}{', causal' * self.causal}"
        )
        rows = [*_wrapped(head), "G/s: 1e9 multiply-adds for a second of sound; M: 1e6 parameters", ""]
        rows += _closely(self) if len(self.schedules) == 1 else _together(self)
        return "\n".join([*rows, *_wrapped(UNKNOWN)])


def _together(report: PlanReport) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("", "", "last", "upsamplers", "generator", "", "sees", "lines of each stage"),
        ("strides", "kernels", "ch.", "G/s", "G/s", "M", "ms", "at multiples of, Hz"),
    ]
    for one in report.schedules:
        ups, whole = one.layers[0].upsamplers, one.layers[0].generator
        costs = f"{ups.multiply_adds / 1e9:.2f}", f"{whole.multiply_adds / 1e9:.2f}", f"{whole.parameters / 1e6:.2f}"
        lines = " ".join(f"{stage.line_hz:.0f}" for stage in one.stages)
        names = listed(one.strides), listed(one.kernel_sizes), str(one.channels)
        rows.append((*names, *costs, f"{whole.field_ms:.0f}", lines))
    notes = [f"{listed(one.strides)}: {name}" for one in report.schedules for name in one.published]
    for one in report.schedules:
        if uneven := [str(index) for index, stage in enumerate(one.stages) if stage.overlap != "even"]:
            kernels = f"{listed(one.strides)} with kernels {listed(one.kernel_sizes)}"
            notes.append(f"{kernels}: overlap not even at stage {' and '.join(uneven)}")
    first = report.schedules[0].stages[0]
    notes.append(
        f"All lines are among the {first.lines} multiples of {first.line_hz:.6g} Hz, {first.low_lines} of them up to "
        f"{LOW_HZ // 1000} kHz, whatever the strides; these decide which stage may write where. The lowest lie "
        "among the pitches of voices."
    )
    order = "" if report.any_order else ", none larger than the one before"
    notes.append(
        f"{len(report.schedules)} of {report.found} schedules: published ones, and those of up to {report.most_stages} "
        f"strides from 2 to {report.largest_stride}{order}. Sorted by the generator's multiply-adds: every stage "
        "halves the channels, and whether those left at the end are enough, no count tells. --strides shows one "
        "closely."
    )
    return [*_table(rows, left=(0, 1, 7)), "", *(row for note in notes for row in _wrapped(note))]


def _closely(report: PlanReport) -> list[str]:
    (schedule,) = report.schedules
    low = f"{LOW_HZ // 1000} kHz"
    rows: list[tuple[str, ...]] = [
        ("", "", "", "overlap,", "out", "lines at", "up to", "up to", "layer", "", "blocks", ""),
        ("stage", "stride", "kernel", "frames", "ch.", "n x Hz", "Nyquist", low, "G/s", "M", "G/s", "M"),
    ]
    for index, stage in enumerate(schedule.stages):
        sizes = [str(n) for n in (index, stage.stride, stage.kernel_size)]
        overlap = f"{stage.overlap}, {'-'.join(map(str, dict.fromkeys(stage.taps_per_phase)))}"
        lines = f"{stage.line_hz:.1f}", str(stage.lines), str(stage.low_lines)
        costs = f"{stage.multiply_adds / 1e9:.3f}", f"{stage.parameters / 1e6:.3f}"
        blocks = f"{stage.block_multiply_adds / 1e9:.2f}", f"{stage.block_parameters / 1e6:.3f}"
        rows.append((*sizes, overlap, str(stage.out_channels), *lines, *costs, *blocks))
    notes = [f"{listed(schedule.strides)}: {name}" for name in schedule.published]
    notes += schedule.warnings
    return [
        *_table(rows, left=(3,)),
        "",
        *_layers(report, schedule.layers),
        "",
        *(row for note in notes for row in _wrapped(note)),
    ]


def _layers(report: PlanReport, layers: tuple[LayerPlan, ...]) -> list[str]:
    late = "delay" if report.causal else "ahead"  # a causal layer looks ahead of nothing, and is late instead
    rows: list[tuple[str, ...]] = [
        ("", "kernel", "", "alone", "", "sees", late, "whole", "", "sees", "" if report.causal else late),
        ("layer", "lengths", "order", "G/s", "M", "ms", "ms", "G/s", "M", "ms", "" if report.causal else "ms"),
    ]
    for layer in layers:
        ups, whole = (
            [f"{extent.multiply_adds / 1e9:.2f}", f"{extent.parameters / 1e6:.2f}", f"{extent.field_ms:.0f}"]
            for extent in (layer.upsamplers, layer.generator)
        )
        waits = f"{layer.upsamplers.look_ahead_ms:.1f}", f"{layer.generator.look_ahead_ms:.1f}"
        if report.causal:
            waits = f"{1000 * layer.delay_samples / report.sample_rate:.1f}", ""
        rows.append((layer.name, listed(layer.kernel_lengths), str(layer.order), *ups, waits[0], *whole, waits[1]))
    note = (
        "alone: the upsamplers; whole: the generator. order: of regularity, held whatever is learned; a kernel of "
        "order 0 may make lines even of a constant."
    )
    return [*_table(rows, left=(0, 1)), *_wrapped(note)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _table(rows: list[tuple[str, ...]], left: tuple[int, ...]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
