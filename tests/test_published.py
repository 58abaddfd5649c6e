"""Weights of published HiFi-GAN and BigVGAN generators load into the recipe's generator and sound the same."""

import collections
import copy
import json
import math
import os
import re
import warnings

import pytest
import reference
import torch
from bigvgan.bigvgan import BigVGAN
from bigvgan.env import AttrDict
from reference import assert_close, noise
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, weight_norm
from vocoder.model import Generator, GeneratorShape
from vocoder.published import generator_from, read_published, read_shape

one_thread = reference.one_thread
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")

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


def reach(config):
    """Count the output samples that an edge of the input is heard in: all that the network looks back."""
    samples = 3 + 6  # the last convolution and its activation, which looks 6 samples either way
    for rate, size in zip(config["upsample_rates"][::-1], config["upsample_kernel_sizes"][::-1], strict=True):
        samples += max(
            sum((d + (config["resblock"] == "1")) * (k - 1) // 2 + 6 * (1 + (config["resblock"] == "1")) for d in each)
            for k, each in zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True)
        )
        samples = math.ceil((samples + size - rate) / rate)
    # No activation lies before the first upsampler, and the convolution there sees the same zeros.
    return samples * math.prod(config["upsample_rates"])


# ------------------------------------------------------------------------------------------------------------- HiFi-GAN


@pytest.mark.parametrize("norm", ["old", "new", "none"])
@pytest.mark.parametrize("config", [HIFIGAN, BLOCK_2, OTHER_KERNELS], ids=["block 1", "block 2", "other kernels"])
def test_hifigan_sounds_the_same(config, norm):
    model, mel = hifigan(config, parametrizations.weight_norm if norm == "new" else weight_norm)
    expected = model(mel)
    assert 0.5 < expected.abs().max() < 1
    assert expected.std() > 0.2
    if norm == "none":
        for module in model.modules():
            for hook in list(module._forward_pre_hooks.values()):
                nn.utils.remove_weight_norm(module, hook.name)
    generator = generator_from(model.state_dict(), config)
    assert not generator.training
    assert generator.shape.strides == tuple(config["upsample_rates"])
    assert_close(generator(mel), expected)


def test_every_weight_is_heard():
    # So that equal sound means equal weights everywhere.
    model, mel = hifigan()
    generator = generator_from(model.state_dict(), HIFIGAN)
    generator(mel).square().sum().backward()
    gradients = {name: value.grad.abs().max() for name, value in generator.named_parameters()}
    assert len(gradients) == 2 * (1 + 3 + 3 * 2 * 6 + 1)
    assert min(gradients.values()) > 1e-3


def test_half_precision_weights_are_read_into_float32():
    model, mel = hifigan()
    generator = generator_from({k: v.half() for k, v in model.state_dict().items()}, HIFIGAN)
    assert {value.dtype for value in generator.parameters()} == {torch.float32}
    assert (generator(mel) - model(mel)).abs().max() < 0.01


# -------------------------------------------------------------------------------------------------------------- BigVGAN


VARIANTS = {
    "v1": {},
    "v2": {"use_tanh_at_final": False, "use_bias_at_final": False},
    "snake": {"activation": "snake"},
    "linear scale": {"snake_logscale": False},
    "snake, linear scale, clipped": {"activation": "snake", "snake_logscale": False, "use_tanh_at_final": False},
    "block 2, no bias": {**BLOCK_2, "upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4]}
    | {"upsample_initial_channel": 16, "use_bias_at_final": False},
    "other kernels": {"upsample_rates": [3, 2], "upsample_kernel_sizes": [5, 6]},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_bigvgan_sounds_the_same_away_from_the_edges(variant):
    config = BIGVGAN | VARIANTS[variant]
    model, mel = bigvgan(config)
    with torch.no_grad():
        expected, actual = model(mel), generator_from(model.state_dict(), config)(mel)
    assert actual.shape == expected.shape
    inside = slice(reach(config), -reach(config))
    assert expected[..., inside].shape[-1] > 200
    assert expected[..., inside].std() > 0.2
    clipped = (expected.abs() == 1).float().mean()
    assert (0.01 < clipped < 0.5) == (not config.get("use_tanh_at_final", True))
    assert_close(actual[..., inside], expected[..., inside])
    # Not so at the edges, or the claim would be too modest; measured 2e-4 to 9e-4.
    assert 1e-4 < (actual - expected).abs().max() < 2e-3


def test_files_and_configuration_of_bigvgan_as_it_saves_them(tmp_path):
    model, mel = bigvgan(BIGVGAN, 150)
    model._save_pretrained(tmp_path)
    generator = generator_from(tmp_path / "bigvgan_generator.pt", str(tmp_path / "config.json"))
    with torch.no_grad():
        inside = slice(reach(BIGVGAN), -reach(BIGVGAN))
        assert_close(generator(mel)[..., inside], model(mel)[..., inside])


def test_differing_or_missing_filters_are_refused():
    weights = bigvgan(BIGVGAN, 4)[0].state_dict()
    changed = dict(weights)
    changed["resblocks.1.activations.2.downsample.lowpass.filter"] = torch.ones(1, 1, 12) / 12
    with pytest.raises(ValueError, match=r"^resblocks\.1\.activations\.2\.downsample\.lowpass\.filter differs from"):
        generator_from(changed, BIGVGAN)
    without = {key: value for key, value in weights.items() if not key.endswith("filter")}
    with pytest.raises(ValueError, match=r"^weights must hold the filters of the activations"):
        generator_from(without, BIGVGAN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "snake"}, r"left over: resblocks\.0\.activations\.0\.activation\.beta"),
        ({"activation": None}, r"left over: resblocks\.0\.activations\.0\.activation\.alpha"),
        ({"use_bias_at_final": False}, r"1 left over: conv_post\.bias$"),
    ],
    ids=str,
)
def test_a_configuration_of_another_bigvgan_is_refused(change, message):
    weights = bigvgan(BIGVGAN, 4)[0].state_dict()
    with pytest.raises(ValueError, match=message):
        generator_from(weights, BIGVGAN | change)


