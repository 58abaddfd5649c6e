"""Small HiFi-GAN and BigVGAN generators in their published layouts, every part of them heard."""

import copy
import warnings

import torch
from bigvgan.bigvgan import BigVGAN
from bigvgan.env import AttrDict
from reference import noise
from torch import nn
from torch.nn.utils import weight_norm

HIFIGAN = {
    "resblock": "1",
    "num_mels": 12,
    "upsample_initial_channel": 32,
    "upsample_rates": [8, 4, 2],
    "upsample_kernel_sizes": [16, 8, 4],
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
}
BLOCK_2 = HIFIGAN | {"resblock": "2", "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 2], [2, 6]]}
OTHER_KERNELS = HIFIGAN | {"upsample_rates": [5, 4, 3], "upsample_kernel_sizes": [11, 4, 9]}
BIGVGAN = HIFIGAN | {
    "upsample_initial_channel": 16,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "activation": "snakebeta",
    "snake_logscale": True,
}


class SlowHifigan(nn.Module):
    """Section 2.2 and appendix A.1 of the paper, layer after layer."""

    def __init__(self, config, norm=weight_norm):
        super().__init__()
        self.config = config
        channels = config["upsample_initial_channel"]
        self.conv_pre = norm(nn.Conv1d(config["num_mels"], channels, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, size in zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True):
            self.ups.append(norm(nn.ConvTranspose1d(channels, channels // 2, size, rate, padding=(size - rate) // 2)))
            channels //= 2
            for k, dilations in zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True):
                block = nn.Module()
                dilated = nn.ModuleList(
                    norm(nn.Conv1d(channels, channels, k, dilation=d, padding=d * (k - 1) // 2)) for d in dilations
                )
                if config["resblock"] == "1":
                    block.convs1 = dilated
                    block.convs2 = nn.ModuleList(
                        norm(nn.Conv1d(channels, channels, k, padding=(k - 1) // 2)) for _ in dilations
                    )
                else:
                    block.convs = dilated
                self.resblocks.append(block)
        self.conv_post = norm(nn.Conv1d(channels, 1, 7, padding=3))

    def forward(self, x):
        x = self.conv_pre(x)
        each = len(self.config["resblock_kernel_sizes"])
        for stage, up in enumerate(self.ups):
            x = up(torch.where(x > 0, x, 0.1 * x))
            total = 0
            for block in self.resblocks[stage * each : stage * each + each]:
                y = x
                for n in range(len(self.config["resblock_dilation_sizes"][0])):
                    if self.config["resblock"] == "1":
                        z = block.convs1[n](torch.where(y > 0, y, 0.1 * y))
                        y = y + block.convs2[n](torch.where(z > 0, z, 0.1 * z))
                    else:
                        y = y + block.convs[n](torch.where(y > 0, y, 0.1 * y))
                total = total + y
            x = total / each
        return torch.tanh(self.conv_post(torch.where(x > 0, x, 0.01 * x)))


def alive(model, mel, loudness):
    """Draw all parameters anew so that every part is heard: gains near 1, sound of that loudness before the bound."""
    for seed, (name, value) in enumerate(model.named_parameters()):
        drawn = noise(*value.shape, seed=seed, dtype=value.dtype)
        if name.endswith(("weight_g", "original0")):
            value.data = 0.6 + 0.1 * drawn
        elif name.endswith(("alpha", "beta")):
            value.data = 0.3 * drawn if model.h["snake_logscale"] else 1 + 0.2 * drawn.clamp(-3, 3)
        else:
            value.data = drawn if name.endswith(("weight_v", "original1")) else 0.1 * drawn
    heard = []
    hook = model.conv_post.register_forward_hook(lambda _, inputs, output: heard.append(output.detach()))
    with torch.no_grad():
        model(mel)
    hook.remove()
    (sound,), last = heard, dict(model.conv_post.named_parameters())
    scale = loudness / sound.std()
    next(value for name, value in last.items() if name.endswith(("weight_g", "original0"))).data *= scale
    if "bias" in last:
        last["bias"].data = last["bias"].data * scale - sound.mean() * scale
    return model.eval()


def hifigan(config=HIFIGAN, norm=weight_norm):
    mel = noise(2, config["num_mels"], 20, dtype=torch.float32)
    return alive(SlowHifigan(config, norm), mel, 0.5), mel


def bigvgan(config, frames=120):
    torch.manual_seed(0)
    mel = noise(1, config["num_mels"], frames, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = BigVGAN(AttrDict(copy.deepcopy(config)))
    return alive(model, mel, 0.7), mel
