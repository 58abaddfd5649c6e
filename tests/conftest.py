"""What holds for every test."""

import os
from collections.abc import Iterator

import network
import pytest

import audioup.telemetry  # noqa: F401

network.install()
if "PYTEST_XDIST_WORKER" in os.environ:  # there are as many workers as cores: one thread each, also in what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _nothing_leaves_this_machine() -> Iterator[None]:
    """Fail a test that reaches for the network, also where it swallows the refusal."""
    before = len(network.refused)
    yield
    asked = network.refused[before:]
    assert not asked, asked
