"""The files of the listening page, and what cannot be built."""

import json
import shutil
from pathlib import Path

import comparison.lines
import numpy as np
import pytest
import soundfile
from comparison.phases import phases_of
from comparison.variants import VARIANTS
from listened import HOSTILE, SEED, built, listing_of, make, tracks_of
from listening.loudness import amplified, loudness
from listening.page import publish
from sounds import RATE
from vocoder.data import safe_name


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(tmp_path_factory.mktemp("samples"))


# --- the files ---


def test_every_track_has_the_loudness_and_the_gain_that_are_said(done):
    _, page = done
    listing = listing_of(page)
    assert [clip["title"] for clip in listing["clips"]][:2] == [safe_name(HOSTILE), "hello"]  # "<" sorts first
    for clip in listing["clips"]:
        tracks = tracks_of(page, clip)
        assert len(tracks) == len(listing["tracks"]) == len(clip["gains_db"]) == 3
        assert {len(track) for track in tracks} == {round(clip["seconds"] * RATE)}
        if clip["kind"] == "silence":
            assert len(set(clip["gains_db"])) == 1
            assert np.abs(tracks[0]).max() == 0
            continue
        said = float(clip["loud"].removesuffix(" LUFS"))
        assert [loudness(track, RATE) for track in tracks] == pytest.approx([said] * 3, abs=0.1)
    original, _ = soundfile.read(done[0].parent / "data" / "test" / "hello.wav")
    hello = listing["clips"][1]
    np.testing.assert_allclose(
        tracks_of(page, hello)[0],
        amplified(original, hello["gains_db"][0])[: len(tracks_of(page, hello)[0])],
        atol=2e-3,
    )


def test_the_last_phase_of_each_variant_is_heard(done):
    run, page = done
    said = [(track["name"], track["phase"], track["steps"], track["seed"]) for track in listing_of(page)["tracks"][1:]]
    assert said == [("transposed", "adversarial", 3, SEED), ("ours", "adversarial", 3, SEED)]
    readme = (page / "README.md").read_text(encoding="utf-8")
    phases = phases_of(["transposed", "ours"], [SEED], 2, 1)
    for phase in phases[2:]:
        assert f"| {phase.variant.name} | {VARIANTS[phase.variant.name].what} | {SEED} | adversarial | 3 | " in readme
        assert phase.digest(run)[:16] in readme
    assert phases[0].digest(run)[:16] not in readme
    assert str(run.parent) not in readme  # no place of this machine
    assert "Commit abc." in readme
    assert "Spoken by &lt;img" in readme or f"Spoken by {HOSTILE}" in readme


def test_the_same_run_gives_the_same_files(done, tmp_path):
    run, page = done
    shutil.copytree(page, tmp_path / "page")
    (tmp_path / "page" / "data" / "99-of-an-earlier-page.js").touch()
    comparison.lines.SECONDS, seconds = 4.0, comparison.lines.SECONDS
    try:
        words = [str(run), "--out", str(tmp_path / "page"), "--attribution", f"Spoken by {HOSTILE}", "--commit", "abc"]
        assert make.main(words) == 0
    finally:
        comparison.lines.SECONDS = seconds
    before, after = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (page, tmp_path / "page")
    )
    assert before == after


def test_commands_name_what_was_chosen_and_no_place(done):
    run, _ = done
    made_with = json.loads((run / "results.json").read_text())["options"]
    assert make.training_command({**made_with, "out": "/somewhere", "test_clips": 16, "seeds": [3, 4]}) == (
        "python recipes/compare_upsamplers.py --data data --variants transposed ours --seeds 3 4 "
        "--warmup-steps 2 --adversarial-steps 1"
    )
    options = make.Options(run=run, data="/a/b/speech", attribution="A & B")
    assert make.building_command(options) == (
        "python samples/make.py runs/comparison --data speech --attribution 'A & B'"
    )


# --- refusals ---


