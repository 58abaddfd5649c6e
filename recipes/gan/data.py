"""Patches of photographs: two that come with scikit-learn, or a folder of your own."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SHRINK = 2  # photographs are halved, which takes JPEG's noise away and puts more into a patch
MOST_PHOTOGRAPHS = 2000


def photographs(data: str, least: int) -> list[Tensor]:
    """Read photographs as ``(3, H, W)`` from -1 to 1, halved.

    Args:
        data: ``photos`` for the two of scikit-learn, or a folder, with or without a folder for each class.
        least: Samples that both sides must have after halving; smaller ones are left out.

    Raises:
        ValueError: If the folder does not exist, holds no image that is large enough, or one cannot be read.
    """
    if data == "photos":
        from sklearn.datasets import load_sample_images

        arrays: Sequence[np.ndarray] = load_sample_images().images
    else:
        arrays = [_read(path) for path in _files(Path(data).expanduser())]
    halves = [_halve(array) for array in arrays]
    kept = [image for image in halves if min(image.shape[1:]) >= least]
    if not kept:
        raise ValueError(f"{data}: no image has {least * SHRINK} samples or more along both sides")
    return kept


class Patches:
    """Random square patches of photographs, half of them mirrored; which ones is a function of the generator's state.

    Args:
        images: As `photographs` returns them; each is drawn as often as any other.
        size: Of the patches.
    """

    def __init__(self, images: Sequence[Tensor], size: int) -> None:
        self.images, self.size = images, size

    def draw(self, n: int) -> Tensor:
        """Draw ``n`` patches, shape ``(n, 3, size, size)``."""
        patches = []
        for which, down, across, mirror in torch.rand(n, 4).tolist():
            image = self.images[int(which * len(self.images))]
            top, left = (
                int(u * (side - self.size + 1)) for u, side in zip((down, across), image.shape[1:], strict=True)
            )
            patch = image[:, top : top + self.size, left : left + self.size]
            patches.append(patch.flip(-1) if mirror < 0.5 else patch)
        return torch.stack(patches)

    def fingerprint(self) -> str:
        """Return a hash of all that can be drawn."""
        content = hashlib.sha256(str(self.size).encode())
        for image in self.images:
            content.update(image.numpy().tobytes())
        return content.hexdigest()


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"data must be photos or a folder of images, got {folder}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(found) > MOST_PHOTOGRAPHS:
        raise ValueError(f"{folder} holds {len(found)} images; at most {MOST_PHOTOGRAPHS} are kept in memory")
    return found


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _halve(array: np.ndarray) -> Tensor:
    image = torch.tensor(array).permute(2, 0, 1).float() / 127.5 - 1
    return torch.nn.functional.avg_pool2d(image, SHRINK)
