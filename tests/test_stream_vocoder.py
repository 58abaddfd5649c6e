"""The streaming recipe: the sound of a run, streamed, is the sound of the whole; its numbers add up."""

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import reference
import soundfile
import stream_vocoder
import torch
import train_vocoder
from brief import brief_reports
from spoilt import overwrite
from vocoder.checkpoint import load_checkpoint
from vocoder.runs import open_run

one_thread = reference.one_thread
SHORT = ["--accelerator", "cpu", "--batch-size", "2", "--segment-size", "2048", "--test-clips", "1"]
STEPS = ["--steps", "2", "--warmup-steps", "2", "--save-every", "2", "--validate-every", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    (folder / "recordings").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        sound = 0.2 * np.sin(2 * np.pi * (120 + 20 * i) * np.arange(16000) / 16000)
        soundfile.write(folder / "recordings" / f"{i}.wav", sound + 0.01 * rng.standard_normal(16000), 16000)
    data = ["--data", str(folder / "recordings"), "--out", str(folder), "--preset", "tiny"]
    with brief_reports():
        assert train_vocoder.main([*SHORT, *STEPS, *data, "--name", "plain"]) == 0
        assert train_vocoder.main([*SHORT, *STEPS, *data, "--name", "noisy", "--upsampler", "resize-linear"]) == 0
    return folder


def test_a_run_is_streamed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained / "plain"
    assert stream_vocoder.main(["--run", str(folder), "--chunks", "1", "5", "500", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Look-ahead 85.1 ms (1361 samples), which is conv_pre 48.0, ups.0 8.0" in printed
    numbers = json.loads((folder / "streamed.json").read_text())
    assert numbers["look_ahead_samples"] == 1361
    assert sum(numbers["look_ahead_ms_by_layer"].values()) == pytest.approx(numbers["look_ahead_ms"])
    assert numbers["look_ahead_ms"] == pytest.approx(1361 / 16)
    assert numbers["analysis_look_ahead_ms"] == pytest.approx((1024 - 256) / 2 / 16)
    assert [row["frames"] for row in numbers["chunks"]] == [1, 5]  # the recording has 62 frames
    for row in numbers["chunks"]:
        assert row["chunk_ms"] == pytest.approx(16 * row["frames"])
        assert row["latency_ms"] == pytest.approx(1361 / 16 + row["chunk_ms"] + row["computing_ms"])
        assert row["real_time_factor"] == pytest.approx(row["computing_ms"] / row["chunk_ms"])
        assert 0 < row["real_time_factor"] < 10
        assert row["computing_ms"] <= row["computing_95_percent_ms"]
        assert row["difference"] < 3e-6
    run = open_run(folder)
    original = next(iter(sorted((folder / "audio").glob("*.reference.wav"))))
    sound = torch.from_numpy(soundfile.read(original, dtype="float32")[0])
    with torch.no_grad():
        whole = run.generator(run.mel(sound).unsqueeze(0))[0, 0]
    streamed, rate = soundfile.read(folder / "streamed.wav", dtype="float32")
    assert rate == 16000
    assert len(streamed) == len(whole) == 62 * 256
    assert np.abs(streamed - whole.numpy()).max() < 2 / 2**15  # written with 16 bits, as its recording was


def test_noise_is_left_out_of_the_comparison(trained: Path, tmp_path: Path) -> None:
    options = ["--run", str(trained / "noisy"), "--chunks", "7", "--rounds", "1", "--out", str(tmp_path / "s.wav")]
    assert stream_vocoder.main(options) == 0
    assert json.loads((tmp_path / "s.json").read_text())["chunks"][0]["difference"] < 1e-4  # with noise it is about 1


def test_a_recording_at_another_rate_and_in_stereo(trained: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.full((44100, 2), 0.1), 44100)
    options = ["--run", str(trained / "plain"), "--audio", str(tmp_path / "in.wav"), "--seconds", "0.5"]
    assert stream_vocoder.main([*options, "--chunks", "8", "--rounds", "1", "--out", str(tmp_path / "out.wav")]) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 8000 // 256 * 256


def test_a_recording_is_cut_and_resampled_as_it_is(tmp_path: Path) -> None:
    # A minute at a rate without a common factor: only the start is read, and the tone keeps frequency and level.
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(60 * 44101) / 44101)
    soundfile.write(tmp_path / "in.wav", tone, 44101)
    start = time.perf_counter()
    sound = stream_vocoder.read_sound(tmp_path / "in.wav", 16000, 1.0).numpy()
    assert time.perf_counter() - start < 10  # with torchaudio's kernels it was 50
    assert sound.shape == (16000,)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(sound - expected)[100:-100].max() < 2e-3


def test_recordings_at_no_rate_of_sound_are_refused(tmp_path: Path) -> None:
    for rate in (999, 1_000_001):
        soundfile.write(tmp_path / "in.wav", np.full(3000, 0.1), rate)
        with pytest.raises(ValueError, match=rf"in\.wav must be at 1000 to 1000000 Hz, got {rate}"):
            stream_vocoder.read_sound(tmp_path / "in.wav", 16000, 1.0)


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("plain", "conv_post.bias", math.nan, "a finite peak above 0, got nan"),
        ("plain", "conv_post", 0.0, "a finite peak above 0, got 0"),
        ("noisy", "noises.1.gain", math.nan, "must make finite sound"),
    ],
)
def test_weights_without_sound_write_nothing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, key: str, value: float, words: str
) -> None:
    folder = tmp_path / name
    shutil.copytree(trained / name, folder, ignore=shutil.ignore_patterns("streamed.*"))
    weights, _ = load_checkpoint(folder / "checkpoints" / "step-000002", ("generator",))
    for other, tensor in weights["generator"].items():
        if other.startswith(key) and not other.endswith("original1"):  # a direction of 0 is NaN
            tensor.fill_(value)
    overwrite(folder / "checkpoints" / "step-000002", weights)
    before = set(folder.rglob("*"))
    assert stream_vocoder.main(["--run", str(folder), "--chunks", "8", "--rounds", "1"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize("out", ["folder", "folder.wav", "sound", "s.json", "s.txt", "taken.wav", "file/s.wav"])
def test_out_is_checked_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    for name in ("folder", "folder.wav", "taken.json"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    before = set(tmp_path.rglob("*"))
    monkeypatch.delattr(stream_vocoder, "measure")
    assert (
        stream_vocoder.main(["--preset", "tiny", "--seconds", "0.1", "--chunks", "2", "--out", str(tmp_path / out)])
        == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--out must be a file ending in .wav" in error or str(tmp_path / "file") in error
    assert set(tmp_path.rglob("*")) == before


def test_stale_drafts_are_written_over(tmp_path: Path) -> None:
    for name in (".writing-s.wav", ".writing-s.json"):
        (tmp_path / name).write_text("left by a kill")
    options = ["--preset", "tiny", "--seconds", "0.1", "--chunks", "4", "--rounds", "1"]
    assert stream_vocoder.main([*options, "--out", str(tmp_path / "s.wav")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"s.wav", "s.json"}
    assert soundfile.info(tmp_path / "s.wav").frames == 8 * 256


def test_a_checkpoint_of_another_preset_is_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "plain", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["options"]["preset"] = "v1"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert stream_vocoder.main(["--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "does not fit" in error
    assert error.count("\n") == 1


def test_a_preset_needs_no_run(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.wav"
    options = ["--preset", "tiny", "--upsampler", "subpixel", "--chunks", "4", "--seconds", "0.3", "--rounds", "1"]
    assert stream_vocoder.main([*options, "--out", str(out)]) == 0
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert (numbers["sample_rate"], numbers["look_ahead_samples"], numbers["frames"]) == (22050, 1507, 25)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("holds no run of train_vocoder.py", ["--run", "nowhere"]),
        ("--chunks must be at least 1, got (0,)", ["--preset", "tiny", "--chunks", "0"]),
        ("--seconds and --rounds must be above 0", ["--preset", "tiny", "--seconds", "0"]),
        ("--seconds at most 3600, got inf", ["--preset", "tiny", "--seconds", "inf"]),
        ("--seconds at most 3600, got nan", ["--preset", "tiny", "--seconds", "nan"]),
        ("--seconds gives less than one frame of 256 samples", ["--preset", "tiny", "--seconds", "0.01"]),
        ("the sound has 8 frames, fewer than any", ["--preset", "tiny", "--seconds", "0.1", "--chunks", "9"]),
        ("--upsampler must be one of", ["--preset", "tiny", "--upsampler", "none"]),
        ("nothing.wav cannot be read", ["--preset", "tiny", "--audio", "nothing.wav"]),
    ],
)
def test_clear_errors(words: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert stream_vocoder.main(options) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("stream_vocoder: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1
