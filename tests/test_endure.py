"""The trials' command line: what it refuses, and that it calls what was lost a fault."""

import json

import endure
import pytest


@pytest.mark.parametrize("bad", [("--kills", "0"), ("--disks", "0"), ("--kill-steps", "3"), ("--memory-steps", "700")])
def test_too_little_is_refused(bad, tmp_path, capsys) -> None:
    assert endure.main([*bad, "--out", str(tmp_path / "out")]) == 2
    assert "from 1, --kill-steps from 4, --memory-steps above 700" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_not_removed(tmp_path, capsys) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    assert endure.main(["--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_without_small_file_systems_it_says_so_before_the_rest(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(endure, "kill_at_random", lambda *_: pytest.fail("it has begun"))
    assert endure.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "endure: there is no mount here: small file systems take Linux\n"


def test_what_was_lost_is_a_fault_and_what_was_found_before_is_kept(tmp_path, capsys, monkeypatch) -> None:
    killed = {"kills": 2, "while_saving": 1, "runs": 1, "differences": ["killed-0: generator.safetensors: /up.weight"]}
    monkeypatch.setattr(endure, "kill_at_random", lambda *_: killed)
    assert endure.main(["--only", "kills", "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().out
    assert "vocoder, killed  2       1 while saving; 1 runs resumed to their end  1" in printed
    assert "killed-0: generator.safetensors: /up.weight" in printed

    def interrupted(training, *_):
        if training.program == "train_gan":
            raise KeyboardInterrupt
        return {**killed, "differences": []}

    monkeypatch.setattr(endure, "kill_at_random", interrupted)
    assert endure.main(["--only", "kills", "--out", str(tmp_path / "out")]) == 130
    assert json.loads((tmp_path / "out" / "endurance.json").read_text())["vocoder"]["kills"]["kills"] == 2


def test_memory_that_grows_is_a_fault() -> None:
    rows = [{"step": step, "megabytes": 100.0 + step / 10} for step in range(500, 2000, 100)]
    found = {"vocoder": {"memory": {"rows": rows, "grown_mb": 140.0}}, "gan": {}}
    assert endure.faults_in(found) == ["memory grew by 140.0 MB"]
    assert "290 MB; grown by 140.0 MB since step 500" in endure.in_words(found)
