"""``audioup plan``: what it prints, and how it says no."""

import json
import sys

import pytest
import tyro

from audioup.commands.errors import InputError
from audioup.commands.plan import Plan
from audioup.plan import plan

BASE = ("--sample-rate", "44100", "--hop-length", "512")


@pytest.fixture
def run(capsys):
    """Run the command; return its status and what it wrote."""

    def run(*words):
        capsys.readouterr()
        try:
            status = tyro.cli(Plan, args=words).run()
        except SystemExit as usage:
            status = usage.code
        except InputError as error:
            print(error, file=sys.stderr)
            status = 2
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def plain(report):
    """Return a report as JSON gives it back."""
    return json.loads(json.dumps(report.to_dict()))


def test_the_list_has_a_row_for_every_schedule_with_its_lines(run):
    status, out, err = run(*BASE)
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.startswith(("8,", "4,")) and ":" not in line]
    report = plan(44100, 512)
    assert [row[0] for row in rows] == [",".join(map(str, schedule.strides)) for schedule in report.schedules]
    for row, schedule in zip(rows, report.schedules, strict=True):
        whole = schedule.layers[0].generator
        assert float(row[4]) == pytest.approx(whole.multiply_adds / 1e9, abs=0.005)
        assert float(row[5]) == pytest.approx(whole.parameters / 1e6, abs=0.005)
        lines = [stage.line_hz for stage in schedule.stages]
        assert [float(hz) for hz in row[7:]] == pytest.approx(lines, abs=0.51)
    assert "8,4,2,2,2,2: BigVGAN v2" in out
    assert "8,8,4,2: DAC 44 kHz" in out


def test_own_kernels_are_warned_of_and_shown_stage_by_stage(run):
    status, out, err = run(*BASE, "--strides", "8,8,4,2", "--kernels", "16,16,7,4")
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    (row,) = [row for row in rows if row[:3] == ["2", "4", "7"]]
    assert row[3:9] == ["uneven,", "1-2", "64", "5512.5", "4", "1"]
    assert "stage 2: kernel 7 % stride 4 is 3" in out
    assert "stage 2: kernel - stride is odd" in out
    assert "stage 0:" not in out
    (nearest,) = [row for row in rows if row[:1] == ["resize-nearest"]]
    assert nearest[1:3] == ["16,16,8,4", "1"]


def test_json_holds_the_numbers_of_the_library(run):
    options = ("--channels", "64", "--n-mels", "20", "--resblock-kernels", "3,5", "--dilations", "1,2", "--causal")
    status, out, err = run(*BASE, "--most", "3", "--any-order", *options, "--json")
    assert (status, err) == (0, "")
    report = plan(
        44100, 512, channels=64, n_mels=20, block_kernels=(3, 5), dilations=(1, 2), causal=True, any_order=True, most=3
    )
    assert json.loads(out) == plain(report)
    _, out, _ = run(*BASE, "--strides", "16,8,4", "--resblock-kernels", "", "--json")
    assert json.loads(out) == plain(plan(44100, 512, (16, 8, 4), block_kernels=()))
    _, out, _ = run(*BASE, "--largest-stride", "4", "--most-stages", "5", "--json")
    assert json.loads(out) == plain(plan(44100, 512, largest_stride=4, most_stages=5))
    assert [4, 4, 4, 4, 2] in [one["strides"] for one in json.loads(out)["schedules"]]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_more_rows_than_asked(run, most):
    _, out, _ = run(*BASE, "--most", str(most), "--json")
    assert len(json.loads(out)["schedules"]) == most


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--hop-length", "0"), "hop_length must be an integer >= 1, got 0"),
        (("--hop-length", "-512"), "hop_length must be an integer >= 1, got -512"),
        (("--hop-length", "51.2"), "--hop-length must be an integer, got '51.2'"),
        (("--hop-length", "many"), "--hop-length must be an integer, got 'many'"),
        (("--hop-length", "1000000000"), "hop_length must be from 2 to 65536, got 1000000000"),
        (("--hop-length", "9" * 5000), "--hop-length must be an integer"),
        (("--hop-length", "509"), "504 = 8 x 7 x 3 x 3 and 512 = 8 x 8 x 8"),
        (("--sample-rate", "0"), "sample_rate must be an integer >= 1, got 0"),
        (("--sample-rate", "1e3"), "--sample-rate must be an integer, got '1e3'"),
        (("--strides", "8,8,4"), "multiply to 256, 2 times too few samples for hop_length 512"),
        (("--strides", ""), "strides must be at least one"),
        (("--strides", "8,x"), "--strides must be integers separated by commas, got '8,x'"),
        (("--strides", "8,8,8", "--kernels", "16,16"), "one for each of the strides 8,8,8, got 16,16"),
        (("--kernels", "16,16,16"), "kernel_sizes 16,16,16 need strides"),
        (("--channels", "100"), "which the channels or most_stages forbid"),
        (("--resblock-kernels", "3,,7"), "--resblock-kernels must be integers"),
        (("--most", "0"), "most must be an integer >= 1, got 0"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, words, why):
    status, out, err = run(*BASE, *words)
    assert (status, out) == (2, "")
    assert err.startswith("audioup: ")
    assert why in err
    assert err.count("\n") == 1
    assert len(err) < 300


def test_missing_numbers_have_status_2(run):
    assert run("--sample-rate", "44100")[0] == 2
