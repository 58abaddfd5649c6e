"""What cannot be streamed is refused by its path, with what can."""

import pytest
import reference
import torch
import torch.nn.functional as F
from torch import nn

from audioup import (
    Oversampled,
    SubPixelConv1d,
    TransposedConv2d,
)
from audioup.streaming import Stream

one_thread = reference.one_thread


class ByLength(nn.Module):
    def forward(self, x):
        return x if x.shape[-1] > 3 else 2 * x


class Aliased(nn.Module):
    def forward(self, x):
        y = x
        y += 1
        return x + y


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 5)

    def forward(self, x):
        return self.a(x) + self.b(x)


class OverTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.window = nn.Parameter(torch.rand(9))

    def forward(self, x):
        return x * self.window


class Two(nn.Module):
    def forward(self, x):
        return x, x


def hooked():
    layer = nn.Conv1d(4, 4, 3)
    layer.register_forward_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("error", "words", "module"),
    [
        (TypeError, "^1 cannot be streamed; what can be", nn.Sequential(nn.Conv1d(4, 4, 3), nn.LSTM(4, 4))),
        (TypeError, "^Softmax cannot", nn.Softmax(1)),
        (TypeError, "^0 cannot", nn.Sequential(nn.Conv2d(4, 4, 3))),
        (TypeError, "^TransposedConv2d cannot|^ConvTranspose2d cannot", TransposedConv2d(4, 4, 4, 2)),
        (TypeError, "^ReflectionPad1d cannot", nn.ReflectionPad1d(2)),
        (TypeError, "^0.1 cannot be streamed: .*control flow", nn.Sequential(nn.Sequential(nn.Tanh(), ByLength()))),
        (TypeError, "module must return one tensor", Two()),
        (TypeError, "module must be a torch.nn.Module, got function", F.relu),
        (ValueError, "^0 has stride 2: only", nn.Sequential(nn.Conv1d(4, 4, 3, stride=2))),
        (ValueError, "^0 has padding_mode 'reflect'", nn.Sequential(nn.Conv1d(4, 4, 3, padding_mode="reflect"))),
        (ValueError, "^SubPixelConv1d has padding_mode 'circ", SubPixelConv1d(4, 4, 3, 2, padding_mode="circular")),
        (ValueError, "^Oversampled has padding_mode 'reflect'", Oversampled(nn.ReLU(), padding_mode="reflect")),
        (ValueError, r"add in Branches joins signals of 1 T \+ -4 and 1 T \+ -2 samples", Branches()),
        (ValueError, "iadd in Aliased changes its input in place", Aliased()),
        (ValueError, r"mul in OverTime combines the signal with a tensor of shape \(9,\)", OverTime()),
        (ValueError, "Conv1d has forward hooks", hooked()),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_streamed(error, words, module):
    with pytest.raises(error, match=words):
        Stream(module)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_another_library_s_activation_is_refused_by_its_path():
    from bigvgan.bigvgan import BigVGAN
    from bigvgan.env import AttrDict

    sizes = {"num_mels": 8, "upsample_rates": [4], "upsample_kernel_sizes": [8], "upsample_initial_channel": 16}
    blocks = {"resblock": "1", "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}
    model = BigVGAN(AttrDict({**sizes, **blocks, "activation": "snakebeta", "snake_logscale": True}))
    with pytest.raises(TypeError, match=r"^resblocks\.0\.activations\.0\.upsample cannot be streamed"):
        Stream(model)
