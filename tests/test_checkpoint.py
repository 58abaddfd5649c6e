"""Checkpoints: what was not written as it is there is refused, and the one before is named."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from vocoder import checkpoint
from vocoder.checkpoint import checkpoints, load_checkpoint, restore, save_checkpoint, set_aside


def save(folder: Path, step: int) -> Path:
    weights = {"generator": {"a": torch.full((3, 4), float(step)), "b": torch.randn(2)}}
    return save_checkpoint(folder, step, weights, {"x": torch.ones(2) * step})


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["generator.safetensors", "state.pt", "sha256.json"])
@pytest.mark.parametrize("damage", ["one bit at the end", "truncated", "gone"])
def test_what_is_not_as_it_was_written_is_refused_and_the_one_before_is_offered(tmp_path, file, damage):
    save(tmp_path, 5)
    path = save(tmp_path, 7) / file
    if damage == "one bit at the end":
        flip(path, -3)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
    if (file, damage) == ("sha256.json", "gone"):  # as earlier versions left it
        assert load_checkpoint(path.parent, ("generator",))[1]["step"] == 7
        return
    with pytest.raises(ValueError, match=r"step-000007 cannot be read .*step 5 is whole: --resume-from 5 goes on"):
        load_checkpoint(path.parent, ("generator",))
    assert load_checkpoint(tmp_path / "step-000005", ("generator",))[0]["generator"]["a"][0, 0] == 5


def test_a_damaged_one_before_is_not_offered(tmp_path):
    for step in (5, 7):
        flip(save(tmp_path, step) / "generator.safetensors", -1)
    with pytest.raises(ValueError, match=r"\(generator\.safetensors is not what was written\)$"):
        load_checkpoint(tmp_path / "step-000007", ("generator",))


def test_a_pickle_that_runs_code_is_refused_though_its_digest_fits(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = save(tmp_path, 7)
    torch.save({"step": 7, "x": Bomb()}, path / "state.pt")
    digests = json.loads((path / "sha256.json").read_text())
    digests["state.pt"] = checkpoint._digest(path / "state.pt")
    (path / "sha256.json").write_text(json.dumps(digests))
    with pytest.raises(ValueError, match=r"step-000007 cannot be read \(it holds \S+, which is code"):
        load_checkpoint(path, ("generator",))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, bad):
    save(tmp_path, 5)
    with pytest.raises(FloatingPointError, match=r"weights of the generator are not finite at step 7 \(b\)"):
        save_checkpoint(tmp_path, 7, {"generator": {"a": torch.ones(2), "b": torch.tensor([1, bad])}}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000005"]


def test_integers_are_weights_too(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"generator": {"batches": torch.tensor(3)}}, {})
    assert load_checkpoint(path, ("generator",))[0]["generator"]["batches"] == 3


def test_what_a_kill_left_is_no_checkpoint_and_goes(tmp_path):
    save(tmp_path, 5)
    for name in (".writing-000006", ".removing-step-000004"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generator.safetensors").touch()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000005"]
    save(tmp_path, 7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000005", "step-000007"]


def test_a_checkpoint_is_renamed_before_it_is_removed(tmp_path, monkeypatch):
    for step in (5, 6):
        save(tmp_path, step)
    removed = []
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda path, **_: removed.append(path.name))
    save(tmp_path, 7)
    assert removed == [".removing-step-000005"]
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000006", "step-000007"]


def test_later_checkpoints_are_set_aside_and_lost_never(tmp_path):
    save(tmp_path, 5)
    for _ in range(2):
        save(tmp_path, 7)
        set_aside(tmp_path, 5)
        assert [path.name for path in checkpoints(tmp_path)] == ["step-000005"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "aside-1-step-000007",
        "aside-2-step-000007",
        "step-000005",
    ]


def trained(width: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = nn.Linear(3, width)
    optimizer = torch.optim.AdamW(network.parameters(), 0.1)
    network(torch.ones(3)).sum().backward()
    optimizer.step()
    return network, optimizer


def test_restoring_checks_networks_and_what_optimizers_keep(tmp_path):
    network, optimizer = trained(2)
    weights = {"generator": network.state_dict()}
    state = {"seconds": 1.0, "optimizers": {"generator": optimizer.state_dict()}}
    other, its_optimizer = trained(2)
    restore(tmp_path, weights, state, {"generator": other}, {"generator": its_optimizer})
    assert torch.equal(other.weight, network.weight)
    kept = its_optimizer.state[other.weight]["exp_avg"]
    assert torch.equal(kept, optimizer.state[network.weight]["exp_avg"])
    wide, wide_optimizer = trained(4)
    with pytest.raises(ValueError, match=r"is of another generator: 2 of another shape: weight \(2, 3\) for \(4, 3\)"):
        restore(tmp_path, weights, state, {"generator": wide}, {"generator": wide_optimizer})
    for wrong in (
        {"generator": wide_optimizer.state_dict()},
        {},
        {"generator": {"state": {}}},
        {"generator": {"state": 3, "param_groups": []}},
    ):
        with pytest.raises(ValueError, match="has no state for the optimizer of generator"):
            restore(
                tmp_path, weights, {**state, "optimizers": wrong}, {"generator": other}, {"generator": its_optimizer}
            )
    with pytest.raises(ValueError, match="has no seconds"):
        restore(tmp_path, weights, {"optimizers": {}}, {"generator": other}, {"generator": its_optimizer})
