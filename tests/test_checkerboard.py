"""Checkerboard energy: known lines, white noise, edges, and what is refused."""

import math

import pytest
import torch

from audioup import checkerboard_energy


def by_the_definition(images: torch.Tensor, period: int) -> torch.Tensor:
    height, width = (n - n % period for n in images.shape[-2:])
    x = images[..., :height, :width].double()
    x = x - x.mean((-2, -1), keepdim=True)
    power = torch.fft.fft2(x).abs().square().sum(-3)
    chosen = torch.zeros(height, width, dtype=torch.bool)

    def at(p: int) -> torch.Tensor:
        bins = torch.zeros(height, width, dtype=torch.bool)
        bins[:: height // p, :: width // p] = True
        return bins

    chosen |= at(period)
    for shorter in range(1, period):
        if period % shorter == 0:
            chosen &= ~at(shorter)
    return (power * chosen).sum((-2, -1)) / power.sum((-2, -1))


@pytest.mark.parametrize("period", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("size", [(24, 24), (25, 31)])
def test_it_is_its_definition(period: int, size: tuple[int, int]) -> None:
    images = torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0)) + 5
    torch.testing.assert_close(checkerboard_energy(images, period), by_the_definition(images, period))


def test_known_lines() -> None:
    row = torch.arange(32, dtype=torch.float64)
    quarter, half = torch.cos(math.pi / 2 * row), torch.cos(math.pi * row)
    image = 3 + 2 * half[:, None] + quarter[None, :] * torch.ones(32, 1) + torch.sin(2 * math.pi * 3 / 32 * row)
    energies = [checkerboard_energy(image[None], period).item() for period in (2, 4, 8)]
    assert energies == pytest.approx([4 / 5, 1 / 10, 0], abs=1e-12)  # powers 4, 1/2 and 1/2


def test_the_example_of_an_uneven_overlap() -> None:
    from audioup.overlap import count2d

    inside = count2d((20, 20), 3, 2)[4:36, 4:36].double()
    assert checkerboard_energy(inside[None], 2).item() == pytest.approx(1)
    twice = torch.kron(torch.ones(8, 8), torch.outer(*[torch.tensor([3.0, 2.0, 3.0, 1.0])] * 2))
    energies = [checkerboard_energy(twice[None], period).item() for period in (2, 4)]
    # Along an axis the lines over the mean are 1/3 at 1/2 and 1/9 at 1/4 and 3/4; their products along both.
    half, quarter = 1 / 9, 2 / 81
    assert energies == pytest.approx(
        [
            x / ((1 + half + quarter) ** 2 - 1)
            for x in ((1 + half) ** 2 - 1, (1 + half + quarter) ** 2 - (1 + half) ** 2)
        ]
    )


@pytest.mark.parametrize(("period", "bins"), [(2, 3), (4, 12)])
def test_white_noise_has_the_share_of_the_bins(period: int, bins: int) -> None:
    noise = torch.randn(2000, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert checkerboard_energy(noise, period).mean().item() == pytest.approx(bins / 1023, rel=0.03)


def test_each_image_of_a_batch_has_a_share_of_its_own() -> None:
    noise = torch.randn(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    together = checkerboard_energy(noise, 2)
    assert together.shape == (2, 5)
    assert together[1, 3] == checkerboard_energy(noise[1, 3], 2)


def test_what_is_flat_has_none() -> None:
    assert checkerboard_energy(torch.full((1, 8, 8), 0.1), 2) == 0
    assert checkerboard_energy(torch.zeros(1, 8, 8), 2) == 0
    # A little is not nothing.
    faint = torch.full((1, 8, 8), 0.1)
    faint[:, ::2] += 1e-5
    assert checkerboard_energy(faint, 2) == pytest.approx(1)


@pytest.mark.parametrize(
    ("images", "period", "message"),
    [
        (torch.ones(1, 8, 8), 1, "period must be at least 2"),
        (torch.ones(1, 8, 8), 2.0, "period must be an integer"),
        (torch.ones(8, 8), 2, "images must be floating point"),
        (torch.ones(1, 8, 8).long(), 2, "images must be floating point"),
        (torch.ones(0, 8, 8), 2, "images must be floating point"),
        (torch.ones(1, 8, 3), 4, "at least period = 4 high and wide"),
        (torch.full((1, 8, 8), torch.nan), 2, "NaN or infinity"),
    ],
)
def test_refusals(images: torch.Tensor, period: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checkerboard_energy(images, period)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1.0])
def test_any_scale_has_the_same_share(scale):
    board = scale * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64).repeat(1, 8, 8)
    assert checkerboard_energy(board, 2) == 1
    assert checkerboard_energy(torch.stack([board, 0 * board]), 2).tolist() == [1, 0]


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match="images must be floating point"):
        checkerboard_energy(torch.zeros(0, 3, 8, 8), 2)
