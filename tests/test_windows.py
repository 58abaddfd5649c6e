"""Every layer, streamed, gives what it gives of the whole, as early as it can be known."""

import copy
import itertools
from functools import partial

import pytest
import reference
import torch
from reference import noise
from streams import LIMIT, assert_streams
from torch import nn

from audioup import (
    Oversampled,
    ResizeConv1d,
    SubPixelConv1d,
    TransposedConv1d,
)
from audioup.streaming import Stream

one_thread = reference.one_thread

FAMILIES = {
    "transposed": TransposedConv1d,
    "subpixel": SubPixelConv1d,
    "resize-nearest": ResizeConv1d,
    "resize-linear": partial(ResizeConv1d, mode="linear"),
    "resize-cubic": partial(ResizeConv1d, mode="cubic"),
    "resize-sinc": partial(ResizeConv1d, mode="sinc", zeros=2, separable=True),
    "resize-bspline": partial(ResizeConv1d, mode="bspline-3"),
}
SHAPES = [(1, 1), (4, 1), (4, 2), (5, 2), (3, 3), (4, 3), (3, 5), (16, 8), (9, 8)]  # kernel_size, stride


@pytest.mark.parametrize("dtype", LIMIT, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["centred", "causal"])
@pytest.mark.parametrize(("kernel_size", "stride"), SHAPES, ids=str)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_layer(family, kernel_size, stride, causal, dtype):
    for padding_mode, groups in itertools.product(("zeros", "replicate"), (1, 2)):
        options = {"padding_mode": padding_mode, "groups": groups, "causal": causal, "dtype": dtype}
        layer = family(4, 6, kernel_size, stride, **options)
        for frames, sizes in ((1, (1,)), (2, (1,)), (23, (1,)), (23, (0, 3, 0, 1, 7)), (23, (40,))):
            assert_streams(layer, noise(2, 4, frames, dtype=dtype), sizes)
        stream = Stream(layer)
        assert (stream.stride, stream.latency) == (stride, max(0, layer.origin))
        if causal:
            assert stream.latency == 0


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_what_has_come_out_owes_nothing_to_later_frames_and_a_causal_layer_waits_for_none(family):
    for causal, (kernel_size, stride) in itertools.product((False, True), SHAPES):
        layer = family(2, 3, kernel_size, stride, causal=causal, dtype=torch.float64)
        x = noise(1, 2, 20)
        other = x.clone()
        other[..., 12:] = noise(1, 2, 8, seed=1)
        known = stride * 12 - Stream(layer).latency
        assert known > 0
        with torch.no_grad():
            # Other sums beyond may be rounded otherwise.
            assert (layer(x)[..., :known] - layer(other)[..., :known]).abs().max() < 1e-14
        assert known == 12 * stride or not causal


@pytest.mark.parametrize(
    ("latency", "layer"),
    [
        (2, nn.Conv1d(4, 6, 5, padding=2)),
        (6, nn.Conv1d(4, 6, 5, padding="same", dilation=3, groups=2)),
        (2, nn.Conv1d(4, 6, 4, padding="same")),
        (3, nn.Conv1d(4, 6, 4)),
        (1, nn.Conv1d(4, 6, 4, padding=2, padding_mode="replicate")),
        (0, nn.Conv1d(4, 6, 1)),
        (4, nn.ConvTranspose1d(4, 6, 16, 8, padding=4)),
        (5, nn.ConvTranspose1d(4, 6, 7, 3, padding=5, output_padding=2, groups=2)),
        (11, nn.ConvTranspose1d(4, 6, 3, 2, padding=7, dilation=2)),  # crops more than the kernel adds
        (3, nn.ConvTranspose1d(4, 6, 2, 5)),  # the last 3 of every 5 samples, but for the end, where they are not
        (0, nn.ConvTranspose1d(4, 6, 9, 1)),
        (3, nn.ConstantPad1d((-3, 0), 0.0)),
        (5, nn.ConstantPad1d((0, -5), 0.0)),
        (0, nn.ZeroPad1d((0, 3))),
        (0, nn.ReplicationPad1d((0, 3))),
        (2, nn.ReplicationPad1d((-2, 3))),
    ],
    ids=lambda value: str(value),
)
def test_every_layer_of_torch(latency, layer):
    stream = Stream(layer)
    assert stream.latency == latency
    for sizes in ((1,), (5, 0, 2), (40,)):
        assert_streams(layer, noise(2, 4, 24, dtype=torch.float32), sizes)
        assert_streams(copy.deepcopy(layer).double(), noise(2, 4, 24), sizes)


def test_a_pad_puts_its_samples_first_so_its_latency_is_negative():
    for layer in (nn.ConstantPad1d((4, 2), 1.5), nn.ReplicationPad1d((4, 2)), nn.Conv1d(1, 1, 3, padding=3)):
        stream, x = Stream(layer), noise(1, 1, 6, dtype=torch.float32)
        parts = [stream(x[..., :0]), *(stream(frame) for frame in x.split(1, -1)), stream.flush()]
        assert stream.latency == (-4 if not isinstance(layer, nn.Conv1d) else -1)
        assert [part.shape[-1] for part in parts][:3] == [0, 1 - stream.latency, 1]
        assert (torch.cat(parts, -1) - layer(x)).abs().max() <= 1e-6 * layer(x).abs().max()


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_oversampled_activations(factor, padding_mode):
    layer = Oversampled(nn.LeakyReLU(0.1), factor, zeros=2, padding_mode=padding_mode)
    stream = Stream(layer)
    assert stream.latency == (0 if factor == 1 else layer.left + layer.right)
    for frames, sizes in ((1, (1,)), (30, (1,)), (30, (4, 0, 3))):
        assert_streams(layer, noise(2, 3, frames, dtype=torch.float32), sizes)
        assert_streams(layer, noise(2, 3, frames), sizes)


# --------------------------------------------------------------------------------------------------------- stacks
