"""Sound files: seeds of every container, damage, and what `audioup measure` and the recipes do with them."""

import io
import json
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from audioup.commands.session import ScanSession, Session
from fuzzing import checksums
from fuzzing.cases import Case
from fuzzing.mutate import NUMBERS, scrambled

DOCUMENTED = (OSError, ValueError)
STRIDES = (4, 4)
SCANNED = 0.05  # of the inputs, which takes longer
KINDS = (
    *(("WAV", one) for one in ("PCM_16", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")),
    *(("WAVEX", one) for one in ("PCM_24", "FLOAT")),
    *(("AIFF", one) for one in ("PCM_16", "FLOAT", "IMA_ADPCM", "DWVW_16")),
    *(("CAF", one) for one in ("PCM_16", "ALAC_16", "ALAC_24")),
    *(("AU", one) for one in ("PCM_16", "G721_32")),
    *(("FLAC", one) for one in ("PCM_16", "PCM_24", "PCM_S8")),
    *(("OGG", one) for one in ("VORBIS", "OPUS")),
    *((one, "PCM_16") for one in ("RF64", "W64", "NIST", "VOC", "PAF", "SVX", "IRCAM", "AVR", "HTK", "MAT4", "MAT5")),
    *((one, "PCM_16") for one in ("PVF", "SDS", "MPC2K")),
    ("XI", "DPCM_16"),
    ("MP3", "MPEG_LAYER_III"),
    ("WVE", "ALAW"),
)
COMMON = ("WAV", "FLAC", "OGG", "MP3")  # what the recipes take; three quarters of the inputs
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def seeds() -> list[Case]:
    """Make a recording of every container and coding that libsndfile writes: mono of 0.2 s and stereo of 1.2 s."""
    made = []
    for container, coding in KINDS:
        for seconds, channels in ((0.2, 1), (0.05, 3), (1.2, 2)):
            if seconds > 1 and container not in COMMON:
                continue
            data = _encoded(container, coding, seconds, channels)
            if data:
                suffix = {"FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3"}.get(container, ".wav")
                made.append(Case({f"main{suffix}": data}))
    return made


def mutated(case: Case, random: Random, other: Case) -> Case:
    """Damage a recording."""
    name, data = case.main, case.files[case.main]
    kept = random.choice((0, 4, 12, 12, 64))
    if name.endswith(".mp3"):
        out = _frames(data, random) if random.random() < 0.6 else scrambled(data, random, kept=kept)
    elif random.random() < 0.4 and data[:4] in (b"RIFF", b"fLaC", b"OggS"):
        out = _fields(data, random)
    else:
        out = scrambled(data, random, other.files[other.main], kept)
    if random.random() < 0.7:  # without this a decoder throws most of the damage away
        out = checksums.ogg(out) if out[:4] == b"OggS" else checksums.flac(out) if out[:4] == b"fLaC" else out
    if random.random() < 0.05:
        name = f"main{random.choice(SUFFIXES)}"
    return Case({name: out})


def recognised(path: Path) -> bool:
    """Say whether soundfile opens the file."""
    try:
        with soundfile.SoundFile(path):
            return True
    except (RuntimeError, OSError, ValueError, TypeError):
        return False


def check(path: Path, random: Random | None) -> str:
    """Measure or scan a recording, both if nothing is left to chance, and load it as training does; say what came out.

    Raises:
        OSError: As documented.
        ValueError: As documented.
    """
    from vocoder.clips import Clip, UnreadableClip, load_clip
    from vocoder.index import read_header

    verdicts, refusals = [], []
    scanned = random is not None and random.random() < SCANNED
    for session in ([Session(STRIDES, None)] * (not scanned)) + ([ScanSession()] * (scanned or random is None)):
        session.measure([path])
        verdicts += [result.report.verdict for result in session.results]
        refusals += [failure["error"] for failure in session.failures]
        for result in session.results:
            assert str(result.report)
            assert json.dumps(result.report.to_dict(), allow_nan=False)
    try:
        header = read_header(path)
        if header.unusable:
            raise UnreadableClip(header.unusable)
        load_clip(Clip(path, header.frames, header.sample_rate, "main"), 16000)
    except (OSError, UnreadableClip) as error:
        refusals.append(str(error))
    else:
        verdicts.append("loaded")
    if not verdicts:
        raise ValueError("; ".join(refusals))
    return " ".join("".join(sorted(set(verdicts))).split()[:3])


def _encoded(container: str, coding: str, seconds: float, channels: int) -> bytes:
    if coding in ("GSM610", "G721_32", "ALAW") or container in ("SVX", "HTK", "SDS", "XI", "MPC2K"):
        channels = 1
    rate = 44100 if container == "MPC2K" else 8000
    time = np.arange(round(seconds * rate))
    sound = 0.2 * np.sin(0.3 * time)[:, None] + 0.05 * np.random.default_rng(0).standard_normal((len(time), channels))
    file = io.BytesIO()
    try:
        soundfile.write(file, sound, rate, format=container, subtype=coding)
    except (soundfile.LibsndfileError, ValueError):  # this libsndfile has no such encoder
        return b""
    return file.getvalue()


def _fields(data: bytes, random: Random) -> bytes:
    """Write wrong numbers into the fields that say lengths, rates, channels and frames."""
    out = bytearray(data)
    order = "little"
    if data[:4] == b"RIFF":
        places = [(4, 4), (16, 4), (20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2)]
        at = data.find(b"data", 12)
        places += [(at + 4, 4)] * (at > 0)
    elif data[:4] == b"fLaC":
        order = "big"
        places = [(4, 1), (5, 3), (8, 2), (10, 2), (12, 3), (15, 3), (18, 3), (20, 2), (21, 5), (22, 4)]
    else:
        pages = [n for n in range(len(data)) if data.startswith(b"OggS", n)]
        page = random.choice(pages or [0])
        places = [(page + 5, 1), (page + 6, 8), (page + 14, 4), (page + 18, 4), (page + 26, 1), (39, 1), (40, 4)]
        places += [(44, 4), (48, 4), (52, 4), (56, 1)]
    for at, size in random.sample(places, random.randint(1, 3)):
        value = random.choice(NUMBERS) if random.random() < 0.7 else random.getrandbits(8 * size)
        if at + size <= len(out):
            out[at : at + size] = (value % 256**size).to_bytes(size, order)
    return bytes(out)


def _frames(data: bytes, random: Random) -> bytes:
    """Damage the insides of MPEG frames, or one header, and leave the sync of the others."""
    at = [n for n in range(len(data) - 4) if data[n] == 0xFF and data[n + 1] & 0xE0 == 0xE0] or [0]
    out = bytearray(data)
    for _ in range(random.randint(1, 8)):
        place = random.choice(at) + (random.randint(4, 40) if random.random() < 0.7 else random.randint(2, 3))
        if place < len(out):
            out[place] = random.randrange(256)
    if random.random() < 0.2:
        del out[random.randrange(len(out) + 1) :]
    return bytes(out)