# ----------------------------------------------------------------------------------------------------------- what fails


def test_missing_surplus_and_misshaped_weights_are_named():
    weights = hifigan()[0].state_dict()
    for key in ("ups.1.bias", "resblocks.3.convs2.1.weight_g", "resblocks.3.convs2.1.weight_v"):
        del weights[key]
    weights["noises.0.gain"] = torch.ones(16, 1)
    weights["conv_post.bias"] = torch.ones(2)
    message = (
        "weights do not fit the configuration: 2 missing: ups.1.bias, resblocks.3.convs2.1.weight; "
        "1 left over: noises.0.gain; 1 of another shape: conv_post.bias (2,) for (1,)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        generator_from(weights, HIFIGAN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_mels": 13}, r"1 of another shape: conv_pre\.weight \(32, 12, 7\) for \(32, 13, 7\)"),
        ({"resblock": "2"}, r"36 missing.*convs\.0\.weight.*72 left over: resblocks\.0\.convs1\.0"),
        ({"upsample_kernel_sizes": [16, 8, 6]}, r"1 of another shape: ups\.2\.weight \(8, 4, 4\) for \(8, 4, 6\)"),
        ({"resblock_kernel_sizes": [3, 5]}, r"18 of another shape: resblocks\.1\.convs1\.0\.weight"),
        ({"upsample_rates": [8, 4], "upsample_kernel_sizes": [16, 8]}, r"left over: .*ups\.2\.weight"),
    ],
    ids=str,
)
def test_a_configuration_of_another_hifigan_is_refused(change, message):
    with pytest.raises(ValueError, match=rf"^weights do not fit the configuration: .*{message}"):
        generator_from(hifigan()[0].state_dict(), HIFIGAN | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"upsample_kernel_sizes": [16, 7, 4]}, "upsample_kernel_sizes of stage 1 must exceed its rate 4 by an even"),
        ({"upsample_kernel_sizes": [6, 8, 4]}, "upsample_kernel_sizes of stage 0 must exceed its rate 8"),
        ({"upsample_kernel_sizes": [16, 8]}, "upsample_kernel_sizes must be one for each of upsample_rates"),
        ({"upsample_rates": []}, "upsample_rates must be positive integers"),
        ({"upsample_rates": [8, 4, 2.0]}, "upsample_rates must be positive integers"),
        ({"upsample_rates": 8}, "upsample_rates must be positive integers"),
        ({"upsample_initial_channel": 36}, "channels must be divisible by 8, got 36"),
        ({"upsample_initial_channel": "32"}, "upsample_initial_channel must be positive integers"),
        ({"num_mels": 0}, "num_mels must be positive integers"),
        ({"num_mels": True}, "num_mels must be positive integers"),
        ({"resblock": "3"}, 'resblock must be "1" or "2", got \'3\''),
        ({"resblock_kernel_sizes": [3, 4]}, "resblock_kernel_sizes must be odd"),
        ({"resblock_dilation_sizes": [[1, 3, 5]]}, "resblock_dilation_sizes must be one list for each"),
        ({"resblock_dilation_sizes": 3}, "resblock_dilation_sizes must be one list for each"),
        ({"resblock_dilation_sizes": [[1, 3, 5], [1, 0, 5]]}, "resblock_dilation_sizes must be positive integers"),
        ({"activation": "relu"}, "activation must be one of leaky_relu, snake, snakebeta, got 'relu'"),
        ({"activation": "snake"}, "config lacks snake_logscale"),
        ({"activation": "snake", "snake_logscale": 1}, "snake_logscale must be true or false, got 1"),
        ({"use_tanh_at_final": "no"}, "use_tanh_at_final must be true or false, got 'no'"),
    ],
    ids=str,
)
def test_configurations_are_checked(change, message):
    weights = hifigan()[0].state_dict()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        generator_from(weights, HIFIGAN | change)


def test_missing_entries_are_all_named():
    with pytest.raises(ValueError, match=r"^config lacks num_mels, upsample_rates$"):
        read_shape({key: value for key, value in HIFIGAN.items() if key not in ("num_mels", "upsample_rates")})


