"""Nothing reaches for the network: not at import, and not in the tests."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import network
import pytest

ROOT = Path(__file__).parent.parent


def modules() -> list[str]:
    """Every module of the package, the recipes and the listening page, without those that run when imported."""
    found = []
    for root, folder in ((ROOT, "audioup"), (ROOT / "recipes", "."), (ROOT / "samples", ".")):
        paths = [path.relative_to(root).with_suffix("") for path in (root / folder).rglob("*.py")]
        found += [".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__"]
    return sorted(found)


def test_importing_every_module_asks_nothing_of_the_network_and_leaves_no_id(tmp_path: Path) -> None:
    names = modules()
    assert {"audioup", "audioup.commands.measure", "vocoder.trainer", "train_gan", "make", "listening.page"} <= set(
        names
    )
    code = f"""
import importlib, json, sys
import network
network.install()
for name in {names!r}:
    importlib.import_module(name)
print(json.dumps([network.refused, sorted(set({names!r}) - set(sys.modules))]))
"""
    folders = [ROOT, ROOT / "tests", ROOT / "recipes", ROOT / "samples"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "HOME": str(tmp_path)}
    del environment["ORT_DISABLE_TELEMETRY"]  # set by the package, not by its tests
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], []]
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")}
    assert written <= {".cache/matplotlib", ".config/matplotlib"}  # its list of fonts


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "localhost",
        b"localhost",
        "",
        None,
        ("127.0.0.1", 80),
        ("::1", 80, 0, 0),
        "/tmp/socket",
    ],
)
def test_loopback_is_allowed(address: object) -> None:
    assert network.is_local(address)


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1", "10.0.0.1", "example.invalid", b"example.invalid", ("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0)],
)
def test_other_addresses_are_not(address: object) -> None:
    assert not network.is_local(address)


def test_a_connection_is_refused_and_remembered() -> None:
    with pytest.raises(ConnectionRefusedError, match=r"this machine: socket\.getaddrinfo 'example\.invalid'"):
        socket.getaddrinfo("example.invalid", 80)
    with socket.socket() as tcp, pytest.raises(ConnectionRefusedError, match=r"socket\.connect \('192\.0\.2\.1', 80\)"):
        tcp.connect(("192.0.2.1", 80))
    with socket.socket(type=socket.SOCK_DGRAM) as udp, pytest.raises(ConnectionRefusedError, match=r"socket\.sendto"):
        udp.sendto(b"", ("192.0.2.1", 9))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    asked = [entry.split()[0] for entry in network.refused]
    assert asked == ["socket.getaddrinfo", "socket.connect", "socket.sendto"]
    network.refused.clear()  # as it should be: the guard need not fail this test


def test_a_test_that_swallows_the_refusal_fails(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import contextlib, socket\n"
        "def test_quietly():\n"
        "    with contextlib.suppress(OSError):\n"
        "        socket.getaddrinfo('example.invalid', 80)\n"
        "def test_next():\n"
        "    pass\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "1 error" in done.stdout, done.stdout
    assert "2 passed" in done.stdout
    assert "example.invalid" in done.stdout
