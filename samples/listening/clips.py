"""The clips of the page: equally loud, as scripts that the page loads."""

import re
from typing import Any

from tqdm import tqdm

from listening.hearing import Heard
from listening.loudness import amplified, common_gain, matching_gains
from listening.options import Options
from listening.page import data_script, flac
from listening.vocoders import SPEECH

SILENCE = "silence"
ABOUT = {
    SPEECH: "Held-out speech, which no vocoder was trained on.",
    SILENCE: "The mel of digital silence: what is left is the vocoder’s own.",
    "sustained notes": "Notes without vibrato, on which no vocoder was trained; one on a harmonic passes for a tone.",
    "drums": "Drums, on which no vocoder was trained.",
    "white noise": "White noise at −20 dBFS, on which no vocoder was trained.",
}


def clips_of(options: Options, heard: Heard) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return what the page says of each clip, and the scripts of their sound by path."""
    clips, scripts = [], {}
    for number, excerpt in enumerate(tqdm(heard.excerpts, "sounds", unit="clip")):
        tracks = [cuts[number] for cuts in heard.cuts]
        about = ABOUT.get(excerpt.kind, "")
        if excerpt.kind == SILENCE:
            lufs, gain = None, common_gain(tracks, options.silence_db)
            gains, loud = [gain] * len(tracks), f"{gain:+.1f} dB for all"
            about += f" All tracks are amplified by {gain:.1f} dB."
        else:
            lufs, gains = matching_gains(tracks, heard.sample_rate, options.lufs)
            loud = f"{lufs:.1f} LUFS"
            about += f" All tracks at {lufs:.1f} LUFS.".replace("-", "−")
        identifier = f"{number + 1:02}-{re.sub('[^a-z0-9]+', '-', excerpt.title.lower()).strip('-')[:40] or 'clip'}"
        path = f"data/{identifier}.js"
        louder = (amplified(sound, gain) for sound, gain in zip(tracks, gains, strict=True))
        scripts[path] = data_script(identifier, [flac(sound, heard.sample_rate) for sound in louder])
        clips.append(
            {
                "id": identifier,
                "file": path,
                "kind": excerpt.kind,
                "title": excerpt.title,
                "about": about,
                "gains_db": [round(gain, 1) for gain in gains],
                "loud": loud,
                "seconds": (excerpt.stop - excerpt.start) / heard.sample_rate,
            }
        )
    return clips, scripts
