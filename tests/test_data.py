"""Corpora: which files are used, and what is decoded."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from recordings import RATE, clip_of, write
from vocoder.clips import not_resampled
from vocoder.data import Clip, Corpus, UnreadableClip, load_clip, open_corpus


def names(clips) -> list[str]:
    return [clip.name for clip in clips]


def split_of(corpus: Corpus, root: Path) -> dict[str, str]:
    return {
        clip.path.relative_to(root).as_posix(): split
        for split in ("train", "valid", "test")
        for clip in getattr(corpus, split)
    }


# --- corpora ---


def test_folder_with_splits_is_taken_as_split(tmp_path):
    write(tmp_path / "train" / "deep" / "b.wav")
    write(tmp_path / "train" / "a.FLAC", format="FLAC")
    write(tmp_path / "valid" / "c.wav", seconds=0.5)
    write(tmp_path / "test" / "d.wav")
    write(tmp_path / "stray.wav")
    corpus = open_corpus(str(tmp_path))
    assert [names(s) for s in (corpus.train, corpus.valid, corpus.test)] == [["a", "b"], ["c"], ["d"]]
    assert corpus.source == str(tmp_path)
    assert corpus.skipped == ()
    assert corpus.sample_rate == RATE
    assert (corpus.valid[0].frames, corpus.valid[0].duration_s) == (4000, 0.5)


def test_missing_splits_come_out_of_train(tmp_path):
    for i in range(10):
        write(tmp_path / "train" / f"{i}.wav")
    write(tmp_path / "valid" / "v.wav")
    corpus = open_corpus(str(tmp_path))
    assert names(corpus.valid) == ["v"]
    assert (len(corpus.train), len(corpus.test)) == (9, 1)
    (tmp_path / "valid" / "v.wav").unlink()
    corpus = open_corpus(str(tmp_path))
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (8, 1, 1)
    assert len(split_of(corpus, tmp_path)) == 10


def test_hash_split_is_about_90_5_5_and_stable_when_files_are_added(tmp_path):
    for i in range(200):
        write(tmp_path / f"s{i % 4}" / f"{i:03}.wav", seconds=0.1)
    before = split_of(open_corpus(str(tmp_path)), tmp_path)
    sizes = Counter(before.values())
    assert sizes["train"] + sizes["valid"] + sizes["test"] == 200
    # a binomial with p = .05, n = 200 has standard deviation 3.1
    assert 3 <= sizes["valid"] <= 17
    assert 3 <= sizes["test"] <= 17
    for i in range(50):
        write(tmp_path / "new" / f"{i}.wav", seconds=0.1)
    after = split_of(open_corpus(str(tmp_path)), tmp_path)
    assert {path: after[path] for path in before} == before
    assert len(after) == 250


def test_hash_split_does_not_change_between_releases_or_folders(tmp_path):
    # sha256 of the names starts with 1b, 26, f2, 28, ba: the lowest goes to valid, the next to test
    expected = {"0.wav": "valid", "1.wav": "test", "2.wav": "train", "3.wav": "train", "4.wav": "train"}
    for root in (tmp_path / "a", tmp_path / "b"):
        for name in expected:
            write(root / name)
        assert split_of(open_corpus(str(root)), root) == expected


@pytest.mark.parametrize("count", [3, 4, 7])
def test_small_folder_still_fills_every_split(tmp_path, count):
    for i in range(count):
        write(tmp_path / f"{i}.wav")
    corpus = open_corpus(str(tmp_path))
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (count - 2, 1, 1)


def test_two_files_cannot_be_split(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.wav")
    with pytest.raises(ValueError, match=r"at least 3 usable recordings .* got 2"):
        open_corpus(str(tmp_path))


def test_equal_stems_get_different_names(tmp_path):
    for name in ("a/x", "a/x-2", "b/x", "c/x", "c/y"):
        write(tmp_path / "train" / f"{name}.wav")
    corpus = open_corpus(str(tmp_path))
    every = [clip for split in (corpus.train, corpus.valid, corpus.test) for clip in split]
    assert {f"{clip.path.parent.name}/{clip.path.stem}": clip.name for clip in every} == {
        "a/x": "x",
        "a/x-2": "x-2",
        "b/x": "x-3",
        "c/x": "x-4",
        "c/y": "y",
    }


def test_hidden_files_and_link_loops_are_ignored(tmp_path):
    for name in ("a.wav", "b.wav", "sub/c.wav", ".hidden.wav", ".cache/d.wav", "e.txt.bak"):
        write(tmp_path / name, format="WAV")
    os.symlink(tmp_path, tmp_path / "sub" / "loop", target_is_directory=True)
    assert set(split_of(open_corpus(str(tmp_path)), tmp_path)) == {"a.wav", "b.wav", "sub/c.wav"}


def test_sample_rate_is_the_commonest_then_the_higher_unless_given(tmp_path):
    for i, rate in enumerate([8000, 16000, 16000, 22050]):
        write(tmp_path / f"{i}.wav", rate=rate)
    assert open_corpus(str(tmp_path)).sample_rate == 16000
    write(tmp_path / "4.wav", rate=22050)
    assert open_corpus(str(tmp_path)).sample_rate == 22050
    assert open_corpus(str(tmp_path), sample_rate=8000).sample_rate == 8000
    with pytest.raises(ValueError, match="sample_rate must be at least 1 Hz, got 0"):
        open_corpus(str(tmp_path), sample_rate=0)


def test_unusable_files_are_skipped_and_named(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.wav", seconds=0.1)
    (tmp_path / "text.wav").write_text("this is not audio\n" * 50)
    (tmp_path / "zero_bytes.flac").touch()
    write(tmp_path / "no_frames.wav", seconds=0.0)
    write(tmp_path / "short.wav", seconds=0.09)
    os.symlink(tmp_path / "gone.wav", tmp_path / "broken_link.wav")
    corpus = open_corpus(str(tmp_path))
    assert len(split_of(corpus, tmp_path)) == 3
    reasons = {Path(path).name: reason.split(":")[0] for path, reason in corpus.skipped}
    assert reasons == {
        "broken_link.wav": "unreadable",
        "no_frames.wav": "empty",
        "short.wav": "shorter than 0.1 s",
        "text.wav": "unreadable",
        "zero_bytes.flac": "empty",
    }


def test_nothing_usable_names_the_folder(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path.name}.*no usable recording.*0 skipped"):
        open_corpus(str(tmp_path))
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(ValueError, match=r"1 skipped; .*text\.wav: unreadable"):
        open_corpus(str(tmp_path))


def test_missing_folder_names_it_and_the_known_corpora(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"espeak, ljspeech, vctk, libritts; got '.*nowhere'"):
        open_corpus(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("data", "dataset", "folder", "used", "unused"),
    [
        ("ljspeech", "LJSPEECH", "LJSpeech-1.1/wavs", "LJ001-000{}.wav", "notes.txt"),
        ("vctk", "VCTK_092", "VCTK-Corpus-0.92/wav48_silence_trimmed", "p225/p225_00{}_mic2.flac", "p225/x_mic1.flac"),
        ("libritts", "LIBRITTS", "LibriTTS/train-clean-100", "103/1241/103_1241_00000{}_00.wav", "103/1241/a.txt"),
    ],
)
def test_downloads_are_used_where_torchaudio_unpacks_them(tmp_path, monkeypatch, data, dataset, folder, used, unused):
    calls = []

    def fake(root: str, download: bool) -> None:
        calls.append((root, download))
        for i in range(4):
            write(Path(root) / folder / used.format(i))
        (Path(root) / folder / unused).write_bytes((Path(root) / folder / used.format(0)).read_bytes())

    monkeypatch.setattr(torchaudio.datasets, dataset, fake)
    corpus = open_corpus(data, cache=tmp_path / "cache")
    assert calls == [(str(tmp_path / "cache"), True)]
    assert set(split_of(corpus, tmp_path / "cache" / folder)) == {used.format(i) for i in range(4)}
    assert corpus.source == data


@pytest.mark.parametrize(
    ("data", "folder", "index"),
    [
        ("ljspeech", "LJSpeech-1.1/wavs", "LJSpeech-1.1/metadata.csv"),
        ("vctk", "VCTK-Corpus-0.92/wav48_silence_trimmed", "VCTK-Corpus-0.92/txt/p225/p225_001.txt"),
        ("libritts", "LibriTTS/train-clean-100", "LibriTTS/SPEAKERS.txt"),
    ],
)
def test_already_unpacked_corpora_need_no_download(tmp_path, data, folder, index):
    """The real torchaudio classes accept the folders we look in; a wrong folder here would try the network."""
    for i in range(3):
        write(tmp_path / folder / "p225" / f"p225_00{i}_mic2.flac")
    (tmp_path / index).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / index).write_text("p225_001|text|text\n")
    assert len(split_of(open_corpus(data, cache=tmp_path), tmp_path)) == 3


def test_failed_download_is_one_clear_error(tmp_path, monkeypatch):
    def fail(root: str, download: bool) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torchaudio.datasets, "LJSPEECH", fail)
    with pytest.raises(FileNotFoundError, match=r"'ljspeech' is not in .* downloaded \(Network is unreachable\)"):
        open_corpus("ljspeech", cache=tmp_path)


def test_espeak_is_opened_as_the_folder_it_returns(tmp_path, monkeypatch):
    espeak = pytest.importorskip("vocoder.espeak")

    def speak(folder: Path) -> Path:
        for split in ("train", "valid", "test"):
            write(folder / "voice" / split / f"{split}.flac", rate=22050)
        return folder / "voice"

    monkeypatch.setattr(espeak, "speak_corpus", speak)
    corpus = open_corpus("espeak", cache=tmp_path)
    assert (names(corpus.train), names(corpus.valid), names(corpus.test)) == (["train"], ["valid"], ["test"])
    assert (corpus.sample_rate, corpus.source) == (22050, "espeak")
    assert corpus.train[0].path == tmp_path / "espeak" / "voice" / "train" / "train.flac"


# --- clips ---


def test_mono_samples_are_returned_exactly(tmp_path):
    samples = np.arange(-1000, 1000) / 1024
    waveform = load_clip(clip_of(write(tmp_path / "a.flac", samples)), RATE)
    assert waveform.dtype == torch.float32
    assert torch.equal(waveform, torch.from_numpy(samples).float())


def test_stereo_is_averaged(tmp_path):
    path = write(tmp_path / "a.wav", np.tile([0.5, -0.25], (2000, 1)))
    assert torch.equal(load_clip(clip_of(path), RATE), torch.full((2000,), 0.125))


@pytest.mark.parametrize(("rate", "target"), [(8000, 16000), (44100, 22050), (22050, 16000), (16000, 22050)])
def test_resampling_keeps_length_and_tone(tmp_path, rate, target):
    n = np.arange(rate // 4 + 1)
    path = write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * n / rate), rate=rate, subtype="FLOAT")
    waveform = load_clip(clip_of(path), target)
    assert len(waveform) == -(-len(n) * target // rate)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(waveform)) / target)
    # away from the edges, where the resampler sees zeros
    np.testing.assert_allclose(waveform.numpy()[100:-100], expected[100:-100], atol=2e-3)


def test_ratio_too_fine_to_resample_is_refused(tmp_path):
    path = write(tmp_path / "a.wav", rate=22051)
    with pytest.raises(UnreadableClip, match=r"a\.wav: 22051 Hz to 48000 Hz is no simple ratio"):
        load_clip(clip_of(path), 48000)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_samples_are_refused(tmp_path, bad):
    samples = np.zeros(1000)
    samples[500] = bad
    path = write(tmp_path / "bad.wav", samples, subtype="FLOAT")
    with pytest.raises(UnreadableClip, match=r"bad\.wav holds NaN or infinite samples"):
        load_clip(clip_of(path), RATE)


def test_decoding_errors_name_the_file(tmp_path):
    path = write(tmp_path / "cut.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 20000))
    clip = clip_of(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableClip, match=r"cut\.flac cannot be decoded"):
        load_clip(clip, RATE)
    path.unlink()
    with pytest.raises(UnreadableClip, match=r"cut\.flac cannot be decoded"):
        load_clip(clip, RATE)
    write(tmp_path / "cut.wav", seconds=0.0)
    with pytest.raises(UnreadableClip, match=r"cut\.wav decodes to no samples"):
        load_clip(clip_of(tmp_path / "cut.wav"), RATE)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_every_format_decodes_to_the_tone_written(tmp_path, suffix):
    rate = 16000
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate)
    for i in range(3):
        write(tmp_path / f"{i}.{suffix.upper()}", tone, rate=rate, format=suffix)
    corpus = open_corpus(str(tmp_path))
    assert corpus.skipped == ()
    waveform = load_clip(corpus.train[0], rate)
    assert len(waveform) == rate
    spectrum = torch.fft.rfft(waveform).abs() * 2 / rate  # 1 Hz bins
    assert int(spectrum.argmax()) == 500
    assert float(spectrum[500]) == pytest.approx(0.5, rel=0.06)  # the mp3 encoder scales by 0.95


# --- headers that are not to be believed ---


def test_headers_that_promise_too_much_take_no_memory(tmp_path):
    silence = Path(__file__).parent / "corpus" / "audio" / "promises-2-to-the-36.flac"
    with pytest.raises(UnreadableClip, match=r"it decodes to 274\.9 GB"):
        load_clip(Clip(silence, 2**36 - 1, 48000, "silence"), 48000)
    with pytest.raises(UnreadableClip, match="cannot hold the 52428000 samples it promises"):
        load_clip(Clip(silence.with_name("silence-for-hours.flac"), 1, 48000, "silence"), 48000)


def test_rates_that_no_speech_has_are_left_out(tmp_path):
    for n in range(3):
        write(tmp_path / f"{n}.wav")
    write(tmp_path / "slow.wav", np.zeros(900), rate=999)
    write(tmp_path / "fast.wav", np.zeros(200_000), rate=1_000_001)
    assert sorted(reason for _, reason in open_corpus(str(tmp_path), RATE).skipped) == [
        "unreadable: a sample rate of 1000001 Hz is none of sound: from 1 to 1000000 are read",
        "unreadable: a sample rate of 999 Hz",
    ]


def test_little_is_not_resampled_to_much():
    assert not_resampled(2**20, 1000, 16_000) is None  # 2 ** 24 samples
    assert not_resampled(2**20, 1000, 17_000) == "1048576 samples at 1000 Hz would become 17825792"
    assert not_resampled(2**24, 6000, 48_000) is None  # eight times as many
