"""Sound files, read piece by piece: an hour never has to fit into memory."""

import math
import re
from collections.abc import Iterable, Iterator
from glob import glob
from io import BufferedReader, FileIO
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
from numpy.typing import NDArray
from typing_extensions import Self

from audioup.slowtime import LONGEST_SEGMENT, SEGMENT_S

STREAM = 2**31 - 2**16  # bytes: a header that promises more was written before the end was known
UNKNOWN = 2**48  # more samples than any file holds: the header of a stream does not know
HIGHEST_RATE = 1_000_000  # Hz; blocks of as many milliseconds of more would fill the memory
MOST_AT_ONCE = 3 * 2**24  # values, in a piece of all channels: 52 channels of 48 kHz
# A few bytes can promise hours: of silence, or of nothing. What is longer than some seconds has more to it.
SHORT, MOST_IN_A_BYTE = 2**20, 100  # samples; speech at 3.8 kbit/s and 48 kHz has so many in a byte


class Recording:
    """A sound file that is open for reading: ``sample_rate`` in Hz, ``channels``, ``samples``.

    Raises:
        OSError: If there is no such file or it cannot be opened.
        ValueError: If it is no recording, does not say its sample rate or its length, or is one that `check_header`
            refuses.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError("no such file" if not path.exists() else "not a file")
        if path.suffix.lower() == ".raw":
            raise ValueError("a raw file does not say its sample rate; convert it to wav first")
        self._bytes = _Steady(FileIO(path))  # opened here, so that any file name will do
        try:
            self._sound = soundfile.SoundFile(self._bytes)
            self.sample_rate, self.channels = int(self._sound.samplerate), int(self._sound.channels)
            self.samples = int(self._sound.frames)
            promised = re.search(r"data : (\d+) \(should be (\d+)\)", self._sound.extra_info)
            if promised and int(promised[2]) < int(promised[1]) < STREAM:
                raise ValueError(f"cut off: it ends after {promised[2]} of the {promised[1]} bytes it promises")
            check_header(self.sample_rate, self.channels, self.samples, path.stat().st_size)
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


class _Steady(BufferedReader):
    """A file that stays where it is when it is told to go where there is nothing, as the fields of a damaged one do."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError, OverflowError):  # libsndfile could not catch them
            return self.tell()


def check_header(sample_rate: int, channels: int, samples: int, size: int) -> None:
    """Refuse what no recording is, before its header is believed and memory and time are spent on it.

    Args:
        sample_rate: In Hz, as the header says, as the other two.
        channels: How many.
        samples: Of each channel.
        size: Of the file, in bytes.

    Raises:
        ValueError: If the length is unknown, or more than so few bytes can hold, or if the rate is above 1 MHz or so
            many channels of it do not fit into memory.
    """
    if samples > UNKNOWN:
        raise ValueError("written as a stream, it does not say how long it is; convert it to wav first")
    if samples > max(SHORT, MOST_IN_A_BYTE * size):
        raise ValueError(f"damaged or empty: {size} bytes cannot hold the {samples} samples it promises")
    if not 0 < sample_rate <= HIGHEST_RATE:
        raise ValueError(f"a sample rate of {sample_rate} Hz is none of sound: from 1 to {HIGHEST_RATE} are read")
    at_once = channels * min(math.ceil(SEGMENT_S * sample_rate), LONGEST_SEGMENT)
    if at_once > MOST_AT_ONCE:
        raise ValueError(f"{channels} channels of {sample_rate} Hz are too many to read together; split them first")


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
