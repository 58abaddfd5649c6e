"""Speech synthesis and the spoken corpus."""

import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from vocoder import espeak
from vocoder.espeak import PITCHES, RATES, VOICES, speak_corpus, synthesize

TEXT = "The quick brown fox jumps over the lazy dog, and forty-two wizards vex the jinx."
RECIPE = Path(espeak.__file__).parent
WEATHER = ("wind", "rain", "hail", "snow", "frost", "mist", "cloud", "storm", "fog", "sun", "ice", "dew")
SENTENCES = [f"Now comes the {word}." for word in WEATHER]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return speak_corpus(tmp_path / "corpus", SENTENCES)


def clips(folder: Path) -> dict[str, list[str]]:
    return {split: sorted(path.name for path in (folder / split).iterdir()) for split in ("train", "valid", "test")}


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_speech_is_mono_float32_at_a_plausible_level_and_length():
    samples, sample_rate = synthesize(TEXT)
    assert sample_rate == 22050
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    # 15 words and a comma at 165 words a minute: 5.5 s
    assert 4.5 < len(samples) / sample_rate < 6.5
    assert 0.3 < np.abs(samples).max() < 0.9
    assert 0.03 < np.sqrt(np.mean(samples**2)) < 0.2
    assert abs(samples.mean()) < 0.01


def test_speech_has_sound_below_and_above_four_kilohertz():
    samples, sample_rate = synthesize(TEXT)
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / sample_rate)
    # vowels hold most of the power; fricatives reach beyond 4 kHz
    assert power[frequencies < 1000].sum() > 0.5 * power.sum()
    assert power[frequencies > 4000].sum() > 0.002 * power.sum()


def test_duration_falls_as_the_rate_rises():
    lengths = [len(synthesize(TEXT, words_per_minute=rate)[0]) for rate in (100, 140, 190, 300)]
    assert lengths == sorted(lengths, reverse=True)
    # twice the rate lies between 140 and 280; pauses keep it from exactly half
    assert 0.25 < lengths[3] / lengths[0] < 0.5


def test_pitch_moves_the_fundamental():
    def fundamental(pitch: int) -> float:
        """Median over loud frames of the strongest autocorrelation lag between 60 and 400 Hz."""
        samples, sample_rate = synthesize("Ah, are, ah.", pitch=pitch)
        frames = np.lib.stride_tricks.sliding_window_view(samples, 2048)[::512] * np.hanning(2048)
        frames = frames[np.sqrt(np.mean(frames**2, axis=1)) > 0.03]
        correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 8192)) ** 2)
        shortest, longest = sample_rate // 400, sample_rate // 60
        return float(np.median(sample_rate / (shortest + correlation[:, shortest:longest].argmax(axis=1))))

    low, middle, high = (fundamental(pitch) for pitch in (20, 50, 80))
    assert 60 < low < 0.9 * middle
    assert middle < 0.9 * high < 180


def test_the_same_arguments_give_the_same_samples_whatever_was_said_before():
    first, _ = synthesize(TEXT, "en-us+f3", 150, 60)
    synthesize("Something else entirely.", "en-gb-scotland", 180, 40)
    time.sleep(1.1)  # the library would seed its noise with the second
    second, _ = synthesize(TEXT, "en-us+f3", 150, 60)
    np.testing.assert_array_equal(first, second)
    code = (
        "import sys; from vocoder.espeak import synthesize;"
        f"sys.stdout.buffer.write(synthesize({TEXT!r}, 'en-us+f3', 150, 60)[0].tobytes())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], cwd=RECIPE.parent, check=True, capture_output=True).stdout
    np.testing.assert_array_equal(first, np.frombuffer(elsewhere, np.float32))


def test_threads_take_turns():
    expected = {voice: synthesize(TEXT, voice)[0] for voice in VOICES}
    with ThreadPoolExecutor(4) as pool:
        spoken = list(pool.map(lambda voice: synthesize(TEXT, voice)[0], VOICES * 3))
    for voice, samples in zip(VOICES * 3, spoken, strict=True):
        np.testing.assert_array_equal(samples, expected[voice])


def test_every_voice_of_the_corpus_speaks_differently_and_none_clips():
    spoken = [synthesize(TEXT, voice)[0] for voice in VOICES]
    assert len({samples.tobytes() for samples in spoken}) == len(VOICES) == 9
    assert max(np.abs(samples).max() for samples in spoken) < 0.9


@pytest.mark.parametrize("voice", ["xx-zz", "en-us+nobody", "en-us+", ""])
def test_unknown_voices_are_refused(voice):
    with pytest.raises(ValueError, match="has no voice"):
        synthesize(TEXT, voice)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        (" \n", {}),
        (TEXT, {"words_per_minute": 79}),
        (TEXT, {"words_per_minute": 451}),
        (TEXT, {"pitch": 100}),
    ],
)
def test_bad_arguments_are_refused(text, options):
    with pytest.raises(ValueError, match=r"nothing to speak|words_per_minute"):
        synthesize(text, **options)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"pip install 'audioup\[recipes\]'"):
        synthesize(TEXT)


