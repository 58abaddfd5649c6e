"""Names of files: whatever is in them, they are shown, written and told apart safely."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
import train_vocoder
from brief import brief_reports
from recordings import RATE, write
from test_data_found import add_what_decoding_shows, add_what_headers_show, good, noise
from vocoder.data import open_corpus, safe_name
from vocoder.report import _write_wav

HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "new\nline",
    b"\xff\xfe not utf-8".decode("utf-8", "surrogateescape"),
    "<script>alert(1)",
    "-rf",
    "$x_{$",
    "con",
    "\u202eback",
    "l" * 250,
    "音" * 80,
    "Größe 音声 🎤",
    "größe 音声 🎤",
]


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("LJ001-0001", "LJ001-0001"),
        ("p225_001_mic2", "p225_001_mic2"),
        ("Größe 音声 (2), take.3 #4 & 'x'", "Größe 音声 (2), take.3 #4 & 'x'"),
        ("l" * 200, "l" * 200),
        ("console", "console"),
        ("\x1b[2Ja\nb", "_[2Ja_b"),
        ("\udcff", "_"),
        ("<script>", "_script_"),
        ("-rf", "_rf"),
        ("... x", "____x"),
        ("CON", "_CON"),
        ("com1.take2", "_com1.take2"),
        ("l" * 201, "l" * 191 + "-d8437cec"),
    ],
)
def test_ordinary_names_stay_and_others_are_made_safe(stem, name):
    assert safe_name(stem) == name


def test_names_differ_without_case_and_in_bytes_that_are_no_text(tmp_path):
    for folder in ("a", "b"):
        for stem in HOSTILE:
            write(tmp_path / folder / f"{stem}.wav", noise())
    corpus = open_corpus(str(tmp_path))
    assert corpus.skipped == ()
    clips = [*corpus.train, *corpus.valid, *corpus.test]
    assert len({clip.name.casefold() for clip in clips}) == len(clips) == 2 * len(HOSTILE)
    for clip in clips:
        assert clip.name.isprintable()
        assert clip.name[0] not in ".-"
        assert len(f".writing-{clip.name}.reference.wav".encode()) <= 255
        assert clip.frames == 2000


def test_the_hold_out_goes_by_the_bytes_of_the_name(tmp_path):
    """As it did before names were made safe: sha256 of the bytes, the lowest to valid, the next to test."""
    for stem in HOSTILE:
        write(tmp_path / f"{stem}.wav", noise())
    corpus = open_corpus(str(tmp_path))
    assert [clip.path.stem for clip in corpus.valid] == ["l" * 250]
    assert [clip.path.stem for clip in corpus.test] == ["con"]


def test_a_full_disk_names_the_file_it_was_met_at(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*sound\\x1b\.wav \(is the disk full\?\)"):
            _write_wav(tmp_path / "sound\x1b.wav", torch.zeros(100000), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(OSError, match=r"cannot write .*gone"):
        _write_wav(tmp_path / "gone" / "sound.wav", torch.zeros(100), RATE)


@pytest.mark.parametrize("name", ["data.zip", "data.tar.gz", "DATA.TGZ"])
def test_archives_are_not_unpacked(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(NotADirectoryError, match="archives are not unpacked; give the folder that it unpacks to"):
        open_corpus(str(tmp_path / name))
    (tmp_path / "a.wav").touch()
    with pytest.raises(FileNotFoundError, match=r"got '.*a\.wav', which is a file"):
        open_corpus(str(tmp_path / "a.wav"))


def test_a_folder_with_everything_in_it_is_trained_on(tmp_path, capsys):
    data = tmp_path / "data \x1b[31m \udcff"
    good(data, rate=16000, seconds=1.0)
    for stem in HOSTILE:
        for split in ("train", "test"):
            write(data / split / f"{stem}.wav", noise(0.5, 16000), rate=16000)
    seen = add_what_headers_show(data / "train")
    write(data / "train" / "odd_rate.wav", noise(rate=15991), rate=15991)
    proven = add_what_decoding_shows(data / "train")
    write(data / "train" / "clipped.wav", np.clip(noise() * 4, -1, 1))
    options = ["--accelerator", "cpu", "--batch-size", "12", "--segment-size", "2048", "--test-clips", "13"]
    options += ["--steps", "3", "--warmup-steps", "3", "--data", str(data), "--out", str(tmp_path / "runs")]
    with brief_reports():
        assert train_vocoder.main(options) == 0
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out
    assert f"{len(seen)} files skipped: 10 unreadable, 2 empty, 1 cannot be resampled" in printed.out
    total = "3 silent, 1 NaN or infinite samples, 1 above full scale, 1 cannot be decoded"
    assert f"during training: 6 files skipped: {total}" in printed.out
    assert "clipped, and used all the same: 1 (" in printed.out
    run = tmp_path / "runs" / "vocoder"
    listed = (run / "skipped.txt").read_text(encoding="utf-8").splitlines()
    assert len(listed) == len(seen) + len(proven)
    for name in (*seen, *proven):
        assert sum(f"/{name}: " in line for line in listed) == 1
    report = json.loads((run / "report.json").read_text())
    assert (report["skipped"], report["clipped"]) == (len(listed), 1)
    assert report["test_clips"] == 1 + len(HOSTILE)
    assert len(list((run / "audio").iterdir())) == 2 * report["test_clips"]
    assert Path(report["data"]) == data


def test_a_held_out_recording_that_is_gone_after_training_costs_its_rows_only(tmp_path, capsys, monkeypatch):
    data = good(tmp_path / "data", rate=16000, seconds=1.0)
    write(data / "test" / "other\x1b.wav", noise(1.0, 16000), rate=16000)
    train = train_vocoder.train

    def train_and_remove(*arguments):
        train(*arguments)
        (data / "test" / "other\x1b.wav").unlink()

    monkeypatch.setattr(train_vocoder, "train", train_and_remove)
    options = ["--accelerator", "cpu", "--batch-size", "1", "--segment-size", "2048", "--steps", "1"]
    options += ["--warmup-steps", "1", "--data", str(data), "--out", str(tmp_path)]
    assert train_vocoder.main(options) == 0
    printed = capsys.readouterr().out
    assert "left out of the report: " in printed
    assert "other\\x1b.wav cannot be decoded: it is gone" in printed
    assert json.loads((tmp_path / "vocoder" / "report.json").read_text())["test_clips"] == 1
    assert not (tmp_path / "vocoder" / "skipped.txt").exists()
