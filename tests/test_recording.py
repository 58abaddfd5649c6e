"""Sound files read piece by piece, folders and patterns."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import RATE, white

from audioup.recording import Recording, check_header, find_recordings, first_seconds

X = np.stack([white(2, seed=1), white(2, seed=2)], axis=1)


@pytest.fixture
def stereo(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", X, RATE, subtype="DOUBLE")
    return tmp_path / "stereo.wav"


def test_pieces_are_the_file(stereo):
    with Recording(stereo) as recording:
        assert (recording.sample_rate, recording.channels, recording.samples) == (RATE, 2, 2 * RATE)
        for start, stop in ((0, 100), (100, 2 * RATE), (7, 9)):  # also back again
            np.testing.assert_array_equal(recording.read(start, stop), X[start:stop])
    np.testing.assert_array_equal(first_seconds(stereo, 0.5, channel=1), X[: RATE // 2, 1])
    assert len(first_seconds(stereo, 100, channel=0)) == 2 * RATE


def test_full_scale_is_one_in_every_format(tmp_path):
    for name, subtype, step in (("a.flac", "PCM_16", 2**-15), ("b.flac", "PCM_24", 2**-23), ("c.wav", "PCM_U8", 2**-7)):
        soundfile.write(tmp_path / name, X, RATE, subtype=subtype)
        with Recording(tmp_path / name) as recording:
            assert np.abs(recording.read(0, 2 * RATE) - X).max() <= step


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_a_file_that_ends_too_early_is_refused(tmp_path, share):
    soundfile.write(tmp_path / "whole.flac", X[:, 0], RATE)
    whole = (tmp_path / "whole.flac").read_bytes()
    cut = tmp_path / "cut.flac"
    cut.write_bytes(whole[: int(share * len(whole))])
    with (
        Recording(cut) as recording,
        pytest.raises(ValueError, match=r"damaged between samples 0 and|cut off: it ends"),
    ):
        recording.read(0, recording.samples)


def test_a_stream_of_unknown_length_is_refused(tmp_path):
    soundfile.write(tmp_path / "x.flac", X[:, 0], RATE)
    data = bytearray((tmp_path / "x.flac").read_bytes())
    data[21] &= 0xF0  # the number of samples in FLAC's first block of metadata, 36 bits: 0 is unknown
    data[22:26] = bytes(4)
    (tmp_path / "x.flac").write_bytes(data)
    with pytest.raises(ValueError, match="does not say how long it is"):
        Recording(tmp_path / "x.flac")


def test_no_recording_leaves_no_open_file(tmp_path):
    (tmp_path / "text.wav").write_text("not a recording\n" * 200)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(5):
        with pytest.raises(ValueError, match="no recording: "):
            Recording(tmp_path / "text.wav")
    assert before == (len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0)


def test_folders_and_patterns_become_their_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/two.wav", "b/deep/three.FLAC", "a.ogg", "b/notes.txt", "b/.hidden.wav", "c/readme.md", "b/x.raw"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()

    def found(*paths):
        return [(str(path), missing) for path, missing in find_recordings(map(Path, paths))]

    assert found("b") == [("b/deep/three.FLAC", None), ("b/two.wav", None)]
    assert found("b/*.wav", "a.ogg") == [("b/two.wav", None), ("a.ogg", None)]
    assert found("**/*.wav") == [("b/two.wav", None)]
    assert found("c", "*.mp3") == [("c", "no recording in this folder"), ("*.mp3", "no file matches")]
    assert found("missing.wav", "b/notes.txt") == [("missing.wav", None), ("b/notes.txt", None)]
    Path("[1].wav").touch()
    assert found("[1].wav") == [("[1].wav", None)]  # a file of that name is no pattern


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_wav_that_ends_too_early_is_refused_and_a_streamed_one_is_not(tmp_path, subtype):
    path = tmp_path / "x.wav"
    soundfile.write(path, X[:, 0], RATE, subtype=subtype)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut off: it ends after"):
        Recording(path)
    at = whole.index(b"data") + 4
    path.write_bytes(whole[:4] + b"\xff" * 4 + whole[8:at] + b"\xff" * 4 + whole[at + 4 :])
    with Recording(path) as recording:
        assert recording.samples == 2 * RATE


def test_links_that_go_round_are_followed_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    Path("d/a.wav").touch()
    Path("d/loop").symlink_to(tmp_path / "d", target_is_directory=True)
    assert [str(path) for path, _ in find_recordings([Path("d/**/*.wav")])] == ["d/a.wav"]


@pytest.mark.parametrize(
    ("rate", "channels", "samples", "size", "why"),
    [
        (0, 1, 10, 1000, "a sample rate of 0 Hz is none of sound"),
        (1_000_001, 1, 10, 1000, "from 1 to 1000000 are read"),
        (48000, 53, 10, 1000, "53 channels of 48000 Hz are too many"),
        (192000, 14, 10, 1000, "14 channels of 192000 Hz are too many"),
        (48000, 1, 2**20 + 1, 1000, "1000 bytes cannot hold the 1048577 samples"),
        (48000, 1, 100 * 20_000 + 1, 20_000, "20000 bytes cannot hold"),
        (48000, 1, 2**62, 1000, "does not say how long it is"),
    ],
)
def test_headers_that_no_recording_has_are_refused(rate, channels, samples, size, why):
    with pytest.raises(ValueError, match=why):
        check_header(rate, channels, samples, size)


@pytest.mark.parametrize(("rate", "channels"), [(1, 1), (48000, 52), (384000, 12), (1_000_000, 12)])
def test_headers_at_the_bounds_are_taken(rate, channels):
    check_header(rate, channels, 2**20, 100)
    check_header(rate, channels, 100 * 20_000, 20_000)


def test_pieces_are_no_longer_than_20_s_nor_than_4_million_samples():
    from audioup.blocks import Blocks
    from audioup.lattice import Lattice

    for rate, most in ((48000, 20 * 48000), (384000, 2**22)):
        samples = 100 * rate
        for pieces in (Blocks(rate, 256).pieces(samples), Lattice(rate).pieces(samples, 90)):
            assert pieces[0][0] == 0
            assert pieces[-1][1] == samples
            assert max(stop - start for start, stop in pieces) <= most + 64 * 384
            assert len(pieces) == -(-samples // most)
