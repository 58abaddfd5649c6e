"""Generators as others publish them, untrained: their upsampling is found, swapped and folded."""

import pytest
import torch
from bigvgan.bigvgan import BigVGAN
from bigvgan.env import AttrDict
from encodec.modules import SEANetDecoder
from reference import noise, one_thread  # noqa: F401
from torch import nn
from vocos.heads import ISTFTHead
from vocos.models import VocosBackbone

from audioup import convert, fold, regularity_order
from audioup.convert import find
from audioup.layer import UpsamplingLayer

TARGETS = ("transposed", "subpixel", "resize-nearest", "resize-linear", "resize-sinc", "regular-1", "regular-2")
ORDERS = {"resize-nearest": 1, "resize-linear": 1, "resize-sinc": 1, "regular-1": 1, "regular-2": 2}


def bigvgan() -> nn.Module:
    return BigVGAN(
        AttrDict(
            num_mels=20,
            upsample_rates=[4, 3, 2],
            upsample_kernel_sizes=[8, 7, 4],
            upsample_initial_channel=32,
            resblock="1",
            resblock_kernel_sizes=[3, 5],
            resblock_dilation_sizes=[[1, 3, 5], [1, 3, 5]],
            activation="snakebeta",
            snake_logscale=True,
        )
    )


def encodec(**options: object) -> nn.Module:
    return SEANetDecoder(dimension=20, n_filters=4, ratios=[5, 4, 3, 2], **options)


MODELS = {
    "bigvgan": (bigvgan, 3, 24),
    "encodec 24 kHz": (lambda: encodec(causal=True), 4, 120),
    "encodec centred": (lambda: encodec(causal=False), 4, 120),
    "encodec trimmed at both ends": (lambda: encodec(causal=True, trim_right_ratio=0.5), 4, 120),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("to", TARGETS)
def test_every_stage_is_swapped_and_the_model_still_works(name: str, to: str):
    build, stages, hop_length = MODELS[name]
    torch.manual_seed(0)
    model = build().eval()
    x = noise(2, 20, 12, dtype=torch.float32)
    with torch.no_grad():
        expected = model(x)
        conversion = convert(model, to)
        sound = model(x)
        folded = fold(model)(x)
    assert len(conversion.layers) == stages
    assert conversion.skipped == ()
    assert not [m for m in model.modules() if isinstance(m, nn.ConvTranspose1d)]
    assert sound.shape == expected.shape == (2, 1, hop_length * 12)
    assert (folded - sound).abs().max() < 1e-5 * sound.abs().max()
    if to in ("transposed", "subpixel"):
        assert (sound - expected).abs().max() < 1e-5 * expected.abs().max()
    else:
        layers = [m for m in model.modules() if isinstance(m, UpsamplingLayer)]
        orders = [regularity_order(m.kernel(), m.stride, tolerance=1e-5) for m in layers]
        assert min(orders) >= ORDERS[to]
        assert (sound - expected).abs().max() > 1e-4 * expected.abs().max()
    model.train()(x).square().mean().backward()
    parameters = [p for m in model.modules() if isinstance(m, UpsamplingLayer) for p in m.parameters()]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in parameters)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_a_norm_before_the_crop_is_not_passed_over():
    # EnCodec at 48 kHz norms the uncropped output: no kernel does that.
    conversion = convert(encodec(norm="time_group_norm"), "subpixel")
    assert conversion.layers == ()
    assert [row.name for row in conversion.skipped] == [f"model.{n}.convtr.convtr" for n in (3, 6, 9, 12)]


def test_vocos_has_no_upsampling_layer_to_swap():
    model = nn.Sequential(VocosBackbone(20, 32, 64, 2), ISTFTHead(32, 64, 16))
    assert find(model) == ([], [])
    assert str(convert(model, "regular-1")) == "nothing was converted"