def test_a_library_that_cannot_initialise_is_named(monkeypatch, tmp_path):
    import espeakng_loader

    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(RuntimeError, match="cannot initialise") as raised:
        synthesize(TEXT)
    assert "\n" not in str(raised.value)
    monkeypatch.undo()
    assert len(synthesize(TEXT)[0]) > 0


def test_the_recipe_has_320_different_sentences_spread_over_all_voices():
    sentences = (RECIPE / "sentences.txt").read_text(encoding="utf-8").splitlines()
    assert len(sentences) == len(set(sentences)) == 320
    assert all(4 <= len(sentence.split()) <= 22 and sentence.isascii() for sentence in sentences)
    plan = espeak._plan(sentences)
    assert Counter(split for *_, split in plan) == {"train": 294, "valid": 10, "test": 16}
    for held_out in ("valid", "test"):
        assert {voice for _, voice, *_, split in plan if split == held_out} == set(VOICES)
    assert len({(voice, rate, pitch) for _, voice, rate, pitch, _ in plan}) == 320
    assert (min(RATES), max(RATES), min(PITCHES), max(PITCHES)) == (140, 190, 35, 65)


@pytest.mark.parametrize("count", [3, 4, 19, 20, 40, 63, 64, 333])
def test_every_number_of_sentences_fills_three_splits(count):
    splits = Counter(split for *_, split in espeak._plan(["word"] * count))
    test, valid = max(1, count // 20), max(1, count // 32)
    assert splits == {"train": count - test - valid, "valid": valid, "test": test}


def test_corpus_holds_each_sentence_once_as_16_bit_flac(folder):
    names = clips(folder)
    assert {split: len(files) for split, files in names.items()} == {"train": 10, "valid": 1, "test": 1}
    assert sorted(name for files in names.values() for name in files) == [f"{index:04d}.flac" for index in range(12)]
    for path in folder.rglob("*.flac"):
        header = soundfile.info(path)
        assert (header.samplerate, header.channels, header.subtype) == (22050, 1, "PCM_16")
    path = folder / "train" / "0003.flac"
    samples, _ = synthesize(SENTENCES[3], VOICES[3], RATES[3], PITCHES[3])
    np.testing.assert_array_equal(soundfile.read(path, dtype="float32")[0], samples)


def test_a_finished_corpus_is_left_alone(folder, monkeypatch):
    before = times(folder)
    # a finished corpus needs no synthesiser
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert speak_corpus(folder, SENTENCES) == folder
    assert times(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["corpus"]


@pytest.mark.parametrize("damage", ["no json", "corrupt json", "other json", "missing clip", "empty"])
def test_a_damaged_corpus_is_rebuilt(folder, damage):
    before, contents = times(folder), (folder / "test" / clips(folder)["test"][0]).read_bytes()
    if damage == "no json":
        (folder / "corpus.json").unlink()
    elif damage == "corrupt json":
        (folder / "corpus.json").write_bytes(b'{"digest": "\xff')
    elif damage == "other json":
        (folder / "corpus.json").write_text("[1, 2]")
    elif damage == "missing clip":
        (folder / "train" / "0000.flac").unlink()
    else:
        for path in [*folder.rglob("*.*"), *(folder / split for split in ("train", "valid", "test"))]:
            path.rmdir() if path.is_dir() else path.unlink()
    speak_corpus(folder, SENTENCES)
    after = times(folder)
    assert after.keys() == before.keys()
    assert all(after[path] > before[path] for path in before)
    assert (folder / "test" / clips(folder)["test"][0]).read_bytes() == contents
    assert [path.name for path in folder.parent.iterdir()] == ["corpus"]


def test_other_sentences_replace_the_corpus(folder):
    digest = json.loads((folder / "corpus.json").read_text())["digest"]
    speak_corpus(folder, SENTENCES[:4])
    written = json.loads((folder / "corpus.json").read_text())
    assert written["counts"] == {"train": 2, "valid": 1, "test": 1}
    assert written["digest"] != digest
    assert sum(map(len, clips(folder).values())) == 4


def test_a_failed_build_keeps_the_old_corpus_and_leaves_nothing_else(folder):
    before = times(folder)
    with pytest.raises(ValueError, match="nothing to speak"):
        speak_corpus(folder, [*SENTENCES, " "])
    assert times(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["corpus"]


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="other files"):
        speak_corpus(tmp_path, SENTENCES)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_too_few_sentences_are_refused(tmp_path):
    with pytest.raises(ValueError, match="three at least, not 2"):
        speak_corpus(tmp_path / "corpus", SENTENCES[:2])


@pytest.mark.parametrize("stale", [False, True])
def test_two_processes_building_at_once_both_end_well(tmp_path, stale):
    folder = tmp_path / "corpus"
    if stale:
        speak_corpus(folder, SENTENCES[:3])
    code = f"""
from pathlib import Path
from vocoder.espeak import speak_corpus
print(len(list(speak_corpus(Path({str(folder)!r}), {SENTENCES!r}).rglob("*.flac"))))
"""
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=RECIPE.parent, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert outputs == ["12\n", "12\n"]
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    before = times(folder)
    speak_corpus(folder, SENTENCES)
    assert times(folder) == before
