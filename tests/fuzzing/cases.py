"""An input: its files, kept in a corpus or laid out in a folder to be read."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

CANARY = "CANARY"  # the file that code hidden in an input would make, in the working folder
CORPUS = Path(__file__).parents[1] / "corpus"
TARGETS = ("audio", "checkpoint", "onnx")


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        files: By path within the folder; that whose stem is ``main`` is what a user names. Without one, the folder is.
    """

    files: dict[str, bytes]

    @property
    def main(self) -> str:
        """Path of what a user names; empty for the folder itself."""
        return next((name for name in self.files if Path(name).stem == "main"), "")

    def replaced(self, name: str, content: bytes) -> "Case":
        """Return the same with one file changed or added."""
        return Case({**self.files, name: content})


def lay_out(case: Case, folder: Path) -> Path:
    """Write a case into a new folder and return the path that a user would name.

    Beside it lie what a hostile file may point to: ``link.bin`` leads out of the folder, ``zeros`` to an endless
    device, ``pipe`` is one that nobody writes to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in list(folder.iterdir()):
        old.unlink() if old.is_symlink() or not old.is_dir() else shutil.rmtree(old)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if case.main.endswith(".onnx"):
        secret = folder.parent / "secret.bin"
        if not secret.exists():
            secret.write_bytes(bytes(2**16))
        (folder / "link.bin").symlink_to(secret)
        (folder / "zeros").symlink_to("/dev/zero")
        os.mkfifo(folder / "pipe")
    return folder / case.main


def saved(case: Case, folder: Path) -> None:
    """Keep a case as it is."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def opened(path: Path) -> Case:
    """Read a case: a file by itself, or a folder."""
    if path.is_file():
        return Case({f"main{path.suffix}": path.read_bytes()})
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return Case({file.relative_to(path).as_posix(): file.read_bytes() for file in files})


def corpus(target: str, root: Path = CORPUS) -> dict[str, Case]:
    """Read the committed cases of a target, by name."""
    folder = root / target
    return {path.name: opened(path) for path in sorted(folder.iterdir())} if folder.is_dir() else {}
