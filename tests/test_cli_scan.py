"""``audioup measure --scan``: what it prints, and how it says no."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from sounds import RATE, white

from audioup import scan
from audioup.cli import main
from audioup.scan import scan_periods

REPORT_KEYS = {
    "sample_rate",
    "duration_s",
    "scanned_s",
    "clips",
    "longest_period",
    "frequencies",
    "periods",
    "apart",
    "bound_dbfs",
    "decoy_rate",
    "verdict",
    "notes",
}
PERIOD_KEYS = {"samples", "frequency_hz", "lines", "harmonics", "chance", "strides"}
LINE_KEYS = {
    "frequency_hz",
    "numerator",
    "denominator",
    "level_dbfs",
    "interval_dbfs",
    "p_value",
    "family_p",
    "offset_hz",
    "tolerance_hz",
}


def comb(samples, harmonics=(1, 2, 3), period=8, amplitude=0.003):
    n = np.arange(samples)
    return amplitude * sum(np.cos(2 * np.pi * (k * n % period) / period + k) for k in harmonics)


CLEAN = white(2, 0.01)
TONE = CLEAN + comb(len(CLEAN))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings, good and bad, by name."""
    folder = tmp_path_factory.mktemp("recordings")
    spoilt = CLEAN.copy()
    spoilt[7] = np.nan
    for name, samples, rate in (
        ("clean.wav", CLEAN, RATE),
        ("tone.wav", TONE, RATE),
        ("stereo.wav", np.stack([CLEAN, TONE], axis=1), RATE),
        ("tone48k.wav", white(2, 0.01, rate=48000) + comb(96000), 48000),
        ("short.wav", CLEAN[:600], RATE),
        ("silent.wav", 0 * CLEAN, RATE),
        ("nan.wav", spoilt, RATE),
        ("no_samples.wav", CLEAN[:0], RATE),
    ):
        soundfile.write(folder / name, samples, rate, subtype="DOUBLE")
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("not a recording\n" * 200)
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


def test_table_names_the_period_and_what_to_try(run):
    status, out, err = run("tone.wav", "--scan")
    assert (status, err) == (0, "")
    assert out == f"tone.wav\n{scan_periods(TONE, RATE)}\n\n"
    rows = out.splitlines()
    assert rows[1] == "2.00 s at 16000 Hz, scanned: period 8"
    assert rows[2].startswith("period 8, multiples of 2000.00 Hz: 3 of 4 lines; ")
    assert rows[2].endswith("; try --strides 8 or 4,2 or 2,2,2")
    assert sorted(row.split()[1] for row in rows[4:7]) == ["1/4", "1/8", "3/8"]


def test_json_holds_the_numbers_of_the_library(run):
    status, out, err = run("tone.wav", "clean.wav", "--scan", "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert set(result) == {"files", "pooled", "failures"}
    reports = [scan_periods(TONE, RATE), scan_periods(CLEAN, RATE)]
    for file, report in zip(result["files"], reports, strict=True):
        assert set(file) == REPORT_KEYS | {"path", "channel"}
        assert {key: file[key] for key in REPORT_KEYS} == json.loads(json.dumps(report.to_dict()))
    assert result["pooled"] == json.loads(json.dumps(scan_periods([TONE, CLEAN], RATE).to_dict()))
    (period,) = result["files"][0]["periods"]
    assert set(period) == PERIOD_KEYS
    assert all(set(line) == LINE_KEYS for line in period["lines"])


def test_channels_are_scanned_apart_and_the_first_is_pooled(run):
    _, out, _ = run("stereo.wav", "tone.wav", "--scan", "--json")
    result = json.loads(out)
    assert [file["verdict"][:9] for file in result["files"]] == ["no period", "period 8", "period 8"]
    assert result["pooled"]["clips"] == 2


def test_files_of_several_rates_are_scanned_one_by_one(run):
    status, out, _ = run("tone.wav", "tone48k.wav", "--scan", "--json")
    result = json.loads(out)
    assert (status, result["pooled"]) == (0, None)
    assert [file["verdict"] for file in result["files"]] == ["period 8", "period 8"]


def test_untestable_recordings_are_told_not_failed(run):
    status, out, err = run("short.wav", "silent.wav", "--scan")
    assert (status, err) == (0, "")
    assert "not testable: 0.04 s is less than 12 blocks of 64 ms" in out
    assert "not testable: digital silence" in out
    assert "no period" not in out


BAD = {
    "missing.wav": "no such file",
    "empty.wav": "no recording",
    "text.wav": "no recording",
    "nan.wav": "NaN or infinity, first at sample 7",
    "no_samples.wav": "empty",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_one_line_and_status_2(run, name):
    status, out, err = run(name, "--scan")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"audioup: {name}: ")
    assert BAD[name] in err


def test_bad_files_among_good_ones_are_named_and_the_rest_is_scanned(run):
    status, out, err = run("nan.wav", "tone.wav", "--scan")
    assert (status, err) == (1, "audioup: nan.wav: audio holds NaN or infinity, first at sample 7\n")
    assert "period 8" in out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "--strides must be given, or --scan where they are unknown"),
        (("--scan", "--strides", "8"), "--scan is for unknown strides, without --strides"),
        (("--scan", "--reference", "clean.wav"), "--scan is for unknown strides, without --reference"),
        (("--scan", "--plot", "x.png"), "--scan is for unknown strides, without --plot"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_status_2(run, folder, words, why):
    assert run("tone.wav", *words) == (2, "", f"audioup: {why}\n")
    assert not (folder / "x.png").exists()


def test_help_says_what_it_is_not(run):
    _, out, _ = run("--help")
    assert "no detector of synthetic speech" in " ".join(out.replace("│", " ").split())


def test_long_recordings_are_read_in_part_and_said_so(run, monkeypatch, tmp_path):
    monkeypatch.setattr(scan, "MOST_PIECES", 2)
    soundfile.write(tmp_path / "long.wav", white(100, 0.01) + comb(100 * RATE), RATE)
    _, out, _ = run(str(tmp_path / "long.wav"), "--scan")
    assert "100.00 s at 16000 Hz, scanned: period 8" in out
    assert "long: 40 s of it, spread evenly, were scanned" in out


def test_scanning_loads_no_torch(folder):
    code = "import sys; from audioup.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, "measure", "tone.wav", "--scan"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "period 8" in done.stdout
