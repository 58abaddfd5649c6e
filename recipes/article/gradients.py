"""What strides and pooling put into gradients, and where the gradient is strong enough to attack."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from article import ganruns
from article.draw import draw_curves
from article.outcome import Context, Outcome
from article.pretrained import STRIDES, classifier, classify, normalised
from article.spectra import high_share, rings
from article.trained import real_patches
from audioup import GradientReport, checkerboard_energy, gradient_tones, measure_gradient
from audioup.overlap import count

CROPS, SIDE = 48, 128
BLUR = torch.tensor([1.0, 2.0, 1.0]) / 4
DRAWS = 2000  # of the bootstrap
CRITICS = {"none": "discriminator, stride 2", "unstrided": "discriminator, stride 1"}  # trained with these generators


def all_ones() -> list[float]:
    """Return the gradient of the sum of an all-ones convolution, size 3 and stride 2, at 17 samples."""
    conv = nn.Conv1d(1, 1, 3, stride=2, bias=False, dtype=torch.float64)
    nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 17, dtype=torch.float64, requires_grad=True)
    conv(x).sum().backward()
    if x.grad is None:
        raise ValueError("x has no gradient")
    return x.grad[0, 0].tolist()


def strided(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Measure the lines in the gradients of an all-ones convolution, of a classifier and of trained discriminators."""
    exact = all_ones()
    seen = classify(real_patches(context, 200, 1)[0])
    photographs = real_patches(context, SIDE, 16 if context.quick else CROPS)
    network = nn.Sequential(_Normalised(), classifier())
    gradient = _gradient(network, photographs, lambda y: y.amax(1).sum())
    gradient = gradient / gradient.square().mean((1, 2, 3), keepdim=True).sqrt()  # a few images would outshout all
    # What changes its sign from image to image has no locked line, yet its power may repeat with the strides.
    reports = {
        "classifier": measure_gradient(gradient, STRIDES),
        "classifier's power": measure_gradient(gradient.double().square().sum(1, keepdim=True), STRIDES),
    }
    measured = {name: [_lines(report)] for name, report in reports.items()}
    energies: dict[str, list[float]] = {}
    patches = real_patches(context, context.size, 512)
    for kind, name in CRITICS.items():
        critics = [ganruns.discriminator(context, kind, seed) for seed in range(len(ganruns.trained(context, kind)))]
        measured[name] = [_lines(gradient_tones(critic, patches, _strides(critic))) for critic in critics]
        energies[name] = [checkerboard_energy(_gradient(critic, patches), 2).mean().item() for critic in critics]
    return Outcome(
        {"all ones": exact, "likeliest classes": seen, "lines": measured, "E2 of the gradients": energies},
        {"all ones: 1 1 2 1 2 ... 2 1 1": exact == count(8, 3, 2).tolist()}
        | {
            f"{name}: lines at stride harmonics": all(row["detected"] > 0 for row in rows)
            for name, rows in measured.items()
        },
        f"{' '.join(f'{value:g}' for value in exact)}; "
        + "; ".join(
            f"{name}: {_each(rows, 'detected')} of {rows[0]['lines']} harmonics, strongest "
            f"{_each(rows, 'level_db', '.1f')} dB at {_each(rows, 'frequency')}"
            for name, rows in measured.items()
        ),
    )


