"""Refuse a wheel or an sdist that holds more or less than what git holds of it: python .ci/contents.py DIST."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_MB = 3
# What an sdist is for: the package, its recipes and tests, without the pages of samples/, which are megabytes of sound.
CODE = ("audioup", "recipes", "tests", "samples/make.py", "samples/listening", ".ci")
TEXT = ("README.md", "CHANGELOG.md", "LICENSE")
# What an sdist has that git has not, or not by an include.
WRITTEN = {"PKG-INFO", "pyproject.toml", ".gitignore"}


def tracked(*paths: str) -> set[str]:
    """The files of the commit that are to be published, under these paths."""
    listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(listed.stdout.split("\0")) - {""}


def compare(name: str, held: set[str], expected: set[str]) -> None:
    """Say what is too much or missing, or how much there is."""
    if held != expected:
        sys.exit(f"{name}: {sorted(held - expected)} do not belong there; {sorted(expected - held)} are missing")
    print(f"{name}: {len(held)} files, as in git")


def main() -> None:
    """Check the one wheel and the one sdist of a folder."""
    (folder,) = map(Path, sys.argv[1:])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    for file in (wheel, sdist):
        if file.stat().st_size > MOST_MB * 1e6:
            sys.exit(f"{file.name} takes {file.stat().st_size / 1e6:.1f} MB, more than {MOST_MB}")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    compare(wheel.name, names - about, tracked("audioup"))
    if not {"audioup/py.typed", "audioup/card.html"} <= names or not any(name.endswith("/LICENSE") for name in about):
        sys.exit(f"{wheel.name} lacks py.typed, card.html or the licence")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if not member.isdir()}
    compare(sdist.name, names - WRITTEN, tracked(*CODE, *TEXT))


if __name__ == "__main__":
    main()
