"""What README shows must run."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_the_layer_swap_example_runs_and_says_what_it_claims(capsys: pytest.CaptureFixture[str]) -> None:
    example, *others = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(example.splitlines()) <= 12
    exec(compile(example, str(README), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("(")[0] for line in lines] == ["TransposedConv1d", "SubPixelConv1d", "ResizeConv1d"]
    levels = [float(re.findall(r"(-?\d+|-inf) dB", line)[0]) for line in lines]
    assert levels[0] > -20
    assert max(levels[1:]) < -120
    assert len(others) == 3
    for example in others:
        exec(compile(example, str(README), "exec"), {})


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    command = re.findall(r"pip install -e '\.\[test\]' && (.*)", README.read_text(encoding="utf-8"))
    assert len(command) == 1
    assert command[0] in (README.parent / ".ci" / "run").read_text(encoding="utf-8")
