"""Interpolation filters: unit gain in every phase, no delay, equal to torch's interpolation, accurate on a sine."""

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from reference import assert_close, noise

from audioup.functional import upsample1d
from audioup.interpolation import interpolation_filter

one_thread = reference.one_thread
STRIDES = range(1, 10)
FILTERS = [
    pytest.param("nearest", {}, id="nearest"),
    pytest.param("linear", {}, id="linear"),
    pytest.param("cubic", {}, id="cubic"),
    *(
        pytest.param("sinc", {"zeros": zeros, "rolloff": rolloff}, id=f"sinc-zeros{zeros}-rolloff{rolloff}")
        for zeros in (1, 2, 6, 16)
        for rolloff in (1.0, 0.9, 0.5, 0.05)
    ),
]


def interpolate(x, taps, stride, padding_mode="zeros"):
    return upsample1d(x, taps[None, None], stride, (len(taps) - stride + 1) // 2, padding_mode=padding_mode)


@pytest.mark.parametrize(("mode", "options"), FILTERS)
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_filter(stride, mode, options):
    taps = interpolation_filter(mode, stride, **options)
    assert taps.dtype == torch.float64
    reach = {"nearest": 1, "linear": 2, "cubic": 4, "sinc": 2 * options.get("zeros", 0)}[mode]
    if stride == 1 and mode == "cubic":
        reach = 2  # no taps of zero
    assert len(taps) == stride * reach - (stride % 2 if mode != "nearest" else 0)
    assert max(abs(taps[r::stride].sum().item() - 1) for r in range(stride)) < 1e-14
    assert (taps - taps.flip(0)).abs().max() < 1e-15
    # Symmetric, and centred by the library's rule: (L - s) / 2 - origin = 0.
    assert (len(taps) - stride) / 2 == (len(taps) - stride + 1) // 2


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_filter_is_torchs_interpolation_up_to_the_edges(stride, mode):
    x = noise(2, 1, 7)
    y = interpolate(x, interpolation_filter(mode, stride), stride, "replicate")
    options = {} if mode == "nearest" else {"align_corners": False}
    assert_close(y, F.interpolate(x, scale_factor=stride, mode=mode, **options))


def test_filters_by_hand():
    assert interpolation_filter("nearest", 3).tolist() == [1, 1, 1]
    assert_close(interpolation_filter("linear", 2), torch.tensor([1, 3, 3, 1], dtype=torch.float64) / 4)
    assert_close(interpolation_filter("linear", 3), torch.tensor([1, 2, 3, 2, 1], dtype=torch.float64) / 3)
    assert_close(interpolation_filter("linear", 4), torch.tensor([1, 3, 5, 7, 7, 5, 3, 1], dtype=torch.float64) / 8)


def test_sinc_reaches_six_frames_up_to_nyquist_unless_told():
    assert torch.equal(interpolation_filter("sinc", 3), interpolation_filter("sinc", 3, zeros=6, rolloff=1.0))
    assert len(interpolation_filter("sinc", 3)) == 2 * 6 * 3 - 1


@pytest.mark.parametrize("mode", ["nearest", "linear", "sinc"])
def test_filter_of_stride_one_is_the_identity(mode):
    x = noise(1, 1, 9)
    assert_close(interpolate(x, interpolation_filter(mode, 1), 1), x)


@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_sinc_is_the_convolution_of_the_stretched_signal(stride):
    x = noise(20).numpy()
    taps = interpolation_filter("sinc", stride, zeros=4)
    long = np.convolve(reference.stretch(x, stride), taps.numpy())
    first = (len(taps) - stride) // 2
    assert_close(interpolate(torch.from_numpy(x)[None], taps, stride)[0], long[first : first + 20 * stride])


@pytest.mark.parametrize(
    ("zeros", "tolerance"), [(2, 0.025), (6, 0.001), (16, 0.0008)], ids=["zeros2", "zeros6", "zeros16"]
)
@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8], ids=lambda stride: f"stride{stride}")
def test_sinc_interpolates_a_sine_without_delay(stride, zeros, tolerance):
    # A frame stands at the centre of its own output samples, (s - 1) / 2 after the first.
    frame, sample = np.arange(100), (np.arange(100 * stride) - (stride - 1) / 2) / stride
    x, expected = np.sin(2 * np.pi * 0.1 * frame + 0.3), np.sin(2 * np.pi * 0.1 * sample + 0.3)
    y = interpolate(torch.from_numpy(x)[None], interpolation_filter("sinc", stride, zeros), stride)[0].numpy()
    inside = slice(zeros * stride, (100 - zeros) * stride)
    assert np.abs(y - expected)[inside].max() < tolerance


