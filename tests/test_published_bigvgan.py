"""Weights of published BigVGAN generators load into the recipe's generator and sound the same away from the edges."""

import math

import pytest
import reference
import torch
from published_models import BIGVGAN, BLOCK_2, bigvgan
from reference import assert_close
from vocoder.published import generator_from

one_thread = reference.one_thread
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")


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


def test_two_names_of_one_weight_are_refused():
    weights = bigvgan(BIGVGAN, 4)[0].state_dict()
    weights["ups.0.bias"] = weights["ups.0.0.bias"]
    with pytest.raises(ValueError, match=r"^ups\.0\.bias is there twice"):
        generator_from(weights, BIGVGAN)
