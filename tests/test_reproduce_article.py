"""The program that measures the claims: what it keeps, what it measures again, what it writes, what it refuses."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference
import reproduce_article
import torch
from article import colours, ganruns, style, trained
from article.claims import CLAIMS
from article.outcome import Context, Outcome
from article.page import write_page
from PIL import Image

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
    assert run(tmp_path / "a", "--only", "padding", "--data", str(tmp_path / "nowhere")) == 2
    assert not (tmp_path / "a").exists()


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert run(out, "--only", "padding") == 2
        assert capsys.readouterr().err == f"reproduce_article: --out must be a folder, got {tmp_path / 'file'}\n"
    (tmp_path / "claims" / "padding.json").mkdir(parents=True)
    assert run(tmp_path, "--only", "stacked", "--fresh") == 2
    path = tmp_path / "claims" / "padding.json"
    assert capsys.readouterr().err == f"reproduce_article: {path} cannot be read; remove it\n"
    assert not (tmp_path / "claims" / "stacked.json").exists()


@pytest.mark.parametrize("name", reproduce_article.RESULT)
def test_a_kept_result_without_one_of_its_fields_is_damaged(name: str, tmp_path: Path) -> None:
    (claim,) = reproduce_article.wanted(["padding"])
    result = reproduce_article.measure(claim, Context(tmp_path))
    assert set(result) == set(reproduce_article.RESULT)
    path = tmp_path / "claims" / "padding.json"
    path.write_text(json.dumps({key: value for key, value in result.items() if key != name}))
    with pytest.raises(ValueError, match=r"padding\.json cannot be read; remove it"):
        reproduce_article.kept(claim, Context(tmp_path))


def paint(folder: Path, value: int) -> Path:
    """Put an image into a folder, in place of the one there."""
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 255, (300, 300, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    return folder


def test_other_images_in_the_folder_are_other_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = paint(tmp_path / "images", 0)
    (claim,) = reproduce_article.wanted(["padding"])

    def context() -> Context:
        return Context(tmp_path / "out", quick=True, data=str(data), accelerator="cpu")

    monkeypatch.setattr(ganruns, "QUICK_STEPS", 1)
    monkeypatch.setattr(ganruns, "SEEDS", {"none": 1})
    reproduce_article.measure(claim, context())
    ganruns.trained(context(), "none")
    paint(data, 0)
    assert reproduce_article.kept(claim, context()) is not None
    ganruns.trained(context(), "none")
    paint(data, 1)
    assert reproduce_article.kept(claim, context()) is None
    with pytest.raises(ValueError, match="photographs: others than then"):
        ganruns.trained(context(), "none")


def remove_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def damage_checkpoint(run: Path) -> None:
    next(run.glob("checkpoints/*/mean.safetensors")).write_bytes(b"nothing")


def keep_an_earlier_one(run: Path) -> None:
    (run / "checkpoints" / "step-000001").rename(run / "checkpoints" / "step-000000")


def replace(name: str, content: str) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / name).write_text(content)

    return write


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (replace("report.json", "{}"), r"none-0/report\.json cannot be read; remove it$"),
        (replace("report.json", '{"steps": 1, "E2'), r"none-0/report\.json cannot be read; remove it$"),
        (replace("config.json", "[]"), r"config\.json cannot be read; remove \S+none-0 to train it again$"),
        (
            remove_checkpoints,
            r"none-0 is finished but has no checkpoint of step 1; remove \S+none-0 to train it again$",
        ),
        (
            keep_an_earlier_one,
            r"none-0 is finished but has no checkpoint of step 1; remove \S+none-0 to train it again$",
        ),
        (damage_checkpoint, r"step-000001 cannot be read; remove \S+none-0 to train it again$"),
    ],
)
def test_damage_of_a_finished_gan_is_named_with_what_helps(
    damage: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ganruns, "QUICK_STEPS", 1)
    monkeypatch.setattr(ganruns, "SEEDS", {"none": 1})
    context = Context(tmp_path, quick=True, accelerator="cpu")

    def size() -> int:
        ganruns.trained(context, "none")
        return ganruns.generator(context, "none", 0).size

    ganruns.trained(context, "none")
    folder = tmp_path / "gan" / "none-0"
    damage(folder)
    with pytest.raises(ValueError, match=message):
        size()
    if message.endswith("remove it$"):
        (folder / "report.json").unlink()
    else:
        shutil.rmtree(folder)
    assert size() == 16  # what was said does help


def test_style_transfer_goes_on_from_its_own_checkpoint_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "PerceptualLoss", lambda image: lambda made, content: (made - content).square().mean())
    monkeypatch.setattr(style, "QUICK_STEPS", 2)
    data = paint(tmp_path / "images", 0)

    def train() -> dict[str, object]:
        return style._trained(Context(tmp_path, quick=True, data=str(data)), "transposed", 0)

    report = train()
    folder = tmp_path / "style" / "transposed-0"
    (folder / "report.json").unlink()
    assert train() == report  # from the checkpoint
    for finished in (True, False):
        if not finished:
            (folder / "report.json").unlink()
        monkeypatch.setattr(style, "QUICK_STEPS", 3)
        with pytest.raises(ValueError, match=r"transposed-0 was trained with other options \(steps: 2 then, 3 now\)"):
            train()
        monkeypatch.setattr(style, "QUICK_STEPS", 2)
        paint(data, 1)
        with pytest.raises(ValueError, match="photographs: others than then"):
            train()
        paint(data, 0)
    train()
    (folder / "report.json").write_text('{"steps": 2')
    with pytest.raises(ValueError, match=r"report\.json cannot be read; remove it"):
        train()
    shutil.rmtree(folder / "step-000002")
    with pytest.raises(ValueError, match="has no checkpoint of step 2"):
        style._finished(Context(tmp_path, quick=True, data=str(data)), "transposed")


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