@pytest.mark.parametrize("rolloff", [1.0, 0.8, 0.5])
@pytest.mark.parametrize("stride", [2, 5, 8], ids=lambda stride: f"stride{stride}")
def test_sinc_cuts_off_at_the_rolloff_and_stops_60_db(stride, rolloff):
    zeros = 16
    taps = interpolation_filter("sinc", stride, zeros, rolloff).numpy()
    nyquist = 2 ** np.linspace(-8, np.log2(stride), 4000)  # in units of the input's Nyquist frequency
    angle = np.pi * nyquist[:, None] / stride * np.arange(len(taps))
    level = np.abs(np.exp(-1j * angle) @ taps) / stride
    # The transition, 1.8 / zeros of the input rate, lies half on either side of the cut-off.
    assert 20 * np.log10(level[nyquist > rolloff + 1.8 / zeros + 0.02]).max() < -58
    assert np.abs(level[nyquist < rolloff - 1.8 / zeros - 0.02] - 1).max() < 0.002
    assert np.interp(rolloff, nyquist, level) == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("mode", ["nearest", "linear", "sinc"])
@pytest.mark.parametrize("stride", [0, -1, 2.0, True, None], ids=repr)
def test_filter_refuses_stride(stride, mode):
    with pytest.raises(ValueError, match=r"^stride must"):
        interpolation_filter(mode, stride)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("zeros", value) for value in (0, -1, 2.0, True)),
        *(("rolloff", value) for value in (0, 0.0, -0.5, 1.01, float("nan"), float("inf"))),
        *(("mode", value) for value in ("area", "", None)),
    ],
    ids=str,
)
def test_filter_refuses(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must"):
        interpolation_filter(**({"mode": "sinc", "stride": 2} | {name: value}))


@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_cubic_is_torchs_bicubic_up_to_the_edges(stride):
    x = noise(2, 1, 7)
    y = interpolate(x, interpolation_filter("cubic", stride), stride, "replicate")
    expected = F.interpolate(x[:, :, None], size=(1, 7 * stride), mode="bicubic", align_corners=False)
    assert_close(y, expected[:, :, 0])


@pytest.mark.parametrize("order", range(1, 7), ids=lambda order: f"order{order}")
@pytest.mark.parametrize("stride", STRIDES, ids=lambda stride: f"stride{stride}")
def test_bspline_is_ones_convolved(stride, order):
    taps, expected = interpolation_filter(f"bspline-{order}", stride), np.ones(1)
    for _ in range(order):
        expected = np.convolve(expected, np.ones(stride))
    assert_close(taps, expected / stride ** (order - 1))
    assert len(taps) == order * (stride - 1) + 1
    delay = (len(taps) - stride) / 2 - (len(taps) - stride + 1) // 2
    assert delay == (-0.5 if order % 2 == stride % 2 == 0 else 0)


@pytest.mark.parametrize(
    "mode", ["bspline-0", "bspline-", "bspline--1", "bspline-2.0", "bspline-01", "Bspline-2", 3, None], ids=repr
)
def test_filter_refuses_names(mode):
    with pytest.raises(ValueError, match=r"^mode must"):
        interpolation_filter(mode, 2)
