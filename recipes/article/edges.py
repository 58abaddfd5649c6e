"""What padding does at the edges, before a convolution and after."""

from collections.abc import Mapping

import torch

from article.outcome import Context, Outcome
from audioup import ResizeConv1d


def padding(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Send a constant through a box of 5 taps, with zeros and with reflection beyond the edges."""
    found = {}
    for mode in ("zeros", "reflect"):
        layer = ResizeConv1d(1, 1, 5, 1, bias=False, padding_mode=mode, dtype=torch.float64)
        torch.nn.init.constant_(layer.weight, 1 / 5)
        found[mode] = layer(torch.ones(1, 1, 12, dtype=torch.float64))[0, 0].detach()[:3].tolist()
    expected = {"zeros": [0.6, 0.8, 1.0], "reflect": [1.0, 1.0, 1.0]}
    return Outcome(
        {"first three samples": found},
        {
            f"{mode}: {' '.join(f'{value:g}' for value in values)}": max(
                abs(x - y) for x, y in zip(found[mode], values, strict=True)
            )
            < limits["error"]
            for mode, values in expected.items()
        },
        "; ".join(f"{mode} {' '.join(f'{value:.3g}' for value in values)}" for mode, values in found.items()),
    )
