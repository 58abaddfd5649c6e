"""Strides that make a hop length: its factorisations, and the schedules of published generators."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

LONGEST_HOP = 2**16  # samples: more than a second of most sound
MOST_SCHEDULES = 10_000  # of one hop length

Choice = tuple[tuple[int, ...], tuple[int, ...]]  # strides, kernel sizes


@dataclass(frozen=True)
class Published:
    """The upsampling of a published generator.

    Attributes:
        name: Of the model.
        strides: Upsampling factors from input to output.
        kernel_sizes: Of its transposed convolutions.
        channels: Before the first of them; each halves the number.
        source: Where it says so.
    """

    name: str
    strides: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    channels: int
    source: str

    def __str__(self) -> str:
        return f"{self.name}, {self.channels} channels ({self.source})"


_HIFI_GAN, _RVC = "jik876/hifi-gan", "RVC-Project configs"

# Vocos is not among them: an inverse STFT makes all of its hop length in one step.
PUBLISHED = (
    Published("HiFi-GAN V1", (8, 8, 2, 2), (16, 16, 4, 4), 512, f"{_HIFI_GAN} config_v1.json"),
    Published("HiFi-GAN V2", (8, 8, 2, 2), (16, 16, 4, 4), 128, f"{_HIFI_GAN} config_v2.json"),
    Published("HiFi-GAN V3", (8, 8, 4), (16, 16, 8), 256, f"{_HIFI_GAN} config_v3.json"),
    Published("SpeechT5's HiFi-GAN", (4, 4, 4, 4), (8, 8, 8, 8), 512, "microsoft/speecht5_hifigan"),
    Published("MusicLDM's HiFi-GAN", (5, 4, 2, 2, 2), (16, 16, 8, 4, 4), 1024, "musicldm-full vocoder/config.json"),
    Published("LibriTTS HiFi-GAN", (5, 5, 4, 3), (10, 10, 8, 6), 512, "kan-bayashi/ParallelWaveGAN egs/libritts"),
    Published("BigVGAN base", (8, 8, 2, 2), (16, 16, 4, 4), 512, "nvidia/bigvgan_base_24khz_100band"),
    Published("BigVGAN v2", (4, 4, 2, 2, 2, 2), (8, 8, 4, 4, 4, 4), 1536, "nvidia/bigvgan_v2_44khz_128band_256x"),
    Published("BigVGAN v2", (8, 4, 2, 2, 2, 2), (16, 8, 4, 4, 4, 4), 1536, "nvidia/bigvgan_v2_44khz_128band_512x"),
    Published("DAC 44 kHz", (8, 8, 4, 2), (16, 16, 8, 4), 1536, "descript-audio-codec conf/final/44khz.yml"),
    Published("DAC 24 kHz", (8, 5, 4, 2), (16, 10, 8, 4), 1536, "descript-audio-codec conf/final/24khz.yml"),
    Published("EnCodec", (8, 5, 4, 2), (16, 10, 8, 4), 512, "encodec 0.1.1 modules/seanet.py"),
    Published("RVC v1 40k", (10, 10, 2, 2), (16, 16, 4, 4), 512, f"{_RVC}/v1/40k.json"),
    Published("RVC v1 32k", (10, 4, 2, 2, 2), (16, 16, 4, 4, 4), 512, f"{_RVC}/v1/32k.json"),
    Published("RVC v1 48k", (10, 6, 2, 2, 2), (16, 16, 4, 4, 4), 512, f"{_RVC}/v1/48k.json"),
    Published("RVC v2 32k", (10, 8, 2, 2), (20, 16, 4, 4), 512, f"{_RVC}/v2/32k.json"),
    Published("RVC v2 48k", (12, 10, 2, 2), (24, 20, 4, 4), 512, f"{_RVC}/v2/48k.json"),
)


def candidates(hop_length: int, largest_stride: int, most_stages: int, any_order: bool) -> list[Choice]:
    """Return strides that multiply to a hop length, with kernels of twice the stride, and what is published for it.

    Args:
        hop_length: Samples a frame.
        largest_stride: Strides are from 2 to this; published ones may be larger.
        most_stages: No more strides than this.
        any_order: Whether a stride may be larger than the one before it.

    Raises:
        ValueError: If there are none, or more than 10,000.
    """
    made = list(islice(factorisations(hop_length, largest_stride, most_stages, any_order), MOST_SCHEDULES + 1))
    if len(made) > MOST_SCHEDULES:
        raise ValueError(
            f"hop_length {hop_length} has more than {MOST_SCHEDULES} schedules of up to {most_stages} strides up to "
            f"{largest_stride}; lower these limits"
        )
    choices = {(strides, tuple(2 * stride for stride in strides)) for strides in made}
    choices |= {
        (one.strides, one.kernel_sizes)
        for one in PUBLISHED
        if math.prod(one.strides) == hop_length and len(one.strides) <= most_stages
    }
    if not choices:
        raise ValueError(_no_candidates(hop_length, largest_stride, most_stages))
    return sorted(choices)


def _no_candidates(hop_length: int, largest_stride: int, most_stages: int) -> str:
    prime = largest_prime(hop_length)
    if most_stages == 0:
        return "channels must be even: every stage halves them"
    if prime == hop_length > largest_stride:
        why = f"is prime, and strides go up to {largest_stride}"
    elif prime > largest_stride:
        why = f"has the prime factor {prime}, and strides go up to {largest_stride}"
    else:
        why = f"takes more than {most_stages} strides up to {largest_stride}, which the channels or most_stages forbid"
    near = nearest_hops(hop_length, largest_stride, most_stages)
    made = " and ".join(f"{math.prod(strides)} = {' x '.join(map(str, strides))}" for strides in near)
    return f"hop_length {hop_length} {why}; the nearest that can be made: {made or 'none'}"


def halvings(channels: int) -> int:
    """Return how often a number of channels can be halved."""
    return (channels & -channels).bit_length() - 1


def factorisations(
    hop_length: int, largest_stride: int, most_stages: int, any_order: bool = False
) -> Iterator[tuple[int, ...]]:
    """Go through the strides that multiply to a hop length, the largest first.

    Args:
        hop_length: Their product.
        largest_stride: Strides are from 2 to this.
        most_stages: No more strides than this.
        any_order: Whether a stride may be larger than the one before it.

    Example:
        >>> list(factorisations(300, 8, 4))
        [(6, 5, 5, 2), (5, 5, 4, 3)]
    """
    if hop_length == 1:
        yield ()
    elif most_stages > 0 and largest_prime(hop_length) <= largest_stride:
        for stride in range(min(hop_length, largest_stride), 1, -1):
            if hop_length % stride == 0:
                limit = largest_stride if any_order else stride
                for rest in factorisations(hop_length // stride, limit, most_stages - 1, any_order):
                    yield stride, *rest


def nearest_hops(hop_length: int, largest_stride: int, most_stages: int) -> list[tuple[int, ...]]:
    """Return strides of the next smaller and the next larger hop length that have some, where there are.

    Example:
        >>> nearest_hops(509, 8, 6)
        [(8, 7, 3, 3), (8, 8, 8)]
    """
    found = []
    for lengths in (range(hop_length - 1, 1, -1), range(hop_length + 1, LONGEST_HOP + 1)):
        ways = (next(factorisations(length, largest_stride, most_stages), None) for length in lengths)
        found += [next(filter(None, ways), ())]
    return [strides for strides in found if strides]


def largest_prime(number: int) -> int:
    """Return the largest prime factor of a number of at least 2."""
    factor = 2
    while factor * factor <= number:
        if number % factor:
            factor += 1
        else:
            number //= factor
            factor = 2 if number == 1 else factor
    return number


def listed(numbers: tuple[int, ...]) -> str:
    """Return numbers as the command line takes them, ``8,8,2,2``."""
    return ",".join(map(str, numbers))
