"""What holds for every test."""

from collections.abc import Iterator

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
