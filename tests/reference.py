"""Slow, obvious references in float64 NumPy, and the one table of tolerances."""

import numpy as np
import pytest
import torch

# Largest error allowed of a result of this type, as a share of the largest value of its float64 reference.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Run a module's tests on one thread: on tensors this small, several only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_close(actual, expected):
    """Assert equal shapes, and values equal within the tolerance of the actual type."""
    actual, expected = torch.as_tensor(actual).detach(), torch.as_tensor(expected).detach()
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).abs().max().item()
    limit = TOLERANCE[actual.dtype] * expected.double().abs().max().item()
    assert error <= limit, f"largest error {error:.3g}, allowed {limit:.3g}"


def noise(*shape, seed=0, dtype=torch.float64):
    """Draw white noise that depends on the seed and the shape only."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def extended(x, m, padding_mode):
    """Return frame ``m``, any integer, of a signal ``x[i, m]`` that goes on beyond its edges."""
    frames = x.shape[1]
    if padding_mode == "replicate":
        return x[:, min(max(m, 0), frames - 1)]
    if padding_mode == "circular":
        return x[:, m % frames]
    if padding_mode == "reflect":
        if m < 0:
            m = -m
        if m >= frames:
            m = 2 * (frames - 1) - m
        return x[:, m]
    return x[:, m] if 0 <= m < frames else np.zeros(len(x))


def upsample1d(x, h, stride, origin, bias=None, groups=1, padding_mode="zeros"):
    """y[o, n] = b[o] + sum_i sum_m x[i, m] h[i, o, n - s m + c], term by term, for x of shape (channels, frames)."""
    inputs, outputs, length = h.shape
    y = np.zeros((outputs * groups, stride * x.shape[1]))
    for n in range(y.shape[1]):
        # All m with 0 <= n - s m + c < L; the frames beyond the edges are among them.
        for m in range(-((length - 1 - n - origin) // stride), (n + origin) // stride + 1):
            frame = extended(x, m, padding_mode)
            for g in range(groups):
                i = slice(g * inputs // groups, (g + 1) * inputs // groups)
                y[g * outputs : (g + 1) * outputs, n] += frame[i] @ h[i, :, n - stride * m + origin]
    return y if bias is None else y + np.asarray(bias)[:, None]


def stretch(x, stride):
    """Put ``stride - 1`` zeros after every sample of a one-dimensional signal."""
    y = np.zeros(len(x) * stride)
    for m, value in enumerate(x):
        y[m * stride] = value
    return y


def pixel_shuffle(x, stride):
    """Channel ``o s + r`` becomes phase ``r`` of channel ``o``, for x of shape (channels, frames)."""
    y = np.zeros((len(x) // stride, x.shape[1] * stride))
    for o in range(len(y)):
        for r in range(stride):
            for t in range(x.shape[1]):
                y[o, t * stride + r] = x[o * stride + r, t]
    return y


def upsample2d(x, h, stride, origin, bias=None, groups=1, padding_mode="zeros"):
    """`upsample1d` along both axes, term by term, for x of shape (channels, height, width)."""
    _, outputs, tall, _ = h.shape
    rows = np.moveaxis(x, 2, 1).reshape(-1, x.shape[1])  # (channels width, height)
    y = np.zeros((outputs * groups, stride[0] * x.shape[1], stride[1] * x.shape[2]))
    for down in range(y.shape[1]):
        for m in range(-((tall - 1 - down - origin[0]) // stride[0]), (down + origin[0]) // stride[0] + 1):
            row = extended(rows, m, padding_mode).reshape(len(x), -1)  # one line of the image
            taps = h[:, :, down - stride[0] * m + origin[0]]
            y[:, down] += upsample1d(row, taps, stride[1], origin[1], groups=groups, padding_mode=padding_mode)
    return y if bias is None else y + np.asarray(bias)[:, None, None]