def test_published_v1_is_the_preset_of_that_name():
    # config_v1.json of HiFi-GAN and the recipe's own table.
    config = HIFIGAN | {"num_mels": 80, "upsample_initial_channel": 512, "resblock_kernel_sizes": [3, 7, 11]}
    config |= {"upsample_rates": [8, 8, 2, 2], "upsample_kernel_sizes": [16, 16, 4, 4]}
    n_mels, shape = read_shape(config | {"resblock_dilation_sizes": [[1, 3, 5]] * 3, "batch_size": 16})
    assert n_mels == 80
    assert shape == GeneratorShape(
        (8, 8, 2, 2), 512, (3, 7, 11), ((1, 3, 5),) * 3, 2, upsampling_kernels=(16, 16, 4, 4)
    )


class Code:
    """Unpickles by calling a function."""

    def __reduce__(self):
        return os.mkdir, ("was_run",)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in generator"])
@pytest.mark.parametrize("name", ["g_02500000", "weights.safetensors"])
def test_files(tmp_path, name, wrapped):
    model, mel = hifigan()
    weights, path = model.state_dict(), tmp_path / name
    if name.endswith("safetensors"):
        save_file(dict(weights), path)
    else:
        torch.save({"generator": weights} if wrapped else weights, path)
    read = read_published(path)
    assert list(read) == list(weights) or name.endswith("safetensors")
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[key], weights[key]) for key in weights)
    (tmp_path / "config.json").write_text(json.dumps(HIFIGAN))
    assert_close(generator_from(str(path), tmp_path / "config.json")(mel), model(mel))


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"generator": Code()}, "g")
    with pytest.raises(
        ValueError, match=r"^g holds more than tensors \((posix|nt)\.mkdir\); code in a file is not run$"
    ):
        read_published("g")
    assert not (tmp_path / "was_run").exists()
    torch.load("g", weights_only=False)
    assert (tmp_path / "was_run").exists()


@pytest.mark.parametrize("name", ["g_02500000", "g.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_damaged_files(tmp_path, name, damage):
    path = tmp_path / name
    if name.endswith("safetensors"):
        save_file(dict(hifigan()[0].state_dict()), path)
    else:
        torch.save(hifigan()[0].state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"<html>not found</html>"}[damage])
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is damaged"):
        read_published(path)


@pytest.mark.parametrize("name", ["g_02500000", "g.safetensors"])
def test_a_missing_file_is_the_systems_error(tmp_path, name):
    with pytest.raises(FileNotFoundError):
        read_published(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_shape(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"mpd": {}, "msd": {}, "steps": 3}, "mpd, msd, steps"),
        ({"generator": {"backbone.weight": torch.ones(1)}}, "backbone.weight"),
        ({"generator": torch.ones(1)}, "generator"),
        ({}, "nothing"),
        (torch.ones(3), "Tensor"),
        (3, "int"),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_what_is_no_generator(tmp_path, content, found):
    torch.save(content, tmp_path / "g")
    with pytest.raises(ValueError, match=rf"g holds no HiFi-GAN or BigVGAN generator \(no conv_pre\), but {found}$"):
        read_published(tmp_path / "g")


def test_entries_that_are_no_weights():
    for wrong, kind in ((3, "int"), (torch.tensor(3), "torch.int64")):
        with pytest.raises(ValueError, match=rf"^the checkpoint must hold weights only, got steps of type .*{kind}"):
            read_published(collections.OrderedDict({"conv_pre.bias": torch.ones(1), "steps": wrong}))


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"], ids=repr)
def test_configurations_that_are_no_json_object(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} (is no JSON|must hold a JSON object)"):
        read_shape(path)


# ---------------------------------------------------------------------------------------------------- the options alone


@pytest.mark.parametrize("activation", ["snake", "snakebeta"])
def test_a_generator_with_snakes_has_a_gradient_everywhere(activation):
    torch.manual_seed(0)
    shape = GeneratorShape((4, 2), 16, (3, 5), ((1, 3), (1, 2)), 2, activation=activation)
    generator = Generator(10, shape, "regular-1", 0.1)
    generator(torch.randn(1, 10, 20)).square().sum().backward()
    gradients = {name: value.grad for name, value in generator.named_parameters()}
    assert sum("alpha" in name for name in gradients) == 2 * 2 * 4 + 1
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())


def test_upsampling_kernels_are_for_transposed_convolutions_only():
    shape = GeneratorShape((4, 2), 16, (3,), ((1, 3),), 2, upsampling_kernels=(12, 6))
    assert [up.kernel_size for up in Generator(10, shape, "transposed").ups] == [12, 6]
    for upsampler, kernels in (("subpixel", (12, 6)), ("transposed", (12,))):
        wrong = GeneratorShape((4, 2), 16, (3,), ((1, 3),), 2, upsampling_kernels=kernels)
        with pytest.raises(ValueError, match=r"^upsampling_kernels must be one for each of the strides \(4, 2\)"):
            Generator(10, wrong, upsampler)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"^activation must be one of leaky_relu, snake, snakebeta, got 'gelu'"):
        Generator(10, GeneratorShape((4, 2), 16, (3,), ((1, 3),), 2, activation="gelu"), "transposed")
