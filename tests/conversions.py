"""What the tests of conversion share."""

import warnings

import torch
from torch import nn


def distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference over the peak; shapes must be equal."""
    assert actual.shape == expected.shape
    return float((actual - expected).detach().abs().max() / expected.detach().abs().max())


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(layer)


def only(conversion):
    assert not conversion.skipped, conversion
    (row,) = conversion.layers
    return row
