"""Artifacts before training: generators as they begin."""

import statistics
from collections.abc import Mapping

import torch
from gan.models import Generator
from gan.pictures import grid, write_png
from gan.trainer import latents

from article.outcome import Context, Outcome
from audioup import checkerboard_energy

# The article's three generators: which layer each doubling has, from 4 x 4 on.
ALIKE = ("resize-nearest",) * 3
VARIANTS: dict[str, tuple[str, ...]] = {
    "two": ("resize-nearest", "transposed", "transposed"),
    "one": ("resize-nearest", "resize-nearest", "transposed"),
    "none": ALIKE,
}
WORDS = {"two": "deconvolution in the last two layers", "one": "in the last", "none": "in none"}
SEEDS = 8
IMAGES = 256


def before_training(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Measure the three generators with the weights that they begin with, 8 seeds each."""
    found: dict[str, dict[str, list[float]]] = {name: {"E2": [], "E4": []} for name in VARIANTS}
    shown = []
    for name, layers in VARIANTS.items():
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            generator = Generator(layers)
            with torch.no_grad():
                images = generator(latents(IMAGES, generator.latent))
            for period in (2, 4):
                found[name][f"E{period}"].append(checkerboard_energy(images, period).mean().item())
            if seed == 0:
                shown.append(images[:8] / images.abs().amax())
    write_png(grid(torch.cat(shown), 8, zoom=4), context.folder / "before-training.png")
    median = {name: {key: statistics.median(values) for key, values in row.items()} for name, row in found.items()}
    lined, clean = limits["lined"], limits["clean"]
    return Outcome(
        {"seeds": SEEDS, "median": median, "all": found},
        {
            "two: E2 and E4": min(median["two"].values()) >= lined,
            "one: E2": median["one"]["E2"] >= lined,
            "one: no E4": median["one"]["E4"] < clean,
            "none: neither": max(median["none"].values()) < clean,
        },
        "; ".join(
            f"{WORDS[name]} E2 {100 * row['E2']:.2g} %, E4 {100 * row['E4']:.2g} %" for name, row in median.items()
        )
        + f" (medians of {SEEDS} seeds)",
        {"before-training.png": "Untrained generators: deconvolution in the last two layers, in the last, in none."},
    )
