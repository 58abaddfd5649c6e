"""Weights of published HiFi-GAN generators load into the recipe's generator and sound the same; others are refused."""

import re

import pytest
import reference
import torch
from published_models import BLOCK_2, HIFIGAN, OTHER_KERNELS, hifigan
from reference import assert_close
from torch import nn
from torch.nn.utils import parametrizations, weight_norm
from vocoder.model import GeneratorShape
from vocoder.published import generator_from, read_shape

one_thread = reference.one_thread
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")


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


HUGE = [2**20, 2**34, 2**60, 10**30]


@pytest.mark.parametrize("size", HUGE)
@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("num_mels", lambda n: n),
        ("upsample_initial_channel", lambda n: n),
        ("upsample_rates", lambda n: [n, 4, 2]),
        ("upsample_kernel_sizes", lambda n: [n, 8, 4]),
        ("resblock_kernel_sizes", lambda n: [3, n + 1]),
        ("resblock_dilation_sizes", lambda n: [[1, 3, 5], [1, 3, n]]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sizes_of_no_vocoder_are_refused(key, change, size):
    with pytest.raises(ValueError, match=rf"^{key} must be positive integers below 1048576, got .*{size // 10}"):
        generator_from(hifigan()[0].state_dict(), HIFIGAN | {key: change(size)})


def test_sizes_that_no_memory_holds_are_refused_for_their_shapes():
    huge = {
        "num_mels": 2**20 - 1,
        "upsample_initial_channel": 2**19,
        "upsample_kernel_sizes": [2**20 - 2] * 3,
        "resblock_kernel_sizes": [2**20 - 1] * 2,
    }
    with pytest.raises(ValueError, match=r"^weights do not fit the configuration: 81 of another shape: conv_pre\.bias"):
        generator_from(hifigan()[0].state_dict(), HIFIGAN | huge)


@pytest.mark.parametrize("key", ["ups.1.weight_g", "ups.1.weight_v", "resblocks.3.convs2.1.bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(key, value):
    weights = hifigan()[0].state_dict()
    weights[key].view(-1)[-1] = value
    with pytest.raises(ValueError, match=rf"^{re.escape(re.sub('_[gv]$', '', key))} holds values that are not finite$"):
        generator_from(weights, HIFIGAN)
