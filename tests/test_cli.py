"""The command line: what it prints, what it writes, and how it says no."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile

from audioup import measure_tones
from audioup.cli import main

RATE = 16000
LINE_KEYS = {
    "frequency_hz",
    "stages",
    "level_dbfs",
    "level_db",
    "interval_dbfs",
    "floor_dbfs",
    "p_value",
    "detected",
    "beyond_reference",
    "sign_changing_dbfs",
    "sign_changing_p_value",
    "sign_changing",
    "modulation_db",
    "modulation_p_value",
    "modulated",
}
REPORT_KEYS = {
    "sample_rate",
    "duration_s",
    "clips",
    "strides",
    "lines",
    "images",
    "decoy_rate",
    "sign_changing_decoy_rate",
    "modulation_decoy_rate",
    "verdict",
    "notes",
    "reference",
}


def noise(seconds=2.0, seed=0, rate=RATE):
    return 0.05 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


def tone(samples, amplitude=0.02, frequency=1 / 8):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(samples) + 0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings, good and bad, by name."""
    folder = tmp_path_factory.mktemp("recordings")
    clean, other = noise(seed=0), noise(3.0, seed=1)
    spoilt = clean.copy()
    spoilt[7] = np.nan
    for name, samples, rate, subtype in (
        ("clean.wav", clean, RATE, "DOUBLE"),
        ("tone.wav", clean + tone(len(clean)), RATE, "DOUBLE"),
        ("tone16.flac", clean + tone(len(clean)), RATE, "PCM_16"),
        ("stereo.wav", np.stack([other, other + tone(len(other))], axis=1), RATE, "DOUBLE"),
        ("clean24k.wav", noise(seed=2, rate=24000), 24000, "DOUBLE"),
        ("short.wav", clean[:600], RATE, "DOUBLE"),
        ("silent.wav", 0 * clean, RATE, "PCM_16"),
        ("nan.wav", spoilt, RATE, "FLOAT"),
        ("no_samples.wav", clean[:0], RATE, "PCM_16"),
    ):
        soundfile.write(folder / name, samples, rate, subtype=subtype)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("not a recording\n" * 200)
    (folder / "samples.raw").write_bytes(bytes(4000))
    (folder / "folder.wav").mkdir()
    return folder


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Run the command line in the folder of recordings; return its status and what it wrote."""
    monkeypatch.chdir(folder)

    def run(*words):
        capsys.readouterr()
        try:
            status = main(["measure", *words])
        except SystemExit as usage:
            status = usage.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def plain(report):
    """Return a report as JSON gives it back."""
    return json.loads(json.dumps(report.to_dict()))


# --- tables ---


def test_table_tells_the_verdict_and_the_tone(run):
    status, out, err = run("tone.wav", "--strides", "8,8,4")
    assert (status, err) == (0, "")
    rows = out.splitlines()
    assert rows[0] == "tone.wav"
    assert rows[1] == "2.00 s at 16000 Hz, strides 8,8,4: tones"
    assert rows[2].split()[:3] == ["Hz", "stage", "dBFS"]
    frequency_hz, stages, level_dbfs, *rest = rows[3].split()
    assert (float(frequency_hz), stages, rest[-1]) == (2000, "1,0", "detected")
    assert float(level_dbfs) == pytest.approx(20 * np.log10(0.02), abs=0.5)
    assert out.count("detected") == 1
    assert "all files together" not in out


def test_tables_are_the_reports_in_the_order_given(run):
    status, out, err = run("tone.wav", "clean.wav", "--strides", "8")
    assert (status, err) == (0, "")
    clean = noise()
    dirty = clean + tone(len(clean))
    first, second, both = measure_tones(dirty, RATE, (8,)), measure_tones(clean, RATE, (8,)), [dirty, clean]
    together = measure_tones(both, RATE, (8,))
    assert out == f"tone.wav\n{first}\n\nclean.wav\n{second}\n\nall files together\n{together}\n"
    assert second.verdict.startswith("clean below -")


def test_strides_may_be_spaced(run):
    assert run("tone.wav", "--strides", " 8, 8 ,4 ") == run("tone.wav", "--strides", "8,8,4")


def test_untestable_recordings_are_told_not_failed(run):
    status, out, err = run("short.wav", "silent.wav", "--strides", "8,8,4")
    assert (status, err) == (0, "")
    assert "not testable: 0.04 s is less than 12 blocks of 64 ms" in out
    assert "not testable: digital silence" in out
    assert "clean" not in out


# --- JSON ---


@pytest.mark.parametrize(("names", "channels"), [(["tone.wav"], [0]), (["stereo.wav", "tone16.flac"], [0, 1, 0])])
def test_json_has_exactly_these_keys(run, names, channels):
    status, out, err = run(*names, "--strides", "8,8,4", "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert set(result) == {"files", "pooled", "failures"}
    assert result["failures"] == []
    assert [file["channel"] for file in result["files"]] == channels
    assert sorted({file["path"] for file in result["files"]}) == sorted(names)
    assert set(result["pooled"]) == REPORT_KEYS
    for file in result["files"]:
        assert set(file) == REPORT_KEYS | {"path", "channel"}
        assert (file["sample_rate"], file["strides"]) == (RATE, [8, 8, 4])
        assert len(file["lines"]) == 128
        for line in file["lines"]:
            assert set(line) == LINE_KEYS
            assert len(line["interval_dbfs"]) == 2
            assert isinstance(line["detected"], bool)


def test_json_holds_the_numbers_of_the_library(run):
    _, out, _ = run("tone.wav", "clean.wav", "--strides", "8,8,4", "--json")
    result = json.loads(out)
    clean = noise()
    clips = [clean + tone(len(clean)), clean]
    for file, clip in zip(result["files"], clips, strict=True):
        assert {key: file[key] for key in REPORT_KEYS} == plain(measure_tones(clip, RATE, (8, 8, 4)))
    assert result["pooled"] == plain(measure_tones(clips, RATE, (8, 8, 4)))


def test_16_bit_file_is_read_at_full_scale_1(run):
    _, out, _ = run("tone16.flac", "--strides", "8", "--json")
    (file,) = json.loads(out)["files"]
    (line,) = [line for line in file["lines"] if line["detected"]]
    assert line["frequency_hz"] == 2000
    assert line["level_dbfs"] == pytest.approx(20 * np.log10(0.02), abs=0.5)


def test_channels_are_measured_apart_and_the_first_is_pooled(run):
    _, out, _ = run("stereo.wav", "clean.wav", "--strides", "8,8,4", "--json")
    result = json.loads(out)
    detected = [[line["frequency_hz"] for line in file["lines"] if line["detected"]] for file in result["files"]]
    assert detected == [[], [2000], []]
    assert result["pooled"]["clips"] == 2
    assert result["pooled"] == plain(measure_tones([noise(3.0, seed=1), noise()], RATE, (8, 8, 4)))
    _, out, _ = run("stereo.wav", "--strides", "8,8,4")
    assert out.splitlines()[0] == "stereo.wav, channel 0"
    assert "\nstereo.wav, channel 1\n" in out


def test_files_of_several_sample_rates_are_not_pooled(run):
    status, out, _ = run("clean.wav", "clean24k.wav", "--strides", "8", "--json")
    result = json.loads(out)
    assert status == 0
    assert result["pooled"] is None
    assert [file["sample_rate"] for file in result["files"]] == [16000, 24000]
    _, out, _ = run("clean.wav", "clean24k.wav", "--strides", "8")
    assert "all files together" not in out


# --- bad input ---

BAD = {
    "missing.wav": "no such file",
    "folder.wav": "no recording in this folder",
    "empty.wav": "not recogni[sz]ed",
    "text.wav": "not recogni[sz]ed",
    "nan.wav": "NaN or infinity, first at sample 7",
    "no_samples.wav": "empty",
    "samples.raw": "",
}


def said_once(err, name, why):
    """Check that the one line about a file names it and says why."""
    (line,) = [line for line in err.splitlines() if line.startswith(f"audioup: {name}: ")]
    return bool(line.removeprefix(f"audioup: {name}: ")) and bool(re.search(why, line))


@pytest.mark.parametrize("options", [(), ("--json",), ("--plot", "bad.png")], ids=str)
@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_one_line_and_status_2(run, folder, name, options):
    status, out, err = run(name, "--strides", "8,8,4", *options)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert said_once(err, name, BAD[name])
    assert not (folder / "bad.png").exists()


def test_bad_files_among_good_ones_are_named_and_the_rest_is_measured(run):
    bad = [name for name in BAD if name != "samples.raw"]
    status, out, err = run(bad[0], "tone.wav", *bad[1:], "clean.wav", "--strides", "8", "--json")
    result = json.loads(out)
    assert status == 1
    assert [file["path"] for file in result["files"]] == ["tone.wav", "clean.wav"]
    assert result["pooled"]["clips"] == 2
    assert err.splitlines() == [f"audioup: {failure['path']}: {failure['error']}" for failure in result["failures"]]
    assert len(result["failures"]) == len(bad)
    for name in bad:
        assert said_once(err, name, BAD[name])
    status, out, err = run("missing.wav", "tone.wav", "--strides", "8")
    assert status == 1
    assert err == "audioup: missing.wav: no such file\n"
    assert out.startswith("tone.wav\n")
    assert "missing" not in out


@pytest.mark.parametrize("strides", ["0", "-1", "8,-4", "8,,4", "a", "", ",", "8.5", "8 8 4", "1", "1,1"])
def test_bad_strides_are_one_line_and_status_2(run, strides):
    status, out, err = run("clean.wav", f"--strides={strides}")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("audioup: --strides ")
    assert err.endswith(f"got {strides!r}\n")


def test_negative_stride_as_a_word_of_its_own(run):
    assert run("clean.wav", "--strides", "-1") == run("clean.wav", "--strides=-1")


def test_strides_longer_than_the_recording(run):
    status, out, err = run("clean.wav", "--strides", "256,128")
    assert (status, out) == (2, "")
    assert err == "audioup: clean.wav: the product of strides, 32768, exceeds the audio's 32000 samples\n"


def test_wrong_usage_has_status_2(run):
    status, _, err = run("clean.wav")
    assert status == 2
    assert "--strides" in err
    status, out, err = run("--strides", "8")
    assert (status, out, err) == (2, "", "audioup: no files given\n")
    status, _, err = run("clean.wav", "--strides", "8", "--loud")
    assert status == 2
    assert "--loud" in err


# --- pictures ---


def red_pixels(path):
    picture = matplotlib.image.imread(path)
    return int(np.count_nonzero((picture[..., 0] > 0.95) & (picture[..., 1:3] < 0.05).all(-1)))


def test_plot_is_a_picture_with_the_tone_in_red(run, folder):
    for name in ("clean", "tone"):
        status, out, err = run(f"{name}.wav", "--strides", "8,8,4", "--plot", f"{name}.png")
        assert (status, err) == (0, "")
        assert out == run(f"{name}.wav", "--strides", "8,8,4")[1]
        assert (folder / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (folder / f"{name}.png").stat().st_size > 10_000
    assert red_pixels(folder / "clean.png") == 0
    assert red_pixels(folder / "tone.png") > 20


def test_plot_has_one_row_per_channel(run, folder):
    run("clean.wav", "--strides", "8", "--plot", "one.png")
    run("stereo.wav", "clean.wav", "--strides", "8", "--plot", "three.png", "--json")
    one, three = (matplotlib.image.imread(folder / name).shape for name in ("one.png", "three.png"))
    assert three[1] == one[1]
    assert three[0] == pytest.approx(3 * one[0], abs=2)


@pytest.mark.parametrize(
    ("path", "why"),
    [("nowhere/x.png", "no such folder"), ("x.unknown", "must end in .png"), ("x", "must end in .png")],
)
def test_picture_that_cannot_be_written_is_one_line_before_anything_is_measured(run, folder, path, why):
    status, out, err = run("tone.wav", "--strides", "8", "--plot", path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert why in err
    assert not (folder / path).exists()


def test_a_folder_is_no_picture(run, tmp_path):
    (tmp_path / "x.png").mkdir()
    status, out, err = run("tone.wav", "--strides", "8", "--plot", str(tmp_path / "x.png"))
    assert (status, out, err) == (2, "", f"audioup: --plot {tmp_path / 'x.png'}: a folder\n")


def test_any_file_name_can_be_printed(run, tmp_path):
    name = b"bad\xff.wav"
    path = Path(tmp_path, os.fsdecode(name))
    try:
        path.write_bytes(Path("tone.wav").read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    status, out, _ = run(str(path), "--strides", "8", "--json")
    (file,) = json.loads(out)["files"]
    assert (status, file["path"]) == (0, f"{tmp_path}/bad\\xff.wav")


@pytest.mark.parametrize("strides", ["1000000000,1000000000", "2097152"])
def test_huge_strides_are_one_line(run, strides):
    status, out, err = run("tone.wav", "--strides", strides)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "the product of strides must be from 2 to 1048576" in err


# --- processes ---


def test_module_and_script_print_the_same(folder):
    script = Path(sys.executable).with_name("audioup")
    if not script.exists():
        pytest.skip("the console script is not installed")
    words = ["measure", "tone.wav", "missing.wav", "--strides", "8,8,4", "--json"]
    done = [
        subprocess.run([*program, *words], cwd=folder, capture_output=True, text=True)
        for program in ([sys.executable, "-m", "audioup"], [script])
    ]
    assert [process.returncode for process in done] == [1, 1]
    assert done[0].stdout == done[1].stdout
    assert done[0].stderr == done[1].stderr == "audioup: missing.wav: no such file\n"
    (file,) = json.loads(done[0].stdout)["files"]
    assert [line["frequency_hz"] for line in file["lines"] if line["detected"]] == [2000]


def test_import_of_the_library_loads_nothing_but_torch_and_numpy():
    code = """