def pooling(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Compare the gradient spectra of max pooling and of L2 pooling behind the classifier's first filters."""
    photographs = real_patches(context, 64, 64)
    found: dict[str, dict[str, float]] = {}
    curves = {}
    for name, pool in (("max pooling", max_pool), ("L2 pooling", l2_pool)):
        gradient = _gradient(_Pooled(pool), photographs)
        spectrum = rings(gradient)
        report = gradient_tones(_Pooled(pool), photographs, [2])
        found[name] = {
            "share above half of Nyquist": high_share(gradient),
            "flatness": (spectrum.log().mean().exp() / spectrum.mean()).item(),
            "locked share": report.locked_share,
        }
        curves[f"{name} "] = [((n + 0.5) / len(spectrum) / 2, value) for n, value in enumerate(spectrum.tolist())]
    draw_curves(
        curves,
        context.folder / "pooling.png",
        title="Power of the input gradient, mean over directions",
        x="cycles per sample",
        y="power",
    )
    largest, smooth = found["max pooling"], found["L2 pooling"]
    return Outcome(
        found,
        {
            "max pooling is the more broadband": largest["flatness"] > smooth["flatness"],
            "L2 pooling is smoother": smooth["share above half of Nyquist"]
            < limits["smoother"] * largest["share above half of Nyquist"],
            "max pooling is unorganised": largest["locked share"] < limits["locked"],
        },
        "; ".join(
            f"{name}: {100 * row['share above half of Nyquist']:.0f} % of the power above half of Nyquist, flatness "
            f"{row['flatness']:.2f}, {100 * row['locked share']:.1f} % locked to the stride"
            for name, row in found.items()
        ),
        {"pooling.png": "Input gradients behind max and L2 pooling, size 3 and stride 2."},
    )


def concentration(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Share the squared input gradient out over the phases modulo the stride."""
    photographs = real_patches(context, SIDE, 16 if context.quick else CROPS)

    def loss(y: Tensor) -> Tensor:
        return F.cross_entropy(y, y.detach().argmax(1), reduction="sum")

    shares = {"classifier": [phase_shares(_gradient(nn.Sequential(_Normalised(), classifier()), photographs, loss))]}
    patches = real_patches(context, context.size, 256)
    for kind, name in CRITICS.items():
        critics = [ganruns.discriminator(context, kind, seed) for seed in range(len(ganruns.trained(context, kind)))]
        shares[name] = [phase_shares(_gradient(critic, patches)) for critic in critics]
    measured: dict[str, Any] = {}
    for name, rows in shares.items():
        means = torch.stack([row.mean(0) for row in rows])  # every network counts as much as any other
        measured[name] = {
            "shares": means.mean(0).tolist(),
            "of each network": means.tolist(),
            "interval of each network over examples": [_interval(row) for row in rows],
        }
        if len(rows) > 1:
            measured[name]["ratio and interval over networks"] = phase_ratio(means)
    over_networks = measured[CRITICS["none"]]["ratio and interval over networks"]
    return Outcome(
        measured,
        {
            f"{name}: every network uneven": min(low for low, _ in row["interval of each network over examples"])
            > limits["uneven"]
            for name, row in measured.items()
            if name != CRITICS["unstrided"]
        }
        | {f"{CRITICS['none']}: uneven over networks": over_networks[1] > limits["uneven"]},
        "; ".join(f"{name}: {_phases(row)}" for name, row in measured.items()),
    )


def phase_ratio(shares: Tensor) -> tuple[float, float, float]:
    """Return the largest phase over the smallest, as ordered by the mean of all networks, and its 95 % interval.

    Args:
        shares: A row for each network; each is one observation of Student's interval of the logarithm.
    """
    from scipy import stats

    mean = shares.mean(0)
    logarithms = (shares[:, mean.argmax()] / shares[:, mean.argmin()]).log()
    centre, error = logarithms.mean().item(), logarithms.std().item() / len(shares) ** 0.5
    half = stats.t.ppf(0.975, len(shares) - 1) * error
    return math.exp(centre), math.exp(centre - half), math.exp(centre + half)


def phase_shares(gradient: Tensor, stride: int = 2) -> Tensor:
    """Return the share of an example's squared gradient at each phase of both axes, shape ``(N, stride ** 2)``.

    The examples are weighted by their own squared gradient, so that the mean is the share of all.
    """
    power = gradient.double().square().sum(1).unflatten(2, (-1, stride)).unflatten(1, (-1, stride)).sum((1, 3))
    power = power.flatten(1)
    return power / power.sum() * len(power)


def _phases(row: dict[str, Any]) -> str:
    each = row["interval of each network over examples"]
    words = ", ".join(f"{100 * share:.1f}" for share in row["shares"]) + " %, largest over smallest "
    words += ", ".join(f"{low:.2f} to {high:.2f}" for low, high in each)
    if len(each) == 1:
        return words
    ratio, low, high = row["ratio and interval over networks"]
    return f"{words}; of the same phases {ratio:.2f} ({low:.2f} to {high:.2f} over {len(each)} networks)"


def max_pool(x: Tensor) -> Tensor:
    """Take the largest of 3 x 3, every other sample."""
    return F.max_pool2d(x, 3, 2, padding=1)


def l2_pool(x: Tensor) -> Tensor:
    """Take the root of the weighted mean square of 3 x 3, every other sample.

    Source: Henaff & Simoncelli, "Geodesics of learned representations" (ICLR 2016).
    """
    window = torch.outer(BLUR, BLUR).to(x).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1]) + 1e-6).sqrt()


class _Normalised(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return normalised(images)


class _Pooled(nn.Module):
    # The classifier's first filters, without their stride; channels with signs, or their gradients would only add up.
    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        network: Any = classifier()
        self.pool = pool
        self.weight: Tensor = network._conv_stem.weight
        self.norm: nn.Module = network._bn0

    def forward(self, images: Tensor) -> Tensor:
        x = F.conv2d(normalised(images), self.weight, padding=1)
        pooled = self.pool(F.relu(self.norm(x)))
        signs = torch.randn(pooled.shape[1], generator=torch.Generator().manual_seed(0))
        return pooled * signs[:, None, None]


def _gradient(network: nn.Module, images: Tensor, objective: Callable[[Tensor], Tensor] = lambda y: y.sum()) -> Tensor:
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(network(x)), x)
    return gradient


def _strides(network: nn.Module) -> list[tuple[int, int]]:
    return [(layer.stride[0], layer.stride[1]) for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def _each(rows: Sequence[Mapping[str, Any]], key: str, form: str = "") -> str:
    return ", ".join(format(row[key], form) for row in rows)


def _lines(report: GradientReport) -> dict[str, Any]:
    found = [line for line in report.lines if line.detected]
    strongest = max(found or report.lines, key=lambda line: line.level_db)
    return {
        "detected": len(found),
        "lines": len(report.lines),
        "level_db": strongest.level_db,  # over the root mean square
        "frequency": " x ".join(f"{f:g}" for f in strongest.frequency),
        "locked share": report.locked_share,
    }


def _interval(shares: Tensor) -> list[float]:
    # Bootstrap over examples of the largest share over the smallest, the phases as ordered by all examples.
    high, low = shares.mean(0).argmax(), shares.mean(0).argmin()
    which = torch.randint(len(shares), (DRAWS, len(shares)), generator=torch.Generator().manual_seed(0))
    means = torch.stack([shares[draw].mean(0) for draw in which])
    ratios = (means[:, high] / means[:, low]).sort().values
    return [ratios[int(q * (DRAWS - 1))].item() for q in (0.025, 0.975)]
