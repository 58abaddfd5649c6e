"""Many small upsampling networks trained at once on rows of photographs: how often a kernel ends up flat."""

import torch
import torch.nn.functional as F
from gan.data import photographs
from torch import Tensor

NETWORKS = 100
CHANNELS = 8
FRAMES = 32
BATCH = 16
SLOPE = 0.2


def tones_after_training(size: int, steps: int, data: str = "photos", seed: int = 0) -> tuple[Tensor, Tensor]:
    """Train to double the length of rows of photographs, from as many beginnings as there are networks.

    Each network is a convolution, a LeakyReLU and a transposed convolution of ``size`` taps at stride 2; all see the
    same rows. Adam, mean squared error.

    Args:
        size: Taps of the transposed convolution.
        steps: Of training.
        data: Photographs, as in `gan.data.photographs`.
        seed: Decides all weights and rows.

    Returns:
        The line at half the sample rate for a constant at the rows' rms, over the constant that comes out, in dB,
        of each network before and after.
    """
    generator = torch.Generator().manual_seed(seed)
    images = photographs(data, 2 * FRAMES)
    narrowest = min(image.shape[2] for image in images)
    rows = torch.cat([image.mean(0)[:, :narrowest] for image in images])

    def uniform(*shape: int, fan: int) -> Tensor:
        return ((2 * torch.rand(*shape, generator=generator) - 1) / fan**0.5).requires_grad_()

    weights = [
        uniform(NETWORKS * CHANNELS, 1, 3, fan=3),
        uniform(NETWORKS * CHANNELS, fan=3),
        uniform(NETWORKS * CHANNELS, 1, size, fan=CHANNELS * size // 2),
    ]

    def run(x: Tensor) -> Tensor:
        y = F.leaky_relu(F.conv1d(x, weights[0], weights[1], padding=1, groups=NETWORKS), SLOPE)
        return F.conv_transpose1d(y, weights[2], stride=2, groups=NETWORKS)

    # A network's transposed convolution sums its channels: that of torch wants (in, out / groups, taps).
    def lines() -> Tensor:
        with torch.no_grad():
            level = rows.square().mean().sqrt()
            y = run(level.expand(1, NETWORKS, 4 * size))[0, :, 2 * size : -2 * size]
            even, odd = y[:, 0::2].mean(1), y[:, 1::2].mean(1)
            return 20 * torch.log10(((even - odd) / (even + odd)).abs())

    before = lines()
    optimizer = torch.optim.Adam(weights, 1e-2)
    for _ in range(steps):
        which = torch.randint(len(rows), (BATCH,), generator=generator)
        start = int(torch.randint(rows.shape[1] - 2 * FRAMES + 1, (1,), generator=generator))
        wanted = rows[which, start : start + 2 * FRAMES]
        x = F.avg_pool1d(wanted[:, None], 2).expand(-1, NETWORKS, -1)
        made = run(x)
        first = (made.shape[-1] - 2 * FRAMES) // 2
        loss = (made[..., first : first + 2 * FRAMES] - wanted[:, None]).square().mean((0, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, lines()
