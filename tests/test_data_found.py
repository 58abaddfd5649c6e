"""Recordings as they are found: what cannot be used is named, counted and passed over, and the rest is trained on."""

import os
import socket
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from recordings import RATE, write
from torch.utils.data import DataLoader
from vocoder.clips import MAX_BYTES, REASONS, UnreadableClip, decode_clip, load_clip
from vocoder.data import Corpus, open_corpus
from vocoder.segments import Segments
from vocoder.skipped import counted, named


def noise(seconds: float = 0.25, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate))


def good(folder: Path, rate: int = RATE, seconds: float = 0.25) -> Path:
    for split in ("train", "valid", "test"):
        write(folder / split / "good.wav", noise(seconds, rate), rate=rate)
    return folder


def reasons(corpus: Corpus) -> dict[str, str]:
    return {Path(path).name: reason for path, reason in corpus.skipped}


def add_what_headers_show(folder: Path) -> dict[str, str]:
    """One of each fault that is seen without decoding, and the reason for it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.wav").write_text("this is not audio\n" * 50)
    (folder / "bytes.mp3").write_bytes(bytes(100))
    (folder / "zero_bytes.flac").touch()
    write(folder / "no_frames.wav", seconds=0.0)
    write(folder / "short.wav", seconds=0.05)
    whole = write(folder / "cut.wav", noise()).read_bytes()
    (folder / "cut.wav").write_bytes(whole[:2000])
    flac = bytearray(write(folder / "promising.flac", noise()).read_bytes())
    flac[22:26] = b"\xff" * 4  # the low bits of the number of samples
    (folder / "promising.flac").write_bytes(flac)
    write(folder / "odd_rate.wav", noise(rate=7993), rate=7993)
    with zipfile.ZipFile(folder / "archive.wav", "w") as archive:
        archive.writestr("a.wav", whole)
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "fifo.wav")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path is short
        listener.bind("socket.wav")
        os.chdir(here)
    (folder / "to_fifo.wav").symlink_to("fifo.wav")
    (folder / "to_device.wav").symlink_to("/dev/zero")
    (folder / "dangling.wav").symlink_to("gone.wav")
    (folder / "itself.wav").symlink_to("itself.wav")
    return {
        "text.wav": "unreadable: Format not recognised.",
        "bytes.mp3": "unreadable: Format not recognised.",
        "zero_bytes.flac": "empty: no bytes",
        "no_frames.wav": "empty",
        "short.wav": "shorter than 0.1 s",
        "cut.wav": "cut off: it ends after 1956 of the 4000 bytes it promises",
        "promising.flac": "too long: it decodes to 17.2 GB; split it",
        "odd_rate.wav": "cannot be resampled: 7993 Hz to 8000 Hz is no simple ratio; resample it first",
        "archive.wav": "unreadable: Format not recognised.",
        "folder.wav": "unreadable: a folder",
        "fifo.wav": "unreadable: a FIFO",
        "socket.wav": "unreadable: a socket",
        "to_fifo.wav": "unreadable: a FIFO",
        "to_device.wav": "unreadable: a device",
        "dangling.wav": "unreadable: a dangling link",
        "itself.wav": "unreadable: Too many levels of symbolic links",
    }


def add_what_decoding_shows(folder: Path) -> dict[str, str]:
    nan = noise()
    nan[100] = np.nan
    write(folder / "nan.wav", nan, subtype="FLOAT")
    write(folder / "silent.wav", 0.0)
    write(folder / "nearly_silent.wav", 2e-5, subtype="FLOAT")
    write(folder / "cancelled.wav", noise()[:, None] * [1, -1])
    write(folder / "integers.wav", np.round(noise() * 60000), subtype="FLOAT")
    flac = write(folder / "cut.flac", noise(1.0)).read_bytes()
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 2])
    return {
        "nan.wav": "NaN or infinite samples",
        "silent.wav": "silent",
        "nearly_silent.wav": "silent",
        "cancelled.wav": "silent",
        "integers.wav": "above full scale",
        "cut.flac": "cannot be decoded",
    }


def test_what_headers_show_is_skipped_at_the_start_with_the_reason(tmp_path):
    good(tmp_path)
    expected = add_what_headers_show(tmp_path / "train")
    corpus = open_corpus(str(tmp_path))
    found = reasons(corpus)
    found = {name: reason.replace("unknown format", "Format not recognised") for name, reason in found.items()}
    assert found == expected
    assert len(corpus.skipped) == len(expected)
    assert [clip.name for clip in corpus.train] == ["good"]
    assert counted(corpus.skipped) == (
        "16 files skipped: 10 unreadable, 2 empty, 1 cannot be resampled, 1 cut off, 1 shorter than 0.1 s, 1 too long"
    )
    assert named(corpus.skipped).splitlines()[-1] == "and 6 more; skipped.txt of the run names them all"


@pytest.mark.parametrize("workers", [0, 2])
def test_what_decoding_shows_is_replaced_warned_about_and_counted_once(tmp_path, workers):
    expected = add_what_decoding_shows(good(tmp_path) / "train")
    write(tmp_path / "train" / "clipped.wav", np.clip(noise() * 4, -1, 1))
    corpus = open_corpus(str(tmp_path))
    assert corpus.skipped == ()
    segments = Segments(corpus.train, RATE, 256, 4, steps=12, seed=0, cache_bytes=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches = torch.stack(list(DataLoader(segments, batch_size=None, num_workers=workers)))
    assert bool((batches.flatten(0, 1).abs().amax(1) > 0.1).all())  # from good.wav or clipped.wav
    assert {Path(path).name: reason for path, reason in segments.skipped()} == expected
    assert [corpus.train[place].name for place in segments.clipped] == ["clipped"]
    assert set(expected.values()) < set(REASONS)
    if not workers:  # a worker's go to stderr
        assert len(caught) == len(expected)
        assert "integers.wav: peak 29" in "".join(str(one.message) for one in caught)


def test_formats_of_all_kinds_are_used(tmp_path):
    write(tmp_path / "8bit.wav", np.arange(-128, 128).repeat(8) / 128, subtype="PCM_U8")
    doubles = noise()
    write(tmp_path / "float64.wav", doubles, subtype="DOUBLE")
    six = np.arange(2000)[:, None] / 8192 * np.arange(1, 7)  # on average 3.5 / 8192 n
    write(tmp_path / "six.wav", six, subtype="FLOAT")
    write(tmp_path / "flac.wav", doubles, format="FLAC", subtype="PCM_24")
    write(tmp_path / "mp3.wav", noise(1.0), format="MP3")
    high = 192000
    write(tmp_path / "192k.wav", 0.5 * np.sin(2 * np.pi * 440 * np.arange(high) / high), rate=high)
    corpus = open_corpus(str(tmp_path), sample_rate=RATE)
    assert corpus.skipped == ()
    clips = {clip.name: clip for clip in (*corpus.train, *corpus.valid, *corpus.test)}
    sound = {name: load_clip(clip, RATE).numpy() for name, clip in clips.items()}
    np.testing.assert_array_equal(sound["8bit"], np.arange(-128, 128).repeat(8) / 128)
    np.testing.assert_array_equal(sound["float64"], doubles.astype(np.float32))
    np.testing.assert_allclose(sound["six"], np.arange(2000) * 3.5 / 8192, rtol=1e-6)
    np.testing.assert_allclose(sound["flac"], doubles, atol=2**-23)
    assert len(sound["mp3"]) == RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(sound["192k"][100:-100], expected[100:-100], atol=2e-3)


@pytest.mark.parametrize(
    ("samples", "clipped"),
    [
        (np.clip(noise() * 4, -1, 1), True),
        (np.clip(noise() * 4, -0.98, 0.98), False),  # limited below full scale
        (noise() * 2, False),
        (np.concatenate([noise(), [1.0, 1.0, 0.0] * 9]), False),  # no run of three
        (np.concatenate([noise(), [1.0] * 3]), True),  # 3 of 2003 samples are more than 0.1 %
        (np.concatenate([noise(1.0), [1.0] * 3]), False),
        (np.clip(noise() * 5, -1.2, 1.2), True),  # at its own extreme
    ],
)
def test_clipping_is_runs_of_three_at_the_extreme(tmp_path, samples, clipped):
    write(tmp_path / "train" / "a.wav", samples, subtype="FLOAT")
    (clip,) = open_corpus(str(good(tmp_path))).train[:1]
    assert decode_clip(clip, RATE)[1] == clipped


def test_files_without_permission_are_skipped_and_tried_again(tmp_path, monkeypatch):
    good(tmp_path)
    write(tmp_path / "train" / "locked.wav", noise())
    write(tmp_path / "train" / "later.wav", noise())
    real, locked = os.open, {"locked.wav"}

    def guarded(path, *args, **kwargs):
        if os.path.basename(path) in locked:
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", guarded)
    corpus = open_corpus(str(tmp_path))
    assert reasons(corpus) == {"locked.wav": "unreadable: Permission denied"}
    locked.add("later.wav")
    segments = Segments(corpus.train, RATE, 256, 2, steps=2, seed=0)
    with pytest.warns(UserWarning, match=r"later\.wav cannot be decoded: Permission denied"):
        list(segments)
    locked.clear()
    assert reasons(open_corpus(str(tmp_path))) == {}


@pytest.mark.parametrize("change", ["remove", "grow", "replace", "garble", "fifo"])
def test_a_file_that_changes_during_training_is_passed_over(tmp_path, change):
    good(tmp_path)
    path = write(tmp_path / "train" / "other.wav", 0.9)
    corpus = open_corpus(str(tmp_path))
    segments = Segments(corpus.train, RATE, 256, 4, steps=6, seed=0, cache_bytes=0)
    assert float(segments[0].max()) > 0.8
    expected = Segments(corpus.train[:1], RATE, 256, 4, steps=6, seed=0)
    if change == "grow":
        with path.open("ab") as file:
            file.write(bytes(1000))
    elif change == "replace":
        write(path, -0.9)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    elif change == "garble":
        path.write_text("no longer audio")
    else:
        path.unlink()
    if change == "fifo":
        os.mkfifo(path)
    with pytest.warns(UserWarning, match=r"other\.wav") as caught:
        batches = torch.stack([segments[step] for step in range(1, 6)])
    assert len(caught) == 1
    reason = {"remove": "gone", "fifo": "cannot be decoded"}.get(change, "changed since it was listed")
    assert segments.skipped() == [(str(path), reason)]
    assert float(batches.abs().max()) <= 0.5
    assert batches.shape == torch.stack([expected[step] for step in range(1, 6)]).shape


def test_memory_that_runs_out_costs_one_clip(tmp_path, monkeypatch):
    clip = open_corpus(str(good(tmp_path))).train[0]

    def read(self, **kwargs):
        raise MemoryError

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    with pytest.raises(UnreadableClip, match=r"good\.wav does not fit into memory") as caught:
        load_clip(clip, RATE)
    assert caught.value.reason == "out of memory"
    assert MAX_BYTES == 2**31
