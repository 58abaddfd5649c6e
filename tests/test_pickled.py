"""What is told of a pickle before it is read, and what is refused of the files that hold one."""

import io
import pickle
import struct
from collections import Counter, OrderedDict
from pathlib import Path

import pytest
import torch
from fuzzing.pickles import archive, bombs, members
from fuzzing.weights import of_pickle, torch_saved

from audioup.pickled import DEEPEST, MOST_NESTED, Refused, scan
from audioup.torch_file import load_torch


def of(pickled: bytes) -> dict[str, int]:
    return scan(io.BytesIO(pickled))


def test_storages_are_counted_in_bytes() -> None:
    content = {"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.float64), "c": torch.zeros(2).half()}
    content["d"] = content["a"][1:]  # shares its storage
    ((name, pickled),) = [(name, one) for name, one in members(torch_saved(content)) if name.endswith("data.pkl")]
    assert name == "archive/data.pkl"
    assert sorted(of(pickled).values()) == [2 * 2, 7 * 8, 3 * 5 * 4]


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_saves_is_loaded(tmp_path: Path, zipped: bool) -> None:
    network = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 4), torch.nn.PReLU())
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2, 8)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 3, 8])
    content = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
        "plain": [
            None,
            True,
            0.5,
            -(2**40),
            "é",
            b"\x00\xff",
            (1, (2, [3])),
            {1: "a"},
            OrderedDict(b=2),
            Counter("aab"),
        ],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "size": torch.ones(2, 3).shape,
    }
    (tmp_path / "m.pt").write_bytes(torch_saved(content, zipped))
    loaded = load_torch(tmp_path / "m.pt")
    assert loaded["plain"] == content["plain"]
    assert loaded["size"] == (2, 3)
    assert loaded["schedule"] == content["schedule"]
    torch.testing.assert_close(loaded["optimizer"]["state"], content["optimizer"]["state"])
    torch.testing.assert_close(loaded["network"], network.state_dict())
    assert torch.equal(loaded["random"], content["random"])


@pytest.mark.parametrize("name", sorted(bombs().keys() - {"itself", "memo", "counter"}))  # these make little
def test_bombs_are_refused_before_torch_reads_them(name: str) -> None:
    with pytest.raises(ValueError, match=r"it holds|a damaged pickle|not enough data|exhausted|expected"):
        of(bombs()[name])


@pytest.mark.parametrize(("name", "called"), [("system", "posix.system"), ("deep", "posix.system"), ("eval", "eval")])
def test_what_would_be_called_is_named(name: str, called: str) -> None:
    with pytest.raises(Refused, match="which is code") as refused:
        of(bombs()[name])
    assert refused.value.name is not None
    assert refused.value.name.endswith(called)


def test_nesting_is_counted_as_often_as_it_is_named() -> None:
    one: tuple = ()
    for _ in range(19):
        one = (one, one)
    assert of(pickle.dumps(one, 2)) == {}  # 2 ** 20 - 2 items
    with pytest.raises(Refused, match="in one another"):
        of(pickle.dumps((one, one), 2))
    assert MOST_NESTED == 2**20
    deep: list = []
    for _ in range(DEEPEST - 1):
        deep = [deep]
    assert of(pickle.dumps(deep, 2)) == {}
    with pytest.raises(Refused, match="in one another"):
        of(pickle.dumps([deep], 2))


@pytest.mark.parametrize("key", [(1, 2), 2**63, -(2**70)])
def test_keys_that_can_be_made_to_collide_are_refused(key: object) -> None:
    with pytest.raises(Refused, match="keys that no state dict has"):
        of(pickle.dumps({key: 0}, 2))
    assert of(pickle.dumps({2**63 - 1: 0, "a": 0, 0.5: 0, None: 0}, 2)) == {}


def test_a_storage_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    # torch would copy what lies behind it in memory.
    good = torch_saved({"conv_pre.weight": torch.ones(4)})
    longer = [(name, one.replace(b"K\x04tq", b"J" + struct.pack("<i", 2**20) + b"tq")) for name, one in members(good)]
    (tmp_path / "m.pt").write_bytes(archive(longer))
    with pytest.raises(ValueError, match="storage '0' is cut off"):
        load_torch(tmp_path / "m.pt")


def test_values_that_are_named_over_and_over_are_refused(tmp_path: Path) -> None:
    one = torch.ones(2**20)
    torch.save({str(n): one for n in range(8)}, tmp_path / "m.pt")  # 4 * 4 MB and 16 MB more
    assert len(load_torch(tmp_path / "m.pt")) == 8
    torch.save({str(n): one for n in range(9)}, tmp_path / "m.pt")
    with pytest.raises(Refused, match="its tensors share their values: 37748736 bytes in a file of 41"):
        load_torch(tmp_path / "m.pt")
    torch.save({"a": torch.ones(1).expand(2**40)}, tmp_path / "m.pt")
    with pytest.raises(Refused, match="share their values"):
        load_torch(tmp_path / "m.pt")


def test_archives_that_two_readers_could_read_differently_are_refused(tmp_path: Path) -> None:
    good, evil = of_pickle(pickle.dumps({}, 2)), of_pickle(bombs()["system"])
    files = members(good)
    for content, why in (
        (archive([*files, ("archive/DATA.PKL", b"")]), "twice"),
        (archive([*files, ("archive/b/data.pkl", b"")]), "torch.save did not make"),
        (evil + good, "before or behind"),
        (good + b"\0", "not a zip file|before or behind"),
    ):
        (tmp_path / "m.pt").write_bytes(content)
        with pytest.raises(Exception, match=why):  # zipfile has kinds of its own
            load_torch(tmp_path / "m.pt")
