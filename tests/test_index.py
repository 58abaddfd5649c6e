"""The index of headers: it saves reading them, and changes nothing else."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import vocoder.index
from recordings import write
from vocoder.data import Corpus, open_corpus
from vocoder.index import FORMAT

PROGRAM = """
import resource, sys, time
from pathlib import Path
import vocoder.index
from vocoder.data import open_corpus
read, calls = vocoder.index.read_header, []
vocoder.index.read_header = lambda path: calls.append(path) or read(path)
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
corpus = open_corpus(sys.argv[1], cache=Path(sys.argv[2]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(calls), len(corpus.train), time.process_time() - start, (peak - before) / 1024)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Recordings written long ago, so that their times are settled."""
    for i in range(6):
        settle(write(tmp_path / "data" / f"s{i % 2}" / f"{i}.wav", seconds=0.2 + 0.01 * i))
    settle(write(tmp_path / "data" / "short.wav", seconds=0.05))
    (tmp_path / "data" / "text.wav").write_text("not audio")
    settle(tmp_path / "data" / "text.wav")
    return tmp_path / "data"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    monkeypatch.setattr(vocoder.index, "LEAST_FILES", 1)
    read, names = vocoder.index.read_header, []
    monkeypatch.setattr(vocoder.index, "read_header", lambda path: names.append(Path(path).name) or read(path))
    return names


def settle(path: Path, second: int = 1_700_000_000) -> None:
    os.utime(path, (second, second))


def opened(folder: Path, reads: list[str]) -> tuple[Corpus, list[str]]:
    reads.clear()
    corpus = open_corpus(str(folder), cache=folder.parent / "cache")
    return corpus, sorted(reads)


def index_of(folder: Path) -> Path:
    (index,) = (folder.parent / "cache" / "index").iterdir()
    return index


def test_only_new_and_changed_files_are_read_again(folder, reads):
    first, names = opened(folder, reads)
    assert len(names) == 8
    assert len(first.skipped) == 2
    assert opened(folder, reads) == (first, [])
    settle(folder / "s0" / "0.wav", 1_700_000_001)
    settle(write(folder / "s1" / "3.wav", seconds=0.5))
    settle(write(folder / "s1" / "7.wav"))
    (folder / "s0" / "2.wav").unlink()
    settle(write(folder / "text.wav"))
    changed, names = opened(folder, reads)
    assert names == ["0.wav", "3.wav", "7.wav", "text.wav"]
    assert len(changed.skipped) == 1
    assert opened(folder, reads) == (changed, [])
    assert "2.wav" not in index_of(folder).read_text()
    (folder / "s0" / "4.wav").unlink()
    changed, names = opened(folder, reads)
    assert names == []
    assert "4.wav" not in index_of(folder).read_text()
    index_of(folder).unlink()
    afresh, names = opened(folder, reads)
    assert afresh == changed
    assert len(names) == 7


def test_a_file_written_a_moment_ago_is_read_again(folder, reads):
    """On a file system that counts time in seconds it could change again without a sign."""
    write(folder / "new.wav")
    opened(folder, reads)
    assert opened(folder, reads)[1] == ["new.wav"]
    settle(folder / "new.wav")
    assert opened(folder, reads)[1] == ["new.wav"]
    assert opened(folder, reads)[1] == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[" * 100_000,
        lambda text: "[]",
        lambda text: "\xff" + text,
        lambda text: text.replace(f'"format":{FORMAT}', '"format":0'),
        lambda text: text.replace('"pattern":"*"', '"pattern":"a*"'),
        lambda text: json.dumps({**json.loads(text), "read_by": "0.0"}),
        lambda text: json.dumps({**json.loads(text), "folder": "/another"}),
        lambda text: json.dumps({**json.loads(text), "files": [1, 2]}),
        lambda text: json.dumps({**json.loads(text), "files": {name: [1, "2"] for name in json.loads(text)["files"]}}),
        lambda text: text.replace(",8000,1]", ",8000,-1]"),
        lambda text: text.replace(",8000,1]", ",0,1]"),
        lambda text: text.replace(",8000,1]", f",{10**400},1]"),
        lambda text: text.replace(",8000,1]", ",8000.5,NaN]"),
    ],
)
def test_an_index_that_is_damaged_or_foreign_is_made_anew(folder, reads, capsys, damage):
    first, _ = opened(folder, reads)
    whole = index_of(folder).read_text()
    damaged = damage(whole)
    assert damaged != whole
    index_of(folder).write_text(damaged, encoding="latin-1")
    again, reread = opened(folder, reads)
    assert again == first
    assert len(reread) >= 7  # where only numbers are damaged, what is known of text.wav is not
    assert json.loads(index_of(folder).read_text()) == json.loads(whole)
    assert capsys.readouterr() == ("", "")


def test_an_index_that_cannot_be_written_is_one_line(folder, reads, capsys):
    (folder.parent / "cache").mkdir()
    (folder.parent / "cache" / "index").write_text("in the way")
    corpus, names = opened(folder, reads)
    assert len(names) == 8
    error = capsys.readouterr().err
    assert error.startswith(f"the index of {folder} is not kept: ")
    assert error.count("\n") == 1
    assert corpus == open_corpus(str(folder), cache=folder.parent / "other")


def test_small_folders_and_splits_leave_no_trace(folder, tmp_path):
    open_corpus(str(folder), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_bar_shows_only_where_many_headers_are_read(folder, reads, capsys, monkeypatch):
    monkeypatch.setattr(vocoder.index, "BAR_FILES", 8)
    opened(folder, reads)
    assert "reading headers" in capsys.readouterr().err
    opened(folder, reads)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_hundred_thousand_files_open_at_once_the_second_time(tmp_path):
    rng = np.random.default_rng(0)
    bodies = []
    for i in range(24):
        soundfile.write(tmp_path / "a.wav", rng.uniform(-0.5, 0.5, 900 + i), 8000)
        bodies.append((tmp_path / "a.wav").read_bytes())
    data = tmp_path / "data"
    for i in range(100_000):
        (data / f"{i // 1000}").mkdir(parents=True, exist_ok=True)
        (data / f"{i // 1000}" / f"{i}.wav").write_bytes(bodies[i % 24])
        settle(data / f"{i // 1000}" / f"{i}.wav")

    def open_apart() -> tuple[int, int, float, float]:
        start = time.monotonic()
        command = [sys.executable, "-c", PROGRAM, str(data), str(tmp_path / "cache")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # pytest knows where the recipes are
        words = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
        print(f"{words[0]} headers read: {float(words[2]):.1f} s of computing, {time.monotonic() - start:.1f} s")
        print(f"  with the start of Python; peak memory +{float(words[3]):.0f} MB")
        return int(words[0]), int(words[1]), float(words[2]), float(words[3])

    calls, clips, first_s, _ = open_apart()
    assert calls == 100_000
    assert clips > 85_000
    calls, _, again_s, memory = open_apart()
    assert calls == 0
    assert again_s < max(15.0, first_s)
    assert memory < 400
    for i in range(5):
        settle(data / "3" / f"{3000 + i}.wav", 1_600_000_000)
        (data / "4" / f"{4000 + i}.wav").unlink()
    (data / "5" / "new.wav").write_bytes(bodies[0])
    settle(data / "5" / "new.wav")
    assert open_apart()[0] == 6
    assert open_apart()[0] == 0
