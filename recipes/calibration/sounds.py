"""Sounds that no strided generator made: sustained notes, drums and noise, drawn anew for every clip."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

Sound = NDArray[np.float64]

PEAK = 0.5
ROOM_DBFS = -80.0  # of white noise behind notes and drums: as quiet as recordings get


@dataclass(frozen=True)
class Instrument:
    """A harmonic complex.

    Attributes:
        rolloff: Partial ``n`` has amplitude ``n ** -rolloff``.
        inharmonicity: ``B`` of a stiff string, whose partials lie at ``n f0 sqrt(1 + B n^2)``.
        attack_s: Time constant of the beginning.
        decay_s: Time constant of the first partial; higher ones die away sooner. Infinite: sustained.
        odd: Whether only odd partials sound.
    """

    rolloff: float
    inharmonicity: float
    attack_s: float
    decay_s: float
    odd: bool = False


INSTRUMENTS = {
    "organ": Instrument(0.7, 0.0, 0.01, np.inf),
    "strings": Instrument(1.0, 1e-5, 0.08, np.inf),
    "clarinet": Instrument(1.2, 0.0, 0.03, np.inf, odd=True),
    "piano": Instrument(1.0, 4e-4, 0.003, 1.5),
    "guitar": Instrument(1.1, 1e-4, 0.002, 2.5),
}
CHORDS = ((0,), (0, 4, 7), (0, 3, 7), (0, 7), (0, 4, 7, 10))  # semitones


def notes(sample_rate: float, rng: np.random.Generator) -> Sound:
    """Return a note or chord of one instrument in equal temperament, without vibrato: 2 to 6 s."""
    time = np.arange(_samples(sample_rate, rng, 2, 6)) / sample_rate
    instrument = list(INSTRUMENTS.values())[rng.integers(len(INSTRUMENTS))]
    lowest = rng.integers(36, 85)
    sound = np.zeros(len(time))
    for semitones in CHORDS[rng.integers(len(CHORDS))]:
        f0 = 440 * 2 ** ((lowest + semitones - 69) / 12)
        n = np.arange(1, 61, 2 if instrument.odd else 1)
        frequency = n * f0 * np.sqrt(1 + instrument.inharmonicity * n**2)
        for number, hz in zip(n, frequency, strict=True):
            if hz < 0.45 * sample_rate:
                phase = rng.uniform(0, 2 * np.pi)
                decay = np.exp(-time * np.sqrt(number) / instrument.decay_s)
                sound += number**-instrument.rolloff * decay * np.sin(2 * np.pi * hz * time + phase)
    sound *= -np.expm1(-time / instrument.attack_s)
    sound *= np.minimum(1, (time[-1] - time) / 0.05)  # let go
    return _in_a_room(sound, rng)


def drums(sample_rate: int, rng: np.random.Generator) -> Sound:
    """Return a beat of kick, snare and hi-hat in even eighths: 3 to 6 s.

    Modes ring alike at every stroke, as samples do; noise is drawn anew. The tempo is any real number.
    """
    total = _samples(sample_rate, rng, 3, 6)
    sound = np.zeros(total + sample_rate)
    step = 30 / rng.uniform(70, 180) * sample_rate
    time = np.arange(sample_rate // 2) / sample_rate
    kick_hz, snare_hz = rng.uniform(45, 70), rng.uniform(170, 230)
    high_pass = butter(2, 0.6, "highpass", output="sos")
    kick = np.exp(-time / 0.12) * np.sin(2 * np.pi * (kick_hz * time + 4 * -np.expm1(-time / 0.02)))
    begin = rng.uniform(0, step)  # a stroke on every clip's first sample would be locked to it
    for number in range(int((total - begin) / step)):
        at = round(begin + number * step)
        noise = rng.standard_normal(len(time))
        stroke = 0.15 * np.exp(-time / 0.03) * sosfilt(high_pass, noise)
        if number % 4 == 0:
            stroke = stroke + kick
        if number % 4 == 2:
            stroke = stroke + np.exp(-time / 0.09) * (0.4 * noise + 0.5 * np.sin(2 * np.pi * snare_hz * time))
        sound[at : at + len(time)] += 10 ** (rng.uniform(-6, 0) / 20) * stroke
    return _in_a_room(sound[:total], rng)


def white(sample_rate: int, rng: np.random.Generator) -> Sound:
    """Return white noise at -20 dBFS, 3 to 6 s."""
    return 0.1 * rng.standard_normal(_samples(sample_rate, rng, 3, 6))


def pink(sample_rate: int, rng: np.random.Generator) -> Sound:
    """Return pink noise, 3 to 6 s, its power falling by 3 dB an octave from 20 Hz on."""
    samples = _samples(sample_rate, rng, 3, 6)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / sample_rate)
    sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, 20)), samples)
    return PEAK / np.abs(sound).max() * sound


SOUNDS: dict[str, Callable[[int, np.random.Generator], Sound]] = {
    "sustained notes": notes,
    "drums": drums,
    "white noise": white,
    "pink noise": pink,
}


def draw_sounds(name: str, sample_rate: int, seconds: float, rng: np.random.Generator) -> list[Sound]:
    """Draw clips of one of the `SOUNDS` until they last ``seconds`` together."""
    clips: list[Sound] = []
    while sum(map(len, clips)) < seconds * sample_rate:
        clips.append(SOUNDS[name](sample_rate, rng))
    return clips


def _samples(sample_rate: float, rng: np.random.Generator, least_s: float, most_s: float) -> int:
    return round(sample_rate * rng.uniform(least_s, most_s))


def _in_a_room(sound: Sound, rng: np.random.Generator) -> Sound:
    room = 10 ** (ROOM_DBFS / 20) * rng.standard_normal(len(sound))
    return PEAK / np.abs(sound).max() * sound + room
