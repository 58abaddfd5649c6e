"""What is left after training a GAN, where it is strongest, and what the discriminator's stride has to do with it."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gan.data import Patches, photographs
from gan.models import Generator
from gan.pictures import grid, write_png
from gan.trainer import latents
from torch import Tensor

from article import ganruns
from article.draw import draw_curves, draw_dots
from article.outcome import Context, Outcome
from article.untrained import WORDS
from audioup import measure_gradient

LOCKED = 1024  # images that are asked for what they have in common


def after_training(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Train the three generators, three seeds each (five of the last), and measure all."""
    reports = {kind: ganruns.trained(context, kind) for kind in WORDS}
    shares = {key: {kind: [r[key] for r in rows] for kind, rows in reports.items()} for key in ("E2", "E4")}
    real = reports["none"][0]["photographs"]
    mean = {key: {kind: statistics.fmean(values) for kind, values in rows.items()} for key, rows in shares.items()}
    draw_dots(
        {key: {WORDS[kind]: values for kind, values in rows.items()} for key, rows in shares.items()},
        context.folder / "after-training.png",
        "After training, one dot a seed; dashed: photographs",
        real,
    )
    curves = {
        f"{key}, {WORDS[kind]} {n}": [(point["step"], point[key]) for point in report["curve"]]
        for key in ("E2", "E4")
        for kind, rows in reports.items()
        for n, report in enumerate(rows)
    }
    draw_curves(
        curves,
        context.folder / "after-training-curves.png",
        title="Checkerboard energy over training, a line a seed",
        x="step",
        y="share",
    )
    images = [_images(ganruns.generator(context, kind, 0), 12) for kind in WORDS]
    write_png(grid(torch.cat(images), 12, zoom=3), context.folder / "after-training-images.png")
    lined, clean = limits["lined"], limits["clean"]
    worst = {key: max(shares[key]["none"]) for key in shares}  # of the seeds, not their mean
    return Outcome(
        {"photographs": real, "mean": mean, "all": shares},
        {
            "two: E2 of every seed above none's": min(shares["E2"]["two"]) > lined * mean["E2"]["none"],
            "two: E4 of every seed above none's": min(shares["E4"]["two"]) > lined * mean["E4"]["none"],
            "one: E2 of every seed above none's": min(shares["E2"]["one"]) > lined * mean["E2"]["none"],
            "one: E4 gone": mean["E4"]["one"] < clean * mean["E4"]["none"],
            "none: as the photographs": all(worst[key] < clean * real[key] for key in real),
        },
        "; ".join(
            f"{words} " + ", ".join(f"{key} {_spread(rows[kind])}" for key, rows in shares.items())
            for kind, words in WORDS.items()
        )
        + f"; photographs {100 * real['E2']:.2f}, {100 * real['E4']:.2f} %",
        {
            "after-training-images.png": "Generated: deconvolution in the last two layers, in the last, in none.",
            "after-training.png": "Shares at periods 2 and 4 after training.",
            "after-training-curves.png": "The same over training.",
        },
    )


def discriminator_strides(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Train the generator without deconvolution against a first layer of stride 2 and of stride 1, five seeds each."""
    reports = {kind: ganruns.trained(context, kind) for kind in ("none", "unstrided")}
    names = {"none": "stride 2", "unstrided": "stride 1"}
    measured: dict[str, Any] = {"photographs": reports["none"][0]["photographs"]}
    for key in ("E2", "E4"):
        values = {names[kind]: [report[key] for report in rows] for kind, rows in reports.items()}
        measured[key] = values | {"ratio": log_ratio(values["stride 2"], values["stride 1"])}
    values = {
        name: [locked_energy(_images(ganruns.generator(context, kind, n), LOCKED)) for n in range(len(reports[kind]))]
        for kind, name in names.items()
    }
    measured["locked"] = values | {"ratio": log_ratio(values["stride 2"], values["stride 1"])}
    keys = ("E2", "E4", "locked")
    size = ganruns.generator(context, "none", 0).size
    measured["photographs"] |= {"locked": locked_energy(real_patches(context, size, LOCKED))}
    draw_dots(
        {key: {name: measured[key][name] for name in names.values()} for key in keys},
        context.folder / "discriminator-strides.png",
        "Generator without deconvolution, by the discriminator's first stride; dashed: photographs",
        measured["photographs"],
    )
    return Outcome(
        measured,
        {
            "more at period 2 with the stride: the 95 % interval of the ratio is above 1": measured["E2"]["ratio"][1]
            > limits["ratio"],
            "and of what all images have in common there": measured["locked"]["ratio"][1] > limits["ratio"],
        },
        "; ".join(
            f"{key} stride 2 {_spread(found['stride 2'])}, stride 1 {_spread(found['stride 1'])}, ratio "
            f"{found['ratio'][0]:.2f} ({found['ratio'][1]:.2f} to {found['ratio'][2]:.2f})"
            for key, found in ((key, measured[key]) for key in keys)
        ),
        {"discriminator-strides.png": "Shares at periods 2 and 4, and locked to period 2; one dot a seed."},
    )


def locked_energy(images: Tensor) -> float:
    """Return the share of the images' energy, each without its mean, that all have in common at period 2.

    What content has there changes its sign from image to image and cancels; white noise leaves 1 / N. The edges, where
    padding is common to all, are left out.
    """
    x = images - images.mean((2, 3), keepdim=True)
    report = measure_gradient(x, [2], margin=images.shape[-1] // 4)
    return sum(10 ** (line.level_db / 10) for line in report.lines)


def log_ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Return the ratio of geometric means with its 95 % interval, by Welch's t test of the logarithms."""
    from scipy import stats

    test = stats.ttest_ind([math.log(a) for a in above], [math.log(b) for b in below], equal_var=False)
    low, high = test.confidence_interval(0.95)
    centre = statistics.fmean(map(math.log, above)) - statistics.fmean(map(math.log, below))
    return math.exp(centre), math.exp(low), math.exp(high)


def real_patches(context: Context, size: int, n: int) -> Tensor:
    """Draw patches of the photographs, always the same."""
    torch.manual_seed(0)
    return Patches(photographs(context.data, size), size).draw(n)


def _images(network: Generator, n: int) -> Tensor:
    with torch.no_grad():
        return network(latents(n, network.latent, seed=1))


def _spread(values: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(values):.2f} % ({100 * min(values):.2f} to {100 * max(values):.2f})"
