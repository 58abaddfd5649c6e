"""Inspection: what it says of a layer, and what its table shows."""

import json

import pytest
import torch
from torch import nn

from audioup import (
    ResizeConv1d,
    SubPixelConv1d,
    TransposedConv1d,
    filter_response,
    inspect_model,
    regular,
    regularity_order,
    tonal_fraction,
)

KEYS = [
    "name",
    "kind",
    "stride",
    "kernel_size",
    "in_channels",
    "out_channels",
    "overlap",
    "tonal_fraction_db",
    "regularity_order",
    "lines_hz",
]


def test_known_kernels_have_known_numbers() -> None:
    layer = nn.ConvTranspose1d(1, 1, 3, 2, bias=False)
    layer.weight.data = torch.ones(1, 1, 3)  # overlap 1, 2: a ninth of the power beside 1
    (row,) = inspect_model(nn.Sequential(layer), 16000).layers
    values = row.to_dict()
    assert list(values)[: len(KEYS)] == KEYS
    assert {key: values[key] for key in KEYS} == {
        "name": "0",
        "kind": "ConvTranspose1d",
        "stride": 2,
        "kernel_size": 3,
        "in_channels": 1,
        "out_channels": 1,
        "overlap": "uneven",
        "tonal_fraction_db": pytest.approx(-10),
        "regularity_order": 0,
        "lines_hz": (8000.0,),
    }
    assert values["response"] == filter_response(torch.ones(1, 1, 3), 2).to_dict()


def test_every_layer_of_a_schedule_writes_at_its_own_rate() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        TransposedConv1d(8, 4, 16, 8),
        nn.Conv1d(4, 4, 3),
        SubPixelConv1d(4, 4, 3, 5),
        nn.Upsample(scale_factor=2),
        nn.Conv1d(4, 2, 3, padding=1),
        ResizeConv1d(2, 1, 5, 2, mode="linear"),
        TransposedConv1d(1, 1, 3, 1),
    )
    found = inspect_model(model, 16000)
    assert found.strides == (8, 5, 2, 2)
    assert [one.name for one in found.layers] == ["0", "2", "4", "5"]
    assert [one.kind for one in found.layers] == [
        "TransposedConv1d",
        "SubPixelConv1d",
        "Upsample + Conv1d",
        "ResizeConv1d",
    ]
    # 16000 / 160 = 100 frames a second.
    assert [one.lines_hz for one in found.layers] == [
        (100, 200, 300, 400),
        (800, 1600),
        (4000,),
        (8000,),
    ]
    assert [one.regularity_order for one in found.layers][2:] == [1, 3]
    for one, layer in zip(found.layers, (model[0], model[2], model[4], model[5]), strict=True):
        if one.name != "4":
            fraction = float(tonal_fraction(layer.kernel().detach(), layer.stride))
            assert one.tonal_fraction_db == max(-300, fraction)
    assert inspect_model(model).layers[0].lines_hz == ()


def test_lengths_that_are_no_multiple_do_not_hide_a_layer() -> None:
    # HiFi-GAN's padding with an odd kernel: one sample too many, which `convert` leaves alone.
    model = nn.Sequential(nn.ConvTranspose1d(4, 2, 7, 4, 1), nn.ConvTranspose1d(2, 1, 2, 3))
    found = inspect_model(model)
    assert [(one.kernel_size, one.overlap) for one in found.layers] == [(7, "uneven"), (2, "gap")]
    assert not found.skipped


def test_what_cannot_be_read_is_named() -> None:
    model = nn.Sequential(nn.Upsample(scale_factor=2), nn.ReLU(), nn.ConvTranspose1d(2, 1, 4, 2, dilation=2))
    found = inspect_model(model)
    assert not found.layers
    assert [(one.name, one.kind) for one in found.skipped] == [("0", "Upsample"), ("2", "ConvTranspose1d")]
    assert "dilated" in found.skipped[1].reason
    assert str(found).startswith("nothing that upsamples\nskipped 0 (Upsample): ")


def test_an_inspection_changes_nothing_and_needs_no_gradient_mode() -> None:
    model = nn.Sequential(regular(TransposedConv1d(2, 1, 12, 4)), nn.ConvTranspose1d(1, 1, 5, 4)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    inspect_model(model)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(value.requires_grad for value in model.parameters())


def test_the_table_shows_all_and_obeys_no_name() -> None:
    model = nn.Module()
    model.add_module("up\x1b[31m\n\u202ename", nn.ConvTranspose1d(8, 4, 20, 10))
    model.add_module("image", nn.ConvTranspose2d(8, 4, (4, 3), 2))
    text = str(inspect_model(model, 44100))
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}
    head, first, second, _ = text.splitlines()
    assert head.split() == [
        "layer",
        "kind",
        "stride",
        "kernel",
        "channels",
        "overlap",
        "tone",
        "order",
        "image",
        "lines,",
        "Hz",
    ]
    assert r"up\x1b[31m\n\u202ename" in first
    assert first.endswith("4410, 8820, 13230, 17640, ...")
    assert "2x2" in second
    assert "uneven" in second


def test_json_has_no_infinities() -> None:
    layer = nn.ConvTranspose1d(1, 1, 2, 4, bias=False)  # gaps: two phases have no taps
    silent = nn.ConvTranspose1d(1, 1, 4, 4)
    silent.weight.data.zero_()
    numbers = json.dumps(inspect_model(nn.Sequential(layer, silent), 8000).to_dict(), allow_nan=False)
    first, second = json.loads(numbers)["layers"]
    assert first["response"]["phase_power_db"] is None
    assert (second["response"], second["tonal_fraction_db"]) == (None, -300)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((nn.Conv1d(1, 1, 3),), ValueError, "nothing in Conv1d upsamples"),
        ((nn.ConvTranspose1d(1, 1, 4, 2), 0), ValueError, "sample_rate must be an integer >= 1, got 0"),
        ((nn.ConvTranspose1d(1, 1, 4, 2), 8000, (2,)), ValueError, "a module knows its strides"),
        ((3,), TypeError, "model must be a torch.nn.Module or a path, got int"),
    ],
)
def test_refusals_name_the_argument(given: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        inspect_model(*given)


def test_many_layers_and_long_kernels_are_described_without_what_takes_minutes() -> None:
    def described(count: int, taps: int):
        layers = [nn.ConvTranspose1d(1, 1, taps, 16, bias=False) for _ in range(count)]
        for layer in layers:
            layer.weight.data = torch.ones(1, 1, taps)
        return inspect_model(nn.Sequential(*layers)).layers

    rows = described(600, 64)
    measured = [row.response is not None for row in rows]
    assert measured == sorted(measured, reverse=True)  # the first
    assert 100 < sum(measured) < 600
    assert {row.regularity_order for row in rows[:100]} == {regularity_order(torch.ones(64), 16)}
    assert {row.regularity_order for row in described(1, 2048)} == {1}  # order 1 or more: ones have equal gains
    (row,) = described(1, 2041)
    assert (row.regularity_order, row.overlap) == (0, "uneven")
