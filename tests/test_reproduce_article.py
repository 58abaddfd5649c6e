"""The program that measures the claims: what it keeps, what it measures again, what it writes, what it refuses."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import reference
import reproduce_article
import torch
from article import colours, ganruns, style, trained
from article.claims import CLAIMS
from article.outcome import Context, Outcome
from article.page import write_page

one_thread = reference.one_thread


def run(folder: Path, *words: str) -> int:
    return reproduce_article.main(["--out", str(folder), *words])


def test_a_measured_claim_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, "--only", "stacked", "padding") == 0
    claims = json.loads((tmp_path / "claims.json").read_text())
    assert [claim["name"] for claim in claims] == [claim.name for claim in CLAIMS]
    measured = {claim["name"]: claim for claim in claims if claim["holds"] is not None}
    assert set(measured) == {"stacked", "padding"}
    assert measured["stacked"]["measured"]["two"] == [3, 2, 3, 1]
    assert measured["stacked"]["holds"] is True

    calls = []
    monkeypatch.setattr(
        reproduce_article, "measure", lambda claim, context: calls.append(claim.name) or measured[claim.name]
    )
    assert run(tmp_path, "--only", "stacked") == 0
    assert calls == []
    assert run(tmp_path, "--only", "stacked", "--fresh") == 0
    assert calls == ["stacked"]
    (tmp_path / "stacked.png").unlink()  # a result without its picture is none
    assert run(tmp_path, "--only", "stacked") == 0
    assert calls == ["stacked", "stacked"]


def test_other_limits_are_another_claim(tmp_path: Path) -> None:
    (claim,) = reproduce_article.wanted(["padding"])
    context = Context(tmp_path)
    reproduce_article.measure(claim, context)
    assert reproduce_article.kept(claim, context) is not None
    assert reproduce_article.kept(dataclasses.replace(claim, limits={"error": 1e-3}), context) is None
    assert reproduce_article.kept(claim, dataclasses.replace(context, quick=True)) is None


def test_the_page_stands_alone(tmp_path: Path) -> None:
    assert run(tmp_path, "--only", "overlap-2d", "padding") == 0
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("not measured yet") == len(CLAIMS) - 2
    assert 'id="padding"' in page


def test_the_page_says_what_does_not_hold_and_escapes(tmp_path: Path) -> None:
    outcome = Outcome({"n": 1}, {"<a & b>": False, "c": True}, "1 < 2", {})
    rows = [
        {"name": "x", "title": "A <title>", "expected": "e", **outcome.to_dict(), "seconds": 0.1, "revised": "<moved>"},
        {"name": "y", "title": "B", "expected": "e", "holds": None, "revised": ""},
        {"name": "z", "title": "C", "expected": "e", **Outcome({}, {"d": False}, "", {}).to_dict(), "seconds": 0.1},
    ]
    rows[2]["revised"] = ""
    write_page(rows, tmp_path, "about")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<title>A" not in page
    assert "A &lt;title&gt;" in page
    assert "&lt;a &amp; b&gt;" in page
    assert page.count(">holds in part<") == 2
    assert page.count(">does not hold here<") == 2
    assert page.count(">not measured yet<") == 1
    assert page.count("After first trials: &lt;moved&gt;.") == page.count("After first trials") == 1


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "a", "--only", "nothing") == 2
    error = capsys.readouterr().err
    assert error.startswith("reproduce_article: --only must name any of overlap-1d")
    assert run(tmp_path / "a", "--threads", "0") == 2
    assert capsys.readouterr().err == "reproduce_article: --threads must be at least 1, got 0\n"
    assert not (tmp_path / "a").exists()
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "padding.json").write_text("[]")
    assert run(tmp_path, "--only", "padding") == 2
    assert "padding.json cannot be read" in capsys.readouterr().err
    assert run(tmp_path, "--only", "after-training", "--data", str(tmp_path / "nowhere")) == 2
    assert "data must be photos or a folder" in capsys.readouterr().err


def test_trained_claims_measure_trained_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ganruns, "QUICK_STEPS", 2)
    monkeypatch.setattr(ganruns, "SEEDS", {})
    context = Context(tmp_path, quick=True, accelerator="cpu")
    table = {claim.name: claim for claim in CLAIMS}
    found = trained.after_training(context, table["after-training"].limits)
    assert {kind: len(rows) for kind, rows in found.measured["all"]["E2"].items()} == {"two": 3, "one": 3, "none": 3}
    # After two steps it is as before training: lines with deconvolution, none without.
    assert found.measured["mean"]["E2"]["one"] > 5 * found.measured["mean"]["E2"]["none"]
    assert found.checks["one: E2 of every seed above none's"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("step-*/state.pt")}
    strong = colours.strong_colours(context, table["strong-colours"].limits)
    assert strong.checks["a linear layer: +6.02 dB per doubling"]
    strides = trained.discriminator_strides(context, table["discriminator-strides"].limits)
    assert len(strides.measured["E2"]["stride 1"]) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was trained twice
    for outcome in (found, strong, strides):
        assert all((tmp_path / picture).exists() for picture in outcome.pictures)


def test_a_run_of_other_options_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ganruns, "QUICK_STEPS", 1)
    monkeypatch.setattr(ganruns, "SEEDS", {"none": 1})
    context = Context(tmp_path, quick=True, accelerator="cpu")
    ganruns.trained(context, "none")
    monkeypatch.setattr(ganruns, "QUICK_STEPS", 2)
    with pytest.raises(ValueError, match="steps: 1 then, 2 now"):
        ganruns.trained(context, "none")


@pytest.mark.parametrize("kind", style.KINDS)
def test_the_transfer_network_keeps_the_size(kind: str) -> None:
    network = style.TransferNetwork(kind)
    images = network(torch.randn(2, 3, 16, 24))
    assert images.shape == (2, 3, 16, 24)
    assert images.abs().max() <= 1


def test_gram_matrices() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert style.gram(x).tolist() == [[[2.5, 5.5], [5.5, 12.5]]]