def broken(run: Path, what: str) -> list[str]:
    """Break a copy of a run in some way; return options."""
    results = json.loads((run / "results.json").read_text())
    if what == "no results":
        (run / "results.json").unlink()
    elif what == "damaged":
        (run / "results.json").write_text("{")
    elif what == "other contents":
        (run / "results.json").write_text('{"rows": [{}], "options": {}}')
    elif what == "no phase":
        (run / "kept" / f"ours-{SEED}-adversarial.safetensors").unlink()
    elif what == "damaged weights":
        (run / "kept" / f"ours-{SEED}-adversarial.safetensors").write_bytes(b"x")
    elif what == "unknown variant":
        results["rows"][0]["variant"] = "new"
        (run / "results.json").write_text(json.dumps(results))
    elif what == "no data":
        return ["--data", str(run / "none")]
    elif what == "too big":
        return ["--most-mb", "0.01"]
    elif what == "no clip":
        return ["--shortest-s", "30", "--longest-s", "40"]
    return []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no results", "holds no results.json"),
        ("damaged", "results.json cannot be read: JSONDecodeError"),
        ("other contents", "results.json cannot be read: KeyError: 'variant'"),
        ("no phase", "adversarial.safetensors is missing: the comparison is not finished"),
        ("damaged weights", "adversarial.safetensors cannot be read"),
        ("unknown variant", "variant 'new'"),
        ("no data", "data must be a folder"),
        ("no clip", "none of the 3 held-out clips lasts 30 to 40 s"),
        ("too big", "more than --most-mb 0.01"),
    ],
)
def test_what_cannot_be_built_is_one_line_and_leaves_the_old_page(done, tmp_path, capsys, monkeypatch, what, words):
    monkeypatch.setattr(comparison.lines, "SECONDS", 4.0)
    run = shutil.copytree(done[0], tmp_path / "comparison")
    page = shutil.copytree(done[1], tmp_path / "page")
    given = broken(run, what)
    before = {path: path.read_bytes() for path in page.rglob("*") if path.is_file()}
    assert make.main([str(run), "--out", str(page), *given]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("make: ")]
    assert len(said) == 1
    assert words in said[0]
    assert {path: path.read_bytes() for path in page.rglob("*") if path.is_file()} == before
    assert not (page / ".writing").exists()


@pytest.mark.parametrize("mine", ["data/recording.wav", "README.md", "index.html"])
def test_what_is_no_earlier_page_is_left_alone(tmp_path, mine):
    path = tmp_path / mine
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    files = {"index.html": "<title>Hear the upsamplers</title>", "README.md": "# Samples", "data/01-a.js": "1"}
    with pytest.raises(ValueError, match=f"{mine} is no part of an earlier page"):
        publish(files, tmp_path)
    assert path.read_text() == "mine"
    path.unlink()
    for _ in range(2):
        publish(files, tmp_path)
    assert {str(found.relative_to(tmp_path)) for found in tmp_path.rglob("*.*")} == set(files)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--clips", "0"], "--clips"),
        (["--shortest-s", "4", "--longest-s", "3"], "--shortest-s"),
        (["--excerpt-s", "0"], "--excerpt-s"),
        (["--lufs", "3"], "--lufs"),
        (["--lufs", "nan"], "--lufs"),
        (["--silence-db", "-1"], "--silence-db"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, capsys, words, named):
    assert make.main([str(tmp_path), "--out", str(tmp_path / "page"), *words]) == 2
    assert capsys.readouterr().err.startswith(f"make: {named} must be")
    assert not (tmp_path / "page").exists()


def test_a_full_disk_leaves_the_old_page(done, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison.lines, "SECONDS", 4.0)
    page = shutil.copytree(done[1], tmp_path / "page")
    before = {path: path.read_bytes() for path in page.rglob("*") if path.is_file()}
    written = Path.write_text

    def full(self, *given, **named):
        if self.name == "README.md":
            raise OSError(28, "No space left on device")
        return written(self, *given, **named)

    monkeypatch.setattr(Path, "write_text", full)
    assert make.main([str(done[0]), "--out", str(page)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in page.rglob("*") if path.is_file()} == before
