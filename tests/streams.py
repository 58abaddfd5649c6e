"""What the tests of streams share: streaming a signal, and how near the whole it must come."""

import copy
import itertools

import torch

from audioup.fold import fold
from audioup.streaming import Stream

LIMIT = {torch.float64: 1e-12, torch.float32: 1e-6}  # of the peak of the whole


def streamed(module, x, sizes, **options):
    """Stream ``x`` in chunks of these sizes, over and over, and check after each how many samples have come."""
    stream = Stream(module, **options)
    parts, frames, sizes = [], 0, itertools.cycle(sizes)
    while frames < x.shape[-1]:
        size = next(sizes)
        chunk = x[..., frames : frames + size].clone()
        parts.append(stream(chunk))
        chunk.fill_(torch.nan)  # a caller may use its buffer again
        frames = min(frames + size, x.shape[-1])
        came = sum(part.shape[-1] for part in parts)
        assert came == max(0, stream.stride * frames - stream.latency)
    return torch.cat([*parts, stream.flush()], -1)


def assert_streams(module, x, sizes=(1,), limit=None, **options):
    """Assert that the stream equals the whole, within the limit of the issue, as a share of the whole's peak."""
    whole = copy_in_eval(module)(x).detach()
    y = streamed(module, x, sizes, **options)
    assert y.shape == whole.shape
    assert y.dtype == whole.dtype
    error, peak = (y - whole).abs().max().item(), whole.abs().max().item()
    assert peak > 0
    assert error <= (limit or LIMIT[x.dtype]) * peak, f"{error / peak:.3g} of the peak"


def copy_in_eval(module):
    return fold(module) if any(hasattr(m, "weight_g") for m in module.modules()) else copy.deepcopy(module).eval()


# ---------------------------------------------------------------------------------------------------- single layers
