"""Sound files, read piece by piece: an hour never has to fit into memory."""

import re
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
from numpy.typing import NDArray
from typing_extensions import Self

STREAM = 2**31 - 2**16  # bytes: a header that promises more was written before the end was known
UNKNOWN = 2**48  # more samples than any file holds: the header of a stream does not know


class Recording:
    """A sound file that is open for reading: ``sample_rate`` in Hz, ``channels``, ``samples``.

    Raises:
        OSError: If there is no such file or it cannot be opened.
        ValueError: If it is no recording, or does not say its sample rate or its length.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError("no such file" if not path.exists() else "not a file")
        if path.suffix.lower() == ".raw":
            raise ValueError("a raw file does not say its sample rate; convert it to wav first")
        self._bytes = path.open("rb")  # opened here, so that any file name will do
        try:
            self._sound = soundfile.SoundFile(self._bytes)
            self.sample_rate, self.channels = int(self._sound.samplerate), int(self._sound.channels)
            self.samples = int(self._sound.frames)
            promised = re.search(r"data : (\d+) \(should be (\d+)\)", self._sound.extra_info)
            if promised and int(promised[2]) < int(promised[1]) < STREAM:
                raise ValueError(f"cut off: it ends after {promised[2]} of the {promised[1]} bytes it promises")
            if self.samples > UNKNOWN:
                raise ValueError("written as a stream, it does not say how long it is; convert it to wav first")
        except soundfile.LibsndfileError as error:
            self._bytes.close()
            raise ValueError(f"no recording: {error.error_string}") from None
        except BaseException:
            self._bytes.close()
            raise

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return samples ``start`` to ``stop``, shape ``(stop - start, channels)``, full scale 1.

        Raises:
            ValueError: If the file ends before or is damaged.
        """
        try:
            if self._sound.tell() != start:
                self._sound.seek(start)
            piece = np.asarray(self._sound.read(stop - start, dtype="float64", always_2d=True))
        except soundfile.LibsndfileError as error:
            raise ValueError(f"damaged between samples {start} and {stop}: {error.error_string}") from None
        if len(piece) < stop - start:
            raise ValueError(f"cut off: it ends after {start + len(piece)} of the {self.samples} samples it promises")
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sound.close()
        self._bytes.close()


def find_recordings(paths: Iterable[Path]) -> Iterator[tuple[Path, str | None]]:
    """Replace folders by the sound files below them and patterns by what they match.

    Args:
        paths: Files, folders, or patterns with ``*``, ``?``, ``[...]`` or ``**`` that the shell has left alone.

    Yields:
        Path and None, or the path as given and why nothing was found there. Hidden files are passed over.
    """
    suffixes = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".oga", ".opus"}
    suffixes -= {".raw"}
    for path in paths:
        if path.is_dir():
            found = [file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file()]
            missing = "no recording in this folder"
        elif not path.exists() and any(sign in str(path) for sign in "*?["):
            matches = [file for match in glob(str(path), recursive=True) if (file := Path(match)).is_file()]
            found = list(
                {file.resolve(): file for file in sorted(matches, reverse=True)}.values()
            )  # links may go round
            missing = "no file matches"
        else:
            yield path, None
            continue
        shown = sorted(file for file in found if not file.name.startswith("."))
        yield from ((file, None) for file in shown)
        if not shown:
            yield path, missing


def first_seconds(path: Path, seconds: float, channel: int) -> NDArray[np.float64]:
    """Return the beginning of one channel, shape ``(T,)``."""
    with Recording(path) as recording:
        return recording.read(0, min(recording.samples, int(seconds * recording.sample_rate)))[:, channel]