import json, sys
import numpy, torch
before = set(sys.modules)
import audioup
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = set(json.loads(done.stdout))
    heavy = {"scipy", "soundfile", "tyro", "librosa", "matplotlib", "torchaudio", "numba", "sklearn"}
    assert not added & heavy
    assert added <= {"audioup", "torch", "numpy", "typing_extensions"} | set(sys.stdlib_module_names)


def test_a_file_named_twice_is_not_two_pieces_of_evidence(run):
    _, once, _ = run("clean.wav", "--strides", "8", "--json")
    _, twice, _ = run("clean.wav", "clean.wav", "--strides", "8", "--json")
    assert json.loads(once)["pooled"] == json.loads(twice)["pooled"]
    assert len(json.loads(twice)["files"]) == 2


def test_a_picture_needs_a_suffix(run, tmp_path):
    status, _, err = run("clean.wav", "--strides", "8", "--plot", str(tmp_path / "picture"))
    assert status == 2
    assert "must end in .png" in err
    assert not list(tmp_path.glob("picture*"))


# --- folders, patterns, a reference ---


def test_a_folder_is_measured_file_by_file_and_together(run, tmp_path):
    for seed in range(6):
        soundfile.write(tmp_path / f"{seed}.wav", noise(seed=seed) + tone(2 * RATE, 0.003), RATE, subtype="DOUBLE")
    status, out, err = run(str(tmp_path), "--strides", "8")
    assert (status, err) == (0, "")
    rows = out.splitlines()
    assert [row.split(": ")[0] for row in rows[:6]] == [str(tmp_path / f"{seed}.wav") for seed in range(6)]
    assert rows[6] == "all files together"
    assert rows[7] == "12.00 s at 16000 Hz, strides 8: tones"
    assert run(str(tmp_path / "*.wav"), "--strides", "8") == (status, out, err)


