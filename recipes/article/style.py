"""Style transfer by a small feed-forward network, its two upsampling layers deconvolutions or resize-convolutions."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from gan.data import Patches, photographs
from gan.models import upsampling
from gan.pictures import grid, write_png
from torch import Tensor, nn
from tqdm import tqdm
from train_gan import write_json
from vocoder.checkpoint import checkpoints, load_checkpoint, save_checkpoint

from article.draw import draw_dots
from article.earlier import load_finished, read_result, refuse_others
from article.outcome import Context, Outcome
from article.pretrained import Features
from audioup import checkerboard_energy

KINDS = {"transposed": "deconvolution", "resize-nearest": "resize-convolution"}
SEEDS = 3
STEPS, QUICK_STEPS = 300, 60
SAVE_EVERY = 100
BATCH, SIDE = 4, 64
TEST_SIDE, TESTS = 128, 16
SHOWN = 5
STYLE_SIDE = 128
WIDTH = 16
RATE = 1e-3
CONTENT_BLOCK, STYLE_BLOCKS = 2, (0, 2, 4, 7)
STYLE_WEIGHT = 2.0
REPORT = {"loss": float, "E2": float, "E4": float, "content": dict}


class Residual(nn.Module):
    """Add to the input what two convolutions make of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, channels, 3, 1), nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class TransferNetwork(nn.Module):
    """Repaint images ``(batch, 3, H, W)`` from -1 to 1, sides divisible by 4.

    Two convolutions of stride 2, three residual blocks, two upsampling layers of one kind, and a convolution.

    Source: Johnson, Alahi & Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution" (ECCV 2016),
    with instance normalisation (Ulyanov et al., 2016) and fewer channels.
    """

    def __init__(self, upsampler: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(3, WIDTH, 5, 1),
            *_convolution(WIDTH, 2 * WIDTH, 3, 2),
            *_convolution(2 * WIDTH, 4 * WIDTH, 3, 2),
            *(Residual(4 * WIDTH) for _ in range(3)),
            *_doubling(upsampler, 4 * WIDTH, 2 * WIDTH),
            *_doubling(upsampler, 2 * WIDTH, WIDTH),
            nn.Conv2d(WIDTH, 3, 5, padding=2, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class PerceptualLoss:
    """How far features are from the content's, and their correlations from the style's.

    Args:
        style: Image ``(1, 3, H, W)``.
    """

    def __init__(self, style: Tensor) -> None:
        self.features = Features(sorted({CONTENT_BLOCK, *STYLE_BLOCKS})).to(style.device)
        with torch.no_grad():
            self.style = [gram(found) for found in self.features(style)]

    def __call__(self, made: Tensor, content: Tensor) -> Tensor:
        """Return the loss of what was made of ``content``."""
        with torch.no_grad():
            wanted = self.features(content)
        found = self.features(made)
        blocks = sorted({CONTENT_BLOCK, *STYLE_BLOCKS})
        place = blocks.index(CONTENT_BLOCK)
        # Over the size of what is wanted, so that blocks count alike whatever their scale.
        loss = (found[place] - wanted[place]).square().mean() / wanted[place].square().mean()
        for block, x, style in zip(blocks, found, self.style, strict=True):
            if block in STYLE_BLOCKS:
                error = (gram(x) - style).square().mean() / style.square().mean()
                loss = loss + STYLE_WEIGHT / len(STYLE_BLOCKS) * error
        return loss


def gram(x: Tensor) -> Tensor:
    """Return the mean products of all pairs of channels, shape ``(batch, channels, channels)``.

    Source: Gatys, Ecker & Bethge, "Image style transfer using convolutional neural networks" (CVPR 2016).
    """
    flat = x.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def transfer(context: Context, limits: Mapping[str, float]) -> Outcome:
    """Train both networks, three seeds each, and measure what they make of patches of the photographs."""
    reports = {kind: [_trained(context, kind, seed) for seed in range(SEEDS)] for kind in KINDS}
    shares = {
        key: {KINDS[kind]: [report[key] for report in rows] for kind, rows in reports.items()} for key in ("E2", "E4")
    }
    content = reports["transposed"][0]["content"]
    draw_dots(shares, context.folder / "style.png", "Style transfer, one dot a seed; dashed: the content", content)
    patches = _test_patches(context)[:SHOWN]
    rows = [patches]
    for kind in KINDS:
        with torch.no_grad():
            rows.append(_finished(context, kind)(patches))
    middle = slice(TEST_SIDE // 4, 3 * TEST_SIDE // 4)  # a quarter, large enough to see every sample
    write_png(grid(torch.cat(rows)[..., middle, middle], SHOWN, zoom=3), context.folder / "style-images.png")
    deconvolution, resize = KINDS.values()
    return Outcome(
        {"content": content, **shares, "losses": {kind: [r["loss"] for r in runs] for kind, runs in reports.items()}},
        {
            f"{key}: every seed of deconvolution above every seed of resize-convolution": min(rows[deconvolution])
            > limits["ratio"] * max(rows[resize])
            for key, rows in shares.items()
        },
        "; ".join(
            f"{key} "
            + ", ".join(
                f"{name} {100 * statistics.fmean(values):.3g} % ({100 * min(values):.3g} to {100 * max(values):.3g})"
                for name, values in rows.items()
            )
            for key, rows in shares.items()
        )
        + f"; the content {100 * content['E2']:.2g}, {100 * content['E4']:.2g} %",
        {
            "style-images.png": "Content, and what is made of it with deconvolution and with resize-convolution.",
            "style.png": "Shares at periods 2 and 4.",
        },
    )


def _identity(context: Context) -> dict[str, Any]:
    # What a run must have in common with one that it goes on from.
    steps = QUICK_STEPS if context.quick else STEPS
    return {"steps": steps, "data": context.data, "photographs": context.photographs}


def _trained(context: Context, kind: str, seed: int) -> dict[str, Any]:
    folder = context.folder / "style" / f"{kind}-{seed}"
    identity = _identity(context)
    if (folder / "report.json").exists():
        report = read_result(folder / "report.json", REPORT)
        refuse_others(folder, report, identity)
        return report
    steps = identity["steps"]
    network, step, optimizer = _open(folder, kind, seed, identity)
    images = photographs(context.data, TEST_SIDE)
    patches = Patches(images, SIDE)
    criterion = PerceptualLoss(_style(images))
    loss = torch.zeros(())
    for now in tqdm(range(step, steps), initial=step, total=steps, desc=folder.name, leave=False):
        torch.manual_seed(seed * 1_000_003 + now + 1)
        content = patches.draw(BATCH)
        loss = criterion(network(content), content)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not loss.isfinite():
            raise FloatingPointError(f"{folder}: the loss is not finite at step {now + 1}")
        if (now + 1) % SAVE_EVERY == 0 or now + 1 == steps:
            state = {"optimizer": optimizer.state_dict(), "run": identity}
            save_checkpoint(folder, now + 1, {"network": network.state_dict()}, state)
    tests = _test_patches(context)
    with torch.no_grad():
        made, value = network(tests), float(criterion(network(tests), tests))
    report = {
        **identity,
        "loss": value,
        **{f"E{period}": checkerboard_energy(made, period).mean().item() for period in (2, 4)},
        "content": {f"E{period}": checkerboard_energy(tests, period).mean().item() for period in (2, 4)},
    }
    write_json(report, folder / "report.json")
    return report


def _open(
    folder: Path, kind: str, seed: int, identity: dict[str, Any]
) -> tuple[TransferNetwork, int, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = TransferNetwork(kind)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    saved = checkpoints(folder)
    if not saved:
        return network, 0, optimizer
    weights, state = load_checkpoint(saved[-1], ("network",))
    refuse_others(folder, state.get("run", {}), identity)
    network.load_state_dict(weights["network"])
    optimizer.load_state_dict(state["optimizer"])
    return network, state["step"], optimizer


def _finished(context: Context, kind: str) -> TransferNetwork:
    network = TransferNetwork(kind)
    load_finished(network, "network", _identity(context)["steps"], context.folder / "style" / f"{kind}-0")
    return network


def _style(images: list[Tensor]) -> Tensor:
    # The middle of the last photograph: of scikit-learn's, the flower.
    height, width = images[-1].shape[1:]
    top, left = (height - STYLE_SIDE) // 2, (width - STYLE_SIDE) // 2
    return images[-1][None, :, top : top + STYLE_SIDE, left : left + STYLE_SIDE]


def _test_patches(context: Context) -> Tensor:
    torch.manual_seed(0)
    return Patches(photographs(context.data, TEST_SIDE), TEST_SIDE).draw(TESTS)


def _convolution(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, padding_mode="reflect")
    return [layer, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU()]


def _doubling(upsampler: str, inputs: int, outputs: int) -> list[nn.Module]:
    return [upsampling(upsampler, inputs, outputs), nn.InstanceNorm2d(outputs, affine=True), nn.ReLU()]
