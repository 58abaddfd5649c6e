"""Patches of photographs: two that come with scikit-learn, or a folder of your own."""

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SHRINK = 2  # photographs are halved, which takes JPEG's noise away and puts more into a patch
MOST_PHOTOGRAPHS = 2000
MOST_PIXELS = 2**26  # of one image; as float32 they take 0.8 GB before they are halved


def photographs(data: str, least: int) -> list[Tensor]:
    """Read photographs as ``(3, H, W)`` from -1 to 1, halved.

    Args:
        data: ``photos`` for the two of scikit-learn, or a folder, with or without a folder for each class.
        least: Samples that both sides must have after halving; smaller ones are left out, and named.

    Raises:
        ValueError: If the folder does not exist, holds none that is large enough, or one is too large or unreadable.
    """
    if data == "photos":
        from sklearn.datasets import load_sample_images

        arrays: Iterable[np.ndarray] = load_sample_images().images
    else:
        arrays = (
            array for path in _files(Path(data).expanduser()) if (array := _read(path, least * SHRINK)) is not None
        )
    kept = [_halve(array) for array in arrays if min(array.shape[:2]) >= least * SHRINK]
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

    def draw(self, n: int, part: slice = slice(None)) -> Tensor:
        """Draw ``n`` patches, shape ``(n, 3, size, size)``, and return a part of them."""
        patches = []
        for which, down, across, mirror in torch.rand(n, 4)[part].tolist():
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


def _read(path: Path, least: int) -> np.ndarray | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound here is lower, and holds
            opened = Image.open(path)  # reads the header only
        with opened as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"{path} has {width} x {height} pixels; at most {MOST_PIXELS} are read")
            if min(width, height) < least:
                _leave_out(f"{path}, {width} x {height}: not {least} samples or more along both sides")
                return None
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


@cache  # photographs are read for several claims, and named once
def _leave_out(what: str) -> None:
    print(f"left out: {what}")


def _halve(array: np.ndarray) -> Tensor:
    # In place: of an image at the bound every copy is large.
    image = torch.tensor(array).permute(2, 0, 1).float().div_(127.5).sub_(1)
    return torch.nn.functional.avg_pool2d(image, SHRINK)
