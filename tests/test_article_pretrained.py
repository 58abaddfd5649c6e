"""What the article's claims need a trained network for: it knows the photographs, and its gradients have lines."""

from pathlib import Path

import pytest
import reference
import torch
from article import dream, gradients, style
from article.outcome import Context
from article.pretrained import STRIDES, Features, classifier, classify, normalised
from gan.data import photographs

one_thread = reference.one_thread


def test_the_weights_know_the_photographs() -> None:
    temple, flower = photographs("photos", 200)
    assert {442, 698} & set(classify(temple, 2))  # bell cote, palace
    assert classify(flower, 1) == [985]  # daisy


def test_features_are_those_of_the_network() -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = Features([0, 2, 4, 7, 15])(images)
    assert [x.shape[-1] for x in found] == [32, 16, 8, 4, 2]
    network = classifier()
    with torch.no_grad():
        head = network._swish(network._bn1(network._conv_head(found[-1])))
        torch.testing.assert_close(head, network.extract_features(normalised(images)))
    assert len(STRIDES) == 5


def test_normalisation() -> None:
    assert normalised(torch.tensor([-1.0, 1.0])).tolist() == pytest.approx([-127 / 128, 1.0])


def test_max_pooling_is_rougher_than_l2_pooling(tmp_path: Path) -> None:
    outcome = gradients.pooling(Context(tmp_path), {"smoother": 1.0, "locked": 0.1})
    assert outcome.checks["max pooling is the more broadband"]
    assert outcome.checks["L2 pooling is smoother"]
    assert (tmp_path / "pooling.png").exists()


def test_dreams_at_one_offset_have_more_energy_at_period_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dream, "QUICK_STEPS", 48)
    outcome = dream.offsets(Context(tmp_path, quick=True), {"ratio": 1.0})
    assert outcome.measured["steps"] == 48
    assert outcome.holds, outcome.summary


def test_a_transfer_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIDE": 32, "TEST_SIDE": 32, "TESTS": 2, "SAVE_EVERY": 1, "BATCH": 1}.items():
        monkeypatch.setattr(style, name, value)
    monkeypatch.setattr(style, "QUICK_STEPS", 2)
    whole = style._trained(Context(tmp_path / "whole", quick=True), "transposed", 0)
    save = style.save_checkpoint

    def interrupted(*given):
        save(*given)
        raise KeyboardInterrupt

    context = Context(tmp_path / "parts", quick=True)
    monkeypatch.setattr(style, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        style._trained(context, "transposed", 0)
    assert [path.name for path in (tmp_path / "parts" / "style" / "transposed-0").iterdir()] == ["step-000001"]
    monkeypatch.setattr(style, "save_checkpoint", save)
    parts = style._trained(context, "transposed", 0)
    assert parts == whole
    monkeypatch.setattr(style, "QUICK_STEPS", 3)
    with pytest.raises(ValueError, match=r"was trained with other options .steps: 2 then, 3 now"):
        style._trained(context, "transposed", 0)
