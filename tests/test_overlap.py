"""Overlap counts and layers as matrices: exact integers, and the layers' own output."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from audioup import ResizeConv1d, ResizeConv2d, SubPixelConv1d, TransposedConv1d, TransposedConv2d, overlap
from audioup.overlap import count, count2d, operator_matrix, stack


def placed(length: int, kernel_size: int, stride: int) -> list[int]:
    cover = [0] * ((length - 1) * stride + kernel_size)
    for n in range(length):
        for tap in range(kernel_size):
            cover[n * stride + tap] += 1
    return cover


def test_the_example_of_the_article() -> None:
    assert count(8, 3, 2).tolist() == [1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 1]
    assert count(3, 2, 4).tolist() == [1, 1, 0, 0, 1, 1, 0, 0, 1, 1]
    assert count(1, 1, 1).tolist() == [1]


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 9))
def test_counts_are_placements(length: int, kernel_size: int, stride: int) -> None:
    assert count(length, kernel_size, stride).tolist() == placed(length, kernel_size, stride)


@pytest.mark.parametrize("kernel_size", range(1, 13))
@pytest.mark.parametrize("stride", range(1, 7))
def test_even_inside_if_and_only_if_the_stride_divides_the_size(kernel_size: int, stride: int) -> None:
    inside = count(40, kernel_size, stride)[kernel_size : -2 * kernel_size]
    assert (inside.unique().numel() == 1) == (kernel_size % stride == 0)


def test_stacks_multiply() -> None:
    assert stack(8, [(3, 2), (3, 2)])[16:24].tolist() == [3, 2, 3, 1] * 2
    assert stack(10, [(3, 2)] * 3)[32:48].tolist() == [4, 3, 5, 2, 5, 3, 4, 1] * 2
    once = nn.ConvTranspose1d(1, 1, 3, 2, bias=False)
    nn.init.ones_(once.weight)
    assert torch.equal(once(once(torch.ones(1, 1, 7)))[0, 0].long(), stack(7, [(3, 2), (3, 2)]))


def test_images_are_outer_products() -> None:
    cover = count2d((6, 4), 3, 2)
    assert cover.shape == (13, 9)
    assert torch.equal(cover, torch.outer(count(6, 3, 2), count(4, 3, 2)))
    assert set(cover[2:-2, 2:-2].flatten().tolist()) == {1, 2, 4}
    assert count2d((2, 3), (1, 2), (2, 1)).tolist() == [[1, 2, 2, 1], [0, 0, 0, 0], [1, 2, 2, 1]]


def test_matrices_of_the_article() -> None:
    a, b, c = 2.0, 3.0, 5.0
    deconvolution = TransposedConv1d(1, 1, 3, 2, bias=False, dtype=torch.float64)
    nn.init.zeros_(deconvolution.weight)
    deconvolution.weight.data[0, 0] = torch.tensor([a, b, c])
    # Origin 1: the middle tap lands on a frame's own first sample.
    assert operator_matrix(deconvolution, 3).tolist() == [
        [b, 0, 0],
        [c, a, 0],
        [0, b, 0],
        [0, c, a],
        [0, 0, b],
        [0, 0, c],
    ]
    nearest = ResizeConv1d(1, 1, 3, 2, dtype=torch.float64)
    nearest.weight.data[0, 0] = torch.tensor([a, b, c])
    rows = torch.tensor([[a, b + c, 0], [0, a + b, c], [0, a, b + c]], dtype=torch.float64)
    torch.testing.assert_close(operator_matrix(nearest, 3)[2:5], rows, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [TransposedConv1d, SubPixelConv1d, ResizeConv1d])
def test_the_matrix_is_the_layer(kind: type) -> None:
    layer = kind(2, 3, 5, 2, dtype=torch.float64)
    x = torch.randn(1, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    again = (operator_matrix(layer, 6) @ x.flatten()).reshape(3, 12) + layer.bias[:, None]
    torch.testing.assert_close(again, layer(x)[0], rtol=0, atol=1e-12)


def test_the_matrix_of_an_image_layer_and_of_layers_in_a_row() -> None:
    layer = nn.Sequential(TransposedConv2d(1, 2, 3, 2), nn.Identity(), ResizeConv2d(2, 1, 3, 2)).double()
    x = torch.randn(1, 1, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = operator_matrix(layer, (3, 2))
    assert matrix.shape == (12 * 8, 6)
    rest = layer(torch.zeros_like(x))
    torch.testing.assert_close(matrix @ x.flatten(), (layer(x) - rest).flatten(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_is_not_taken_for_nonlinearity(dtype: torch.dtype) -> None:
    assert operator_matrix(TransposedConv1d(64, 2, 16, 8, dtype=dtype), 5).dtype == dtype


def test_what_is_not_linear_is_refused() -> None:
    for bent in (nn.LeakyReLU(0.9), nn.Tanh()):
        with pytest.raises(ValueError, match="layer must be linear"):
            operator_matrix(nn.Sequential(TransposedConv1d(1, 1, 3, 2), bent), 8)
    with pytest.raises(TypeError, match="layer must return a tensor, got tuple"):
        operator_matrix(nn.GRU(4, 2), 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count(0, 3, 2), "length must be an integer >= 1, got 0"),
        (lambda: count(8, 3, 0), "stride must be an integer >= 1, got 0"),
        (lambda: count(8, 2.5, 2), "kernel_size must be an integer >= 1, got 2.5"),
        (lambda: stack(8, []), "layers must name"),
        (lambda: stack(8, [(3, 2, 1)]), "every layer must be one integer or a pair"),
        (lambda: count2d((4, 4, 4), 3, 2), "length must be one integer or a pair"),
        (lambda: operator_matrix(nn.Conv1d(1, 1, 3), 0), "length must be an integer >= 1, got 0"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_it_is_a_public_module() -> None:
    assert overlap.count is count


def test_what_norms_by_its_batch_is_refused_and_left_as_it_is():
    layer = nn.Sequential(nn.Conv1d(3, 3, 3, padding=1), nn.BatchNorm1d(3))
    before = layer[1].running_mean.clone()
    with pytest.raises(ValueError, match="must not norm by its batch"):
        operator_matrix(layer, 8)
    assert torch.equal(layer[1].running_mean, before)
    matrix = operator_matrix(layer.eval(), 8)
    x = torch.randn(1, 3, 8)
    expected = (layer(x) - layer(torch.zeros_like(x))).flatten()
    torch.testing.assert_close(matrix @ x.flatten(), expected, rtol=1e-4, atol=1e-5)


def test_no_bias_and_no_sign_hides_what_is_not_linear():
    loud = nn.Conv1d(2, 2, 1)
    nn.init.constant_(loud.bias, 1e4)
    for layer, length in ((nn.Sequential(nn.Conv1d(2, 2, 1), nn.ReLU(), loud), 4), (nn.LeakyReLU(0.1), 1)):
        with pytest.raises(ValueError, match="must be linear"):
            operator_matrix(layer, length)
    torch.testing.assert_close(operator_matrix(loud, 1), loud.weight[..., 0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stack(8, 3), "layers must name"),
        (lambda: stack(8, []), "layers must name"),
        (lambda: count(8, 10**10, 2), "at most 268435456 counts, got 10000000014"),
    ],
)
def test_counts_that_cannot_be_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
