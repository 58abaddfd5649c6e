"""Hostile files: what fuzzing found and what is made by hand, and that the harness notices what it has to."""

from pathlib import Path

import pytest
from fuzzing import faults, onnx_files
from fuzzing.cases import CORPUS, TARGETS, saved
from fuzzing.inputs import Inputs
from fuzzing.watch import Tally, made, replayed
from fuzzing.worker import MEMORY_MB, SECONDS

# What is read with a result; everything else in the corpus is refused.
HARMLESS = {
    "audio": {"rate-1.wav", "promises-4-gb.wav"},
    "checkpoint": {
        "layers-by-the-hundred.safetensors",
        "views-by-the-thousand.pt",
        "sizes-that-fill-memory",
    },
    "onnx": {
        "a-large-picture.onnx",
        "a-layer-that-makes-nothing.onnx",
        "a-thousand-products.onnx",
        "expanded-a-dozen-times.onnx",
        "gigabytes-beside-a-layer.onnx",
        "gigabytes-of-ones.onnx",
        "gigabytes-of-zeros.onnx",
        "one-weight-for-hundreds.onnx",
        "ranged.onnx",
        "resize-that-grows.onnx",
    },
}
# Libopus makes of it what its memory holds, which is refused where it is NaN.
EITHER = "opus-that-does-not-end.ogg"


def wrong(tally: Tally) -> list[tuple[str, str, str]]:
    return [(Path(one.name).name, one.kind, one.what) for one in tally.found]


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_refused_or_read_within_bounds(tmp_path: Path, target: str) -> None:
    cases = [(target, path) for path in sorted((CORPUS / target).iterdir())]
    assert len(cases) > 5
    tally = replayed(cases, tmp_path)
    assert not wrong(tally)
    assert (tally.inputs, tally.accepted + tally.refused) == (len(cases), len(cases))
    assert tally.slowest_s < SECONDS
    assert tally.peak_mb < MEMORY_MB
    assert {cases[n][1].name for n in tally.accepted_numbers} - {EITHER} == HARMLESS[target]


def test_the_harness_notices_what_it_has_to(tmp_path: Path) -> None:
    cases = []
    for case in faults.seeds():
        fault = case.files[case.main].decode()
        saved(case, tmp_path / "planted" / fault)
        cases.append(("planted", tmp_path / "planted" / fault))
    tally = replayed(cases, tmp_path / "work")
    expected = [(fault, faults.KINDS.get(fault, fault)) for fault in faults.FAULTS]
    assert [(name, kind) for name, kind, _ in wrong(tally)] == expected
    assert (tally.inputs, tally.refused) == (len(cases), 1)  # the one that is as documented
    said = {name: what for name, _, what in wrong(tally)}
    assert "SIGSEGV" in said["crash"]
    assert "KeyError" in said["exception"]
    assert "faults.py" in said["hang"]


@pytest.mark.parametrize("target", TARGETS)
def test_random_inputs(tmp_path: Path, target: str) -> None:
    tally = made(target, 150, seed=1, out=tmp_path)
    assert not wrong(tally)
    assert tally.inputs == tally.accepted + tally.refused == 150
    assert tally.passed > 50
    assert tally.accepted > 0


def test_inputs_follow_from_the_seed(tmp_path: Path) -> None:
    made_twice = [
        [Inputs(onnx_files, "onnx", seed, tmp_path / str(n)).case(number) for number in range(20)]
        for n, seed in enumerate((3, 3, 4))
    ]
    assert made_twice[0] == made_twice[1] != made_twice[2]
