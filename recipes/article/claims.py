"""The table of claims: what is said, what is expected, and from where on it counts, all written down before a run."""

import dataclasses
from collections.abc import Callable, Mapping

from article import (
    colours,
    dream,
    edges,
    gradients,
    kernels,
    overlaps,
    smooth,
    style,
    trained,
    untrained,
    vocoder_table,
)
from article.outcome import Context, Outcome

Measure = Callable[[Context, Mapping[str, float]], Outcome]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One row.

    Attributes:
        name: For ``--only``.
        title: What is claimed, in words.
        expected: What should come out.
        measure: Measures it.
        limits: From where on it counts, by the names that ``measure`` looks for.
        revised: Which of its limits were set or moved once first trials had been seen; the others stood before.
    """

    name: str
    title: str
    expected: str
    measure: Measure
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    revised: str = ""


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "overlap-1d",
        "Overlap is uneven unless the stride divides the kernel size",
        "size 3, stride 2, 8 inputs: 1 1 2 1 2 ... 2 1 1, length 17; even inside iff the stride divides the size",
        overlaps.one_axis,
    ),
    Claim(
        "overlap-2d",
        "In images uneven overlaps multiply",
        "6 x 4 placements of size 3, stride 2: 13 x 9, inside 1, 2, 4; unevenness 2 along an axis is 4 in the image",
        overlaps.two_axes,
    ),
    Claim(
        "stacked",
        "Stacked layers compound it",
        "inside 3 2 3 1 (ratio 3, lines 1/9 and 1/3), then 4 3 5 2 5 3 4 1 (ratio 5)",
        overlaps.stacked,
        {"error": 1e-12},
    ),
    Claim(
        "damped",
        "A last layer of stride 1 damps it, and seldom takes it away",
        "box of n after two layers, lines at sr/4 and sr/2: 2 (.079, 0), 3 (.037, .111), 4 (0, 0), 5 (.022, .067), 6 "
        "(.026, 0), 8 (0, 0); most random kernels leak",
        overlaps.damped,
        {"error": 5e-4, "leaks": 0.5},
    ),
    Claim(
        "learned-uneven",
        "Weights could make up for an uneven overlap, and seldom do",
        "1:2:1 is flat, 1:1:1 not; flat iff w0 + w2 = w1; fewer than half of trained networks are flat to -40 dB",
        kernels.learned_uneven,
        {"error": 1e-12, "formula": 1e-9, "found": 0.5},
    ),
    Claim(
        "learned-even",
        "An even overlap can still learn to alternate",
        "flat iff w0 + w2 = w1 + w3; fewer than half of trained networks are flat to -40 dB",
        kernels.learned_even,
        {"error": 1e-12, "formula": 1e-9, "found": 0.5},
    ),
    Claim(
        "matrices",
        "Resize-convolution ties the weights that deconvolution leaves free",
        "entries (a, c), (b); (a+b, c), (a, b+c); (a+b/2, b/2+c), (a/2, a/2+b+c/2, c/2); sums alike for resize only",
        kernels.matrices,
        {"error": 1e-12},
    ),
    Claim(
        "subpixel",
        "Sub-pixel convolution is deconvolution with an even overlap",
        "weights mapped both ways: equal to 1e-12; still no guarantee",
        kernels.subpixel,
        {"error": 1e-12},
    ),
    Claim(
        "padding",
        "Zeros beyond the edges darken them",
        "constant through a box of 5: zeros .6 .8 1, reflect 1 1 1",
        edges.padding,
        {"error": 1e-12},
    ),
    Claim(
        "before-training",
        "The artifacts are there before training",
        "medians of 8 seeds: E2 and E4 at least 5 % with deconvolution in the last two layers, E2 alone in the last, "
        "both under .6 % in none (the article's pictures: E4 20-24 and E2 10-11 %; E2 11-19 %; under .6 %)",
        untrained.before_training,
        {"lined": 0.05, "clean": 0.006},
        revised="the 5 % were set once prototypes had been seen",
    ),
    Claim(
        "after-training",
        "They are there after training a GAN, at the periods of the swapped layers",
        "every seed at least twice the mean of resize-convolution at period 2 (and 4 with two layers); otherwise, and "
        "for every seed of resize-convolution against the photographs, under twice",
        trained.after_training,
        {"lined": 2.0, "clean": 2.0},
        revised="both factors were set once prototypes had been seen",
    ),
    Claim(
        "strong-colours",
        "Strong colours have stronger artifacts",
        "linear layer +6.02 dB per doubling of the distance from the bias colour; trained: grows with it, correlation "
        "of the logarithms over .3 for every seed, of flat blocks and of generated ones",
        colours.strong_colours,
        {"error": 1e-9, "related": 0.3},
        revised="flat blocks were added once generated ones had been seen",
    ),
    Claim(
        "style-transfer",
        "Resize-convolution takes them out of style transfer",
        "every seed of deconvolution at least twice every seed of resize-convolution, E2 and E4 (the article's "
        "pictures: 5.68/2.63 % against .017/.119 %)",
        style.transfer,
        {"ratio": 2.0},
    ),
    Claim(
        "gradients",
        "Strided convolutions put them into gradients",
        "all ones: 1 1 2 1 2 ...; lines at stride harmonics of a classifier, of its gradient's power, of critics",
        gradients.strided,
        revised="the classifier's power was added once its gradient had shown no line",
    ),
    Claim(
        "pooling",
        "Max pooling makes gradients broadband and unorganised, L2 pooling smoother ones",
        "max pooling: flatter spectrum, under 10 % locked to the stride; L2 pooling: a smaller share of highs",
        gradients.pooling,
        {"smoother": 1.0, "locked": 0.1},
        revised="L2 pooling was to have half the highs at first, then fewer",
    ),
    Claim(
        "feature-visualisation",
        "Feature visualisation at changing offsets takes them out",
        "E2 at a fixed offset more than twice that at changing ones, every seed (the article's pictures: .324, .001 %)",
        dream.offsets,
        {"ratio": 2.0},
    ),
    Claim(
        "discriminator-strides",
        "The discriminator's stride teaches them to a generator that has none of its own",
        "more energy at period 2 against a first layer of stride 2 than of stride 1, in each image and in what all "
        "have in common: 95 % intervals of the ratios above 1",
        trained.discriminator_strides,
        {"ratio": 1.0},
        revised="what all images have in common was added once single images had been seen",
    ),
    Claim(
        "adversarial",
        "Adversarial examples can concentrate on few pixels (left open by the article)",
        "squared gradients uneven over the phases modulo the stride: 95 % intervals of largest over smallest above "
        "1.1, over examples for every network, over networks for discriminators",
        gradients.concentration,
        {"uneven": 1.1},
        revised="one interval over examples of all networks had been seen before it was taken over networks",
    ),
    Claim(
        "nearest-or-bilinear",
        "Nearest neighbours work, bilinear interpolation is hard",
        "droop at the input's Nyquist: nearest -3.0, -3.7, -3.9 dB, bspline-2 -6.0, -7.4, -7.7 (strides 2, 4, 8); GAN "
        "and vocoder do worse with linear",
        smooth.filters,
        {"error": 0.05, "highs_db": 0.0},
    ),
    Claim(
        "audio",
        "And in sound?",
        "lines with transposed convolution; with resize-convolution none on silence and lower on speech (by reference)",
        vocoder_table.vocoders,
    ),
)
