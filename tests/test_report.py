"""The report card: what it says, what it keeps, and how it looks in a browser."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import opened
from torch import nn

from audioup import inspect_model, measure_tones, probe, report_card, write_card
from audioup.advice import Advice
from audioup.report import Card, Heard, model_card

RATE = 16000
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose1d(8, 8, 4, 2, 1), nn.LeakyReLU(0.1), nn.ConvTranspose1d(8, 1, 15, 8, 4))


def inputs() -> torch.Tensor:
    return 1 + 0.3 * torch.randn(1, 8, 1500, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def card() -> Card:
    return report_card(network(), inputs(), RATE, seconds=1.5)


@pytest.fixture(scope="module")
def page(card: Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("card") / "card.html"
    write_card(card, path)
    return path


def test_the_numbers_are_those_of_probe_and_inspection(card: Card, page: Path) -> None:
    numbers = json.loads(page.with_suffix(".json").read_text())
    expected = probe(network(), inputs(), RATE, seconds=1.5)
    assert numbers["probe"] == json.loads(json.dumps(expected.to_dict()))
    assert numbers["inspection"] == json.loads(json.dumps(inspect_model(network(), RATE).to_dict()))
    assert numbers["verdict"] == card.verdict == expected.verdict == "tones"
    assert [one.title for one in card.sounds] == ["real", "silence", "constant", "noise"]
    assert numbers["next"][0]["code"].startswith("audioup.convert(model")
    assert set(numbers["versions"]) == {"audioup", "torch", "numpy"}


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False), (390, True)])
def test_the_page_stands_by_itself(page: Path, width: int, dark: bool) -> None:
    with opened(page, width=width, dark=dark) as shown:
        assert shown.title() == "Sequential: upsampling report card"
        assert shown.locator("header .verdict").inner_text() == "tones"
        pictures = shown.locator("figure img")
        assert pictures.count() == 4
        for n in range(4):
            assert pictures.nth(n).evaluate("x => x.complete && x.naturalWidth") > 1000
        for n in range(4):
            assert shown.locator("audio").nth(n).evaluate(
                "x => new Promise((resolve, reject) => { if (x.duration) resolve(x.duration);"
                "x.onloadedmetadata = () => resolve(x.duration); x.onerror = () => reject(x.error.message); })"
            ) == pytest.approx(1.5, abs=1e-3)
        # On a phone tables and pictures scroll by themselves, the page does not.
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        colours = shown.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        light = [sum(map(int, colour[4:-1].split(","))) for colour in colours]
        assert (light[0] < light[1]) == dark
        assert abs(light[0] - light[1]) > 450


def test_layers_and_trials_are_all_there(page: Path) -> None:
    with opened(page) as shown:
        cells = shown.locator("h2:has-text('What the weights tell') + .wide tr").all_inner_texts()
        assert len(cells) == 3
        assert cells[2].split("\t")[:6] == ["2", "ConvTranspose1d", "8", "15", "8 → 1", "uneven"]
        trials = shown.locator("h2:has-text('Which layer the lines come from') + .wide tr").all_inner_texts()
        assert [row.split("\t")[0] for row in trials] == ["held at order 1", "nothing: level, dBFS", "2", "0"]


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    model = nn.Module()
    model.add_module(HOSTILE.replace(".", ""), nn.ConvTranspose1d(2, 1, 5, 4))
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    report = measure_tones(noise, RATE, [4])
    inspection = inspect_model(model, RATE)
    card = Card(
        HOSTILE,
        inspection,
        sounds=(Heard(HOSTILE, report, noise),),
        advice=(Advice(HOSTILE, HOSTILE), *model_card("", inspection).advice),
        notes=(HOSTILE,),
    )
    write_card(card, tmp_path / "card.html")
    with opened(tmp_path / "card.html") as shown:
        assert shown.locator("script, img[src=x]").count() == 0
        assert shown.locator("h1").inner_text() == HOSTILE
        assert shown.locator("td", has_text="onerror").first.inner_text() == HOSTILE.replace(".", "")
        assert "49" not in shown.locator("h1").inner_text()


def test_recordings_alone_and_with_a_model() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE)
    sung = noise + 0.05 * np.cos(np.pi / 4 * np.arange(4 * RATE))
    card = Card("", sounds=tuple(Heard(str(n), measure_tones(x, RATE, [8]), x) for n, x in enumerate((noise, sung))))
    assert card.verdict.startswith("clean below")
    assert card.verdict.endswith("; tones")
    assert card.to_dict()["probe"] is None
    assert [one["title"] for one in card.to_dict()["sounds"]] == ["0", "1"]
    assert Card("").verdict == "no sound was measured"


def test_a_model_of_calls_has_a_card_without_layers() -> None:
    class Calls(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x[:, :1], scale_factor=16)

    card = report_card(Calls(), inputs(), RATE, seconds=1.5, title="calls")
    assert (card.title, card.inspection) == ("calls", None)
    assert card.probe is not None


@pytest.mark.parametrize("what", ["card.txt", "none/card.html", "folder.html"])
def test_nothing_is_left_of_a_card_that_cannot_be_written(tmp_path: Path, what: str) -> None:
    (tmp_path / "folder.html").mkdir()
    before = set(tmp_path.rglob("*"))
    with pytest.raises((ValueError, OSError)):
        write_card(Card("x"), tmp_path / what)
    assert set(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_the_old_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_card(Card("old"), tmp_path / "card.html")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    written = Path.write_text

    def full(self, *given, **named):
        if ".json" in self.name:
            written(self, "part", encoding="utf-8")
            raise OSError(28, "No space left on device")
        return written(self, *given, **named)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_card(Card("new"), tmp_path / "card.html")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_quiet_sound_is_played_louder_and_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    quiet = 0.01 * noise / abs(noise).max()
    write_card(Card("", sounds=(Heard("quiet", measure_tones(quiet, RATE, [4]), quiet),)), tmp_path / "card.html")
    with opened(tmp_path / "card.html") as shown:
        assert "Played +34 dB against what was measured." in shown.locator("article").inner_text()