def test_a_folder_without_recordings_is_one_line_and_status_2(run, tmp_path):
    status, out, err = run(str(tmp_path), "--strides", "8")
    assert (status, out, err) == (2, "", f"audioup: {tmp_path}: no recording in this folder\n")


def test_lines_of_the_reference_are_told_apart(run):
    _, out, _ = run("tone.wav", "--reference", "clean.wav", "--strides", "8,8,4")
    assert "detected, beyond the reference" in out
    assert "\nreference, 2.00 s at 16000 Hz, strides 8,8,4: clean below" in out
    _, out, _ = run("tone.wav", "--reference", "tone16.flac", "--strides", "8,8,4", "--json")
    (file,) = json.loads(out)["files"]
    assert file["verdict"] == "tones, none beyond the reference"
    assert file["reference"]["verdict"] == "tones"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("missing.wav", "missing.wav: no such file"),
        ("nan.wav", "nan.wav: audio holds NaN"),
        ("clean24k.wav", "its sample rate is 16000 Hz, that of --reference 24000 Hz"),
    ],
)
def test_a_bad_reference_is_one_line_and_status_2(run, folder, reference, why):
    status, out, err = run("clean.wav", "--reference", reference, "--strides", "8", "--plot", "bad.png")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert why in err
    assert not (folder / "bad.png").exists()


def test_a_picture_shows_the_first_eight(run, tmp_path):
    for seed in range(9):
        soundfile.write(tmp_path / f"{seed}.wav", noise(1, seed), RATE)
    status, _, err = run(str(tmp_path), "--strides", "8", "--plot", str(tmp_path / "all.png"))
    assert (status, err) == (0, "audioup: --plot shows the first 8 of 9\n")
    assert (tmp_path / "all.png").stat().st_size > 10_000


def test_the_command_line_loads_no_torch():
    code = "import sys, audioup.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory as Linux tells it")
def test_a_long_recording_does_not_have_to_fit_into_memory(tmp_path):
    path, rate = tmp_path / "long.wav", 48000
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16") as file:
        for minute in range(10):
            file.write(noise(60, minute, rate))
    code = f"""
from audioup.cli import main
main(["measure", {str(path)!r}, "--strides", "8,8,4", "--json"])
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 350_000  # KiB; the float64 samples of it all would take 225,000 more
