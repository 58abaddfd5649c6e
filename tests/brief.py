"""Reports of vocoders without what takes longest, for tests that look at something else."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def brief_reports() -> Iterator[None]:
    """Leave out the pictures and the timing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocoder.report._write_pictures", lambda *_: None)
        patch.setattr("vocoder.report._real_time_factor", lambda *_: 1.0)
        yield
