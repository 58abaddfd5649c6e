"""Plans the upsampling of a generator before it is trained: where tones may fall, and what its layers cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from audioup.checks import check_positive
from audioup.costs import LAYERS, Cost, GeneratorSizes, Taps, overlap
from audioup.plan_report import LOW_HZ, Extent, LayerPlan, PlannedSchedule, PlanReport, StagePlan
from audioup.schedules import LONGEST_HOP, PUBLISHED, Choice, candidates, halvings, listed

LARGEST = 2**31 - 1  # of any number
MOST_BLOCKS = 64  # of a stage, and of a block


def plan(
    sample_rate: int,
    hop_length: int,
    strides: Sequence[int] | None = None,
    kernel_sizes: Sequence[int] | None = None,
    *,
    channels: int = 512,
    n_mels: int = 80,
    block_kernels: Sequence[int] = (3, 7, 11),
    dilations: Sequence[int] = (1, 3, 5),
    causal: bool = False,
    largest_stride: int = 8,
    most_stages: int = 6,
    any_order: bool = False,
    most: int = 10,
) -> PlanReport:
    """Plan the strides that turn frames into sound, or look closer at given ones.

    A stage that upsamples by ``strides[i]`` may write lines at multiples of ``sample_rate / prod(strides[i:])``; how
    loud they are is up to the weights, which no plan knows. Candidates are the strides that multiply to the hop length
    within the limits, none larger than the one before it (as in HiFi-GAN, BigVGAN and DAC), with kernels of twice the
    stride, and what is published for that hop length. They are sorted by the multiply-adds of the whole generator, for
    want of a better order: it prefers many stages, since each halves the channels, and whether the few that are left at
    the end are enough, no count can tell.

    Multiply-adds are those of the convolutions inside a signal; at its edges an engine may compute a little more.

    Args:
        sample_rate: In Hz.
        hop_length: Samples a frame, from 2 to 65536.
        strides: Upsampling factors from input to output, to look at these only.
        kernel_sizes: Of their transposed convolutions; twice the stride by default.
        channels: Before the first stage; each halves the number.
        n_mels: Channels of the input.
        block_kernels: Of the residual blocks of every stage, side by side; none for a generator without.
        dilations: Of each block: one convolution with and one without, as in HiFi-GAN's block "1".
        causal: Whether no layer looks ahead.
        largest_stride: Of candidates.
        most_stages: Of candidates.
        any_order: Whether the strides of candidates may rise.
        most: Schedules to keep.

    Raises:
        ValueError: If a number is out of range, the strides do not multiply to the hop length, there is another number
            of kernels, the channels cannot be halved as often, or no strides within the limits make the hop length.

    Source: Kong, Kim & Bae, "HiFi-GAN" (NeurIPS 2020), for the generator.

    Example:
        >>> report = plan(22050, 256, most=2)
        >>> [(schedule.strides, schedule.channels) for schedule in report.schedules]
        [((4, 4, 2, 2, 2, 2), 8), ((4, 4, 4, 2, 2), 16)]
        >>> [stage.line_hz for stage in report.schedules[0].stages]
        [86.1328125, 344.53125, 1378.125, 2756.25, 5512.5, 11025.0]
        >>> plan(22050, 256, (8, 8, 4), (16, 16, 6)).schedules[0].stages[2].overlap
        'uneven'
    """
    numbers = {"sample_rate": sample_rate, "hop_length": hop_length, "channels": channels, "n_mels": n_mels}
    limits = {"largest_stride": largest_stride, "most_stages": most_stages, "most": most}
    for name, value in {**numbers, **limits}.items():
        _check(name, value)
    for name, values in {"stride": strides, "kernel size": kernel_sizes, "block kernel": block_kernels}.items():
        for value in values or ():
            _check(f"every {name}", value)
    for value in dilations:
        _check("every dilation", value)
    if max(len(block_kernels), len(dilations)) > MOST_BLOCKS:
        counts = f"{len(block_kernels)} and {len(dilations)}"
        raise ValueError(f"block_kernels and dilations must be at most {MOST_BLOCKS} each, got {counts}")
    if not 2 <= hop_length <= LONGEST_HOP:
        raise ValueError(f"hop_length must be from 2 to {LONGEST_HOP}, got {hop_length}")
    sizes = GeneratorSizes((), (), channels, n_mels, tuple(block_kernels), tuple(dilations), causal)
    planner = _Planner(sample_rate, sizes)
    if strides is not None:
        chosen = [_checked(hop_length, tuple(strides), kernel_sizes, channels)]
    elif kernel_sizes is not None:
        raise ValueError(f"kernel_sizes {listed(tuple(kernel_sizes))} need strides to go with")
    else:
        most_stages = min(most_stages, halvings(channels))
        chosen = candidates(hop_length, largest_stride, most_stages, any_order)
        chosen.sort(key=lambda choice: (planner.generator(*choice).whole().multiply_adds, choice))
    return PlanReport(
        **numbers,
        block_kernels=tuple(block_kernels),
        dilations=tuple(dilations),
        causal=causal,
        largest_stride=largest_stride,
        most_stages=most_stages,
        any_order=any_order,
        found=len(chosen),
        schedules=tuple(planner.schedule(*choice) for choice in chosen[:most]),
    )


@dataclass(frozen=True)
class _Planner:
    sample_rate: int
    sizes: GeneratorSizes  # but for strides and taps

    def generator(self, strides: tuple[int, ...], kernel_sizes: tuple[int, ...]) -> GeneratorSizes:
        return replace(self.sizes, strides=strides, taps=tuple(Taps(size, size) for size in kernel_sizes))

    def schedule(self, strides: tuple[int, ...], kernel_sizes: tuple[int, ...]) -> PlannedSchedule:
        own = self.generator(strides, kernel_sizes)
        layers = {
            name: replace(own, taps=tuple(map(taps, strides))) for name, taps in LAYERS.items() if name != "transposed"
        }
        stages = range(len(strides))
        return PlannedSchedule(
            strides,
            kernel_sizes,
            own.widths[-1],
            stages=tuple(self._stage(own, stage) for stage in stages),
            layers=tuple(self._layer(name, layer) for name, layer in {"transposed": own, **layers}.items()),
            published=tuple(str(p) for p in PUBLISHED if (p.strides, p.kernel_sizes) == (strides, kernel_sizes)),
            warnings=tuple(_warnings(strides, kernel_sizes)),
        )

    def _stage(self, generator: GeneratorSizes, stage: int) -> StagePlan:
        stride, kernel_size = generator.strides[stage], generator.taps[stage].length
        later = math.prod(generator.strides[stage:])
        kind, meeting = overlap(kernel_size, stride)
        upsampler, blocks = generator.upsampler(stage), generator.blocks(stage)
        return StagePlan(
            stride,
            kernel_size,
            kind,
            meeting,
            in_channels=generator.widths[stage],
            out_channels=generator.widths[stage + 1],
            line_hz=self.sample_rate / later,
            lines=later // 2,
            low_lines=min(later // 2, LOW_HZ * later // self.sample_rate),
            multiply_adds=self._a_second(generator, upsampler),
            parameters=upsampler.parameters,
            block_multiply_adds=self._a_second(generator, blocks),
            block_parameters=blocks.parameters,
        )

    def _layer(self, name: str, generator: GeneratorSizes) -> LayerPlan:
        return LayerPlan(
            name,
            tuple(taps.length for taps in generator.taps),
            min(taps.order for taps in generator.taps),
            generator.delay(),
            self._extent(generator, generator.upsamplers(), whole=False),
            self._extent(generator, generator.whole(), whole=True),
        )

    def _extent(self, generator: GeneratorSizes, cost: Cost, whole: bool) -> Extent:
        before, after = generator.context(whole)
        ahead = generator.look_ahead(whole)
        return Extent(
            self._a_second(generator, cost),
            cost.parameters,
            (before, after),
            1000 * (before + 1 + after) * generator.rates[-1] / self.sample_rate,
            ahead,
            1000 * ahead / self.sample_rate,
        )

    def _a_second(self, generator: GeneratorSizes, cost: Cost) -> float:
        return cost.multiply_adds * self.sample_rate / generator.rates[-1]


def _checked(hop_length: int, strides: tuple[int, ...], kernel_sizes: Sequence[int] | None, channels: int) -> Choice:
    if min(strides, default=1) < 2:
        raise ValueError(f"strides must be at least one and from 2 on, got {listed(strides) or 'none'}")
    product = math.prod(strides)
    if product != hop_length:
        more, less = max(product, hop_length), min(product, hop_length)
        off = f"{more // less} times" if more % less == 0 else f"{more / less:.4g} times"
        raise ValueError(
            f"strides {listed(strides)} multiply to {product}, {off} too {'few' if product < hop_length else 'many'} "
            f"samples for hop_length {hop_length}"
        )
    kernels = tuple(2 * stride for stride in strides) if kernel_sizes is None else tuple(kernel_sizes)
    if len(kernels) != len(strides):
        raise ValueError(
            f"kernel_sizes must be one for each of the strides {listed(strides)}, got {listed(kernels) or 'none'}"
        )
    if len(strides) > halvings(channels):
        raise ValueError(
            f"channels must be divisible by {2 ** len(strides)}, to be halved by {len(strides)} stages, got {channels}"
        )
    return strides, kernels


def _warnings(strides: tuple[int, ...], kernel_sizes: tuple[int, ...]) -> list[str]:
    words, odd = [], []
    for stage, (stride, size) in enumerate(zip(strides, kernel_sizes, strict=True)):
        kind, (least, most) = overlap(size, stride)
        if kind == "gap":
            words.append(f"stage {stage}: kernel {size} leaves {stride - size} of {stride} samples without input")
        elif kind == "uneven":
            words.append(
                f"stage {stage}: kernel {size} % stride {stride} is {size % stride}: {least} or {most} frames meet in "
                f"a sample, a pattern of the stride unless the weights undo it; {most * stride} would be even"
            )
        if size > stride and (size - stride) % 2:
            odd.append(str(stage))
    if odd:
        words.append(
            f"stage {', '.join(odd)}: kernel - stride is odd: padding=(kernel - stride) // 2, HiFi-GAN's, makes a "
            "sample too many; the layers of audioup do not"
        )
    return words


def _check(name: str, value: int) -> None:
    check_positive(name, value)
    if value > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST}, got {value}")
