"""What holds for every test."""

import os
from collections.abc import Iterator

# Workers of pytest-xdist, and the programs that they start, share the cores; said before torch and NumPy are loaded.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

import network
import pytest

import audioup.telemetry  # noqa: F401

network.install()


@pytest.fixture(autouse=True)
def _nothing_leaves_this_machine() -> Iterator[None]:
    """Fail a test that reaches for the network, also where it swallows the refusal."""
    before = len(network.refused)
    yield
    asked = network.refused[before:]
    assert not asked, asked
