"""What a claim is measured with, and what comes out of it."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from gan.data import Patches, photographs


@dataclasses.dataclass(frozen=True)
class Context:
    """Where a claim is measured.

    Attributes:
        folder: For pictures and trained networks.
        quick: Smaller images and fewer steps.
        data: Photographs, as in `gan.data.photographs`.
        accelerator: Of Lightning Fabric.
    """

    folder: Path
    quick: bool = False
    data: str = "photos"
    accelerator: str = "auto"

    @property
    def size(self) -> int:
        """Samples along a side of what the GANs make."""
        return 16 if self.quick else 32

    @cached_property
    def photographs(self) -> str:
        """The fingerprint of the photographs that are large enough for the GANs, read once."""
        return Patches(photographs(self.data, self.size), self.size).fingerprint()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes:
        measured: Numbers by name, as JSON holds them.
        checks: What had to be so, and whether it was.
        summary: The main numbers in a line.
        pictures: File in the folder, and what it shows.
    """

    measured: dict[str, Any]
    checks: dict[str, bool]
    summary: str
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether all that was checked is so."""
        return all(self.checks.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return {**dataclasses.asdict(self), "holds": self.holds}
