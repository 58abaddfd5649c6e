"""Speech from eSpeak NG, a synthesiser that pip installs: something to train on when nothing is downloaded."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from tqdm import tqdm

FORMAT_VERSION = 1  # raise it when the same plan would give other files
VOLUME = 65  # percent of normal; at 100 the loudest voices clip inside the library
SPLITS = ("train", "valid", "test")
# nine voices, eleven rates, seven pitches: no common factor, so 693 sentences pass before a combination returns
VOICES = (
    *("en-us", "en+f2", "en-gb-scotland", "en-us+f3", "en-029", "en-gb-x-rp+f4", "en-us+m7"),
    *("en-gb-scotland+f1", "en+m3"),
)
RATES = range(140, 191, 5)
PITCHES = range(35, 66, 5)

# values of espeak-ng's speak_lib.h
SYNCHRONOUS_WITHOUT_PLAYBACK = 2
DO_NOT_EXIT_THE_PROCESS = 0x8000
PARAMETER_RATE, PARAMETER_VOLUME, PARAMETER_PITCH = 1, 2, 3
CHARACTERS_ARE_UTF8 = 1

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_LOCK = threading.Lock()
_Clip = tuple[str, str, int, int, str]  # text, voice, words per minute, pitch, split


def synthesize(
    text: str, voice: str = "en-us", words_per_minute: int = 165, pitch: int = 50
) -> tuple[npt.NDArray[np.float32], int]:
    """Speak a text; the same arguments always give the same samples.

    Args:
        text: what to say.
        voice: an eSpeak NG voice, with an optional variant after a plus sign ("en-us+f3").
        words_per_minute: speaking rate, 80 to 450.
        pitch: 0 to 99; 50 is the voice's own.

    Returns:
        Mono samples of shape (time,) in [-1, 1], and the sample rate in hertz.

    Raises:
        ImportError: the `espeakng-loader` package is not installed.
        RuntimeError: the library cannot be loaded, cannot initialise, or fails while speaking.
        ValueError: the text gives no sound, the voice does not exist, or a number is out of range.
    """
    samples, sample_rate = _speak(text, voice, words_per_minute, pitch)
    return samples.astype(np.float32) / np.float32(32768), sample_rate


def speak_corpus(folder: Path, sentences: Sequence[str] | None = None) -> Path:
    """Speak every sentence once into `folder/{train,valid,test}/NNNN.flac`, unless that was done before.

    The corpus appears in one step when it is complete, so a killed process leaves none; of several processes that
    build it at once, one puts it in place. NNNN is the sentence's place in the list.

    Args:
        folder: where the corpus is kept; a corpus of other sentences or voices there is replaced.
        sentences: three or more, the lines of `sentences.txt` by default. One in 20 becomes a test clip and one in
            32 a validation clip, at least one each, spread evenly through the list.

    Returns:
        The absolute path of the folder: 16-bit mono FLAC, and `corpus.json` with the number of clips in each split.

    Raises:
        FileExistsError: the folder holds files that belong to no corpus.
        ImportError, RuntimeError, ValueError: as `synthesize`; ValueError also for fewer than three sentences.
    """
    if sentences is None:
        sentences = Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()
    folder = Path(folder).resolve()
    plan = _plan(sentences)
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, VOLUME, plan]).encode()).hexdigest()
    if _is_complete(folder, digest):
        return folder
    if folder.exists() and not {entry.name for entry in folder.iterdir()} <= {*SPLITS, "corpus.json"}:
        raise FileExistsError(f"{folder} holds other files than a spoken corpus; give a new or an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        built = Path(scratch) / "new"
        for split in SPLITS:
            (built / split).mkdir(parents=True)
        for index, (*speech, split) in enumerate(tqdm(plan, desc="speaking the corpus", unit="clip")):
            samples, sample_rate = _speak(*speech)
            soundfile.write(built / split / f"{index:04d}.flac", samples, sample_rate, subtype="PCM_16")
        counts = Counter(split for *_, split in plan)
        with (built / "corpus.tmp").open("w", encoding="utf-8") as stream:
            json.dump({"digest": digest, "counts": counts}, stream, indent=2)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(built / "corpus.tmp", built / "corpus.json")
        _move_into_place(built, folder, digest)
    return folder


@contextlib.contextmanager
def _library() -> Iterator[tuple[Any, int, Path]]:
    """Load and initialise the library; give it, its sample rate and the folder of its data."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ImportError("speech synthesis needs espeakng-loader: pip install 'audioup[recipes]'") from error
    data = Path(espeakng_loader.get_data_path())
    # the library keeps one state per process, so one thread uses it at a time
    with _LOCK, contextlib.ExitStack() as cleanup:
        try:
            library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise RuntimeError(f"eSpeak NG cannot be loaded: {error}") from error
        # the pitch flutter runs on from one text to the next, and only a fresh copy of the library resets it
        cleanup.callback(_unload, library)
        options = (SYNCHRONOUS_WITHOUT_PLAYBACK, 0, os.fsencode(data), DO_NOT_EXIT_THE_PROCESS)
        sample_rate = library.espeak_Initialize(*options)
        if sample_rate <= 0:
            raise RuntimeError(f"eSpeak NG cannot initialise (159 bytes of path at most) with its data in {data}")
        cleanup.callback(library.espeak_Terminate)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # breath noise is seeded with the time otherwise
        yield library, sample_rate, data


