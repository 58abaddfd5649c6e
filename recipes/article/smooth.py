"""Why nearest neighbours work and bilinear interpolation is hard: droop, the same GAN, and the vocoder."""

import math
import statistics
from collections.abc import Mapping

import torch
from gan.trainer import latents

from article import ganruns
from article.draw import draw_curves
from article.outcome import Context, Outcome
from article.spectra import high_share
from article.trained import real_patches
from article.vocoder_table import vocoder_table
from audioup import passband_droop
from audioup.interpolation import interpolation_filter

EXPECTED = {"nearest": (-3.0, -3.7, -3.9), "bspline-2": (-6.0, -7.4, -7.7)}
FACTORS = (2, 4, 8)
KINDS = ("nearest", "linear", "sinc")
IMAGES = 512


def droops() -> dict[str, list[float]]:
    """Return the gain at the input's Nyquist frequency over that of a constant, in dB, at strides 2, 4 and 8."""
    nyquist = torch.tensor([0.5])
    return {
        mode: [passband_droop(interpolation_filter(mode, s), s, nyquist).item() for s in FACTORS] for mode in EXPECTED
    }


def filters(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Compare the filters, the GANs trained with them, and the vocoders of the README's table."""
    droop = droops()
    highs: dict[str, list[float]] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    for kind in KINDS:
        reports = ganruns.trained(context, kind)
        curves |= {
            f"{kind} {seed}": [(point["step"], point["E2"] + point["E4"]) for point in report["curve"][1:]]
            for seed, report in enumerate(reports)
        }
        highs[kind] = [_highs(context, kind, seed) for seed in range(len(reports))]
    draw_curves(
        curves,
        context.folder / "smooth-curves.png",
        title="Energy at periods 2 and 4 over training, a line a seed",
        x="step",
        y="share",
    )
    vocoders = {name: row["mel L1"] for name, row in vocoder_table().items() if name.startswith("resize")}
    return Outcome(
        {"droop_db": droop, "highs of the GANs over the photographs', dB": highs, "mel L1 of the vocoders": vocoders},
        {
            f"droop of {mode}": all(abs(a - b) <= limits["error"] for a, b in zip(droop[mode], wanted, strict=True))
            for mode, wanted in EXPECTED.items()
        }
        | {
            "GAN: linear lacks more highs than nearest": statistics.fmean(highs["linear"])
            < statistics.fmean(highs["nearest"]) - limits["highs_db"],
            "vocoder: nearest learns best": min(vocoders, key=lambda name: vocoders[name]) == "resize-nearest",
        },
        "; ".join(f"{mode} {', '.join(f'{value:.1f}' for value in values)} dB" for mode, values in droop.items())
        + "; highs of the GANs "
        + ", ".join(
            f"{name} {statistics.fmean(found):+.1f} ({min(found):+.1f} to {max(found):+.1f})"
            for name, found in highs.items()
        )
        + " dB of the photographs'; mel L1 of the vocoders "
        + ", ".join(f"{name.removeprefix('resize-')} {value:.3f}" for name, value in vocoders.items()),
        {"smooth-curves.png": "The same GAN with nearest, linear and sinc interpolation."},
    )


def _highs(context: Context, kind: str, seed: int) -> float:
    network = ganruns.generator(context, kind, seed)
    with torch.no_grad():
        images = network(latents(IMAGES, network.latent, seed=1))
    return 10 * math.log10(high_share(images) / high_share(real_patches(context, network.size, IMAGES)))