def _unload(library: ctypes.CDLL) -> None:
    if sys.platform == "win32":
        ctypes.WinDLL("kernel32").FreeLibrary(ctypes.c_void_p(library._handle))
    else:
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))


def _speak(text: str, voice: str, words_per_minute: int, pitch: int) -> tuple[npt.NDArray[np.int16], int]:
    """Speak a text into 16-bit samples, the library's own format."""
    if not (80 <= words_per_minute <= 450 and 0 <= pitch <= 99):
        raise ValueError(f"need 80 to 450 words_per_minute and a pitch of 0 to 99, not {words_per_minute} and {pitch}")
    blocks: list[npt.NDArray[np.int16]] = []

    def collect(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    # the library keeps only the address: this name keeps the function alive while it speaks
    callback = _CALLBACK(collect)
    with _library() as (library, sample_rate, data):
        # the library takes a variant that does not exist for no variant, without a word
        variant_exists = "+" not in voice or (data / "voices" / "!v" / voice.partition("+")[2]).is_file()
        if not variant_exists or library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        library.espeak_SetSynthCallback(callback)
        settings = {PARAMETER_RATE: words_per_minute, PARAMETER_VOLUME: VOLUME, PARAMETER_PITCH: pitch}
        for parameter, value in settings.items():
            library.espeak_SetParameter(parameter, value, 0)
        size = ctypes.c_size_t(len(text.encode()) + 1)
        status = library.espeak_Synth(text.encode(), size, 0, 0, 0, CHARACTERS_ARE_UTF8, None, None)
    if status != 0:
        raise RuntimeError(f"eSpeak NG failed with status {status} on {text!r}")
    # for a text without words the library gives a moment of silence
    if not any(block.any() for block in blocks):
        raise ValueError(f"there is nothing to speak in {text!r}")
    return np.concatenate(blocks), sample_rate


def _plan(sentences: Sequence[str]) -> list[_Clip]:
    if len(sentences) < 3:
        raise ValueError(f"a corpus needs a sentence for each split, three at least, not {len(sentences)}")
    places = range(len(sentences))
    test = _spread(places, max(1, len(places) // 20))
    # a neighbour is free: the test places are further apart
    valid = [place + (place in test) for place in _spread(places, max(1, len(places) // 32))]
    splits = ["test" if place in test else "valid" if place in valid else "train" for place in places]
    return list(zip(sentences, cycle(VOICES), cycle(RATES), cycle(PITCHES), splits, strict=False))


def _spread(places: Sequence[int], count: int) -> list[int]:
    return [places[(2 * number + 1) * len(places) // (2 * count)] for number in range(count)]


def _is_complete(folder: Path, digest: str) -> bool:
    """Tell whether the folder holds the corpus of this digest, with all of its files."""
    try:
        counts = {split: len(list((folder / split).glob("*.flac"))) for split in SPLITS}
        written = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(written == {"digest": digest, "counts": counts})


def _move_into_place(built: Path, folder: Path, digest: str) -> None:
    """Rename the built corpus to its folder, unless another process has put the same one there."""
    for attempt in range(20):
        # renaming fails while a folder with files is there, so it never mixes two corpora
        with contextlib.suppress(OSError):
            os.rename(built, folder)
            return
        if _is_complete(folder, digest):
            return
        # the old corpus moves into the scratch folder and goes with it; another process may be moving it too
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, built.with_name(f"old{attempt}"))
    raise OSError(f"cannot move the corpus to {folder}")
