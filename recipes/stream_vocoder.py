"""Run a vocoder in real time: mel frames in, sound out, chunk by chunk; what it costs and how late the sound comes.

    python recipes/stream_vocoder.py                                      # the run of train_vocoder.py in runs/vocoder
    python recipes/stream_vocoder.py --run runs/other --audio speech.wav --chunks 1 4 16
    python recipes/stream_vocoder.py --preset v1                          # random weights, for timing only

The sound of a frame comes later than the frame for three reasons. The layers look ahead: a centred kernel needs frames
that come after its own, and what each layer waits for adds up. A chunk must be complete before it is computed. And
computing takes time.
"""

import copy
import dataclasses
import json
import math
import platform
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.signal
import soundfile
import torch
import tyro
from torch import Tensor
from vocoder.checkpoint import drafts
from vocoder.mel import LogMel, input_mel
from vocoder.model import UPSAMPLERS, AddNoise, Generator
from vocoder.presets import PRESETS
from vocoder.runs import open_run

from audioup.streaming import Stream

PRESET_RATE = 22050
MOST_SECONDS = 3600
RATES = (1000, 1_000_000)  # of recordings, in Hz


@dataclasses.dataclass(frozen=True)
class Options:
    """Stream mel frames through a vocoder; print latency and real-time factor against the size of the chunks."""

    run: Path = Path("runs/vocoder")
    """Folder of a run of train_vocoder.py."""
    preset: Literal["v1", "v2", "v3", "tiny"] | None = None
    """Instead of a run: a generator of this size with random weights, at 22.05 kHz, for timing only."""
    upsampler: str = "transposed"
    """With --preset: the layer of every upsampling stage."""
    chunks: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Mel frames a chunk."""
    audio: Path | None = None
    """Recording to vocode; by default the first held-out one of the run, or, with --preset, noise."""
    seconds: float = 3.0
    """At most so much of it, an hour at most."""
    rounds: int = 3
    """Times that every size is timed, in random order."""
    out: Path | None = None
    """WAV file for the sound that was streamed, with the numbers beside it as JSON; by default RUN/streamed.wav, or
    runs/streamed-PRESET.wav."""


@dataclasses.dataclass(frozen=True)
class Vocoder:
    """What is streamed: a generator in ``eval()``, the rate of its sound in Hz, the mel it takes, and one such mel."""

    generator: Generator
    sample_rate: int
    transform: LogMel
    mel: Tensor


def open_vocoder(options: Options) -> Vocoder:
    """Load the run, or make the preset; `ValueError` if there is neither, or no recording."""
    if options.preset is None:
        run = open_run(options.run)
        generator, sample_rate, transform = run.generator, run.sample_rate, run.mel
    elif options.upsampler not in UPSAMPLERS:
        raise ValueError(f"--upsampler must be one of {', '.join(UPSAMPLERS)}, got {options.upsampler!r}")
    else:
        shape, sample_rate = PRESETS[options.preset].generator, PRESET_RATE
        transform = input_mel(sample_rate, shape.hop_length)
        generator = Generator(transform.mel.n_mels, shape, options.upsampler).eval()
    audio = options.audio
    if audio is None and options.preset is None:
        audio = next(iter(sorted((options.run / "audio").glob("*.reference.wav"))), None)
        if audio is None:
            raise ValueError(f"{options.run / 'audio'} holds no reference recording: name one with --audio")
    most = int(options.seconds * sample_rate)
    sound = read_sound(audio, sample_rate, options.seconds) if audio else 0.1 * torch.randn(most)
    sound = sound[: most // transform.hop_length * transform.hop_length]
    if len(sound) < transform.hop_length:
        raise ValueError(f"{audio or '--seconds'} gives less than one frame of {transform.hop_length} samples")
    return Vocoder(generator, sample_rate, transform, transform(sound).unsqueeze(0))


def read_sound(path: Path, sample_rate: int, seconds: float) -> Tensor:
    """Read the start of a recording as one channel at a rate; `ValueError` if it cannot be read."""
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            samples = file.read(math.ceil(seconds * rate), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"{path} must be at {RATES[0]} to {RATES[1]} Hz, got {rate}")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds values that are not finite")
    sound = samples.mean(1)
    if rate != sample_rate:
        # Polyphase, for the kernels of torchaudio fill gigabytes where the rates have no common factor.
        common = math.gcd(rate, sample_rate)
        sound = scipy.signal.resample_poly(sound, sample_rate // common, rate // common)
    return torch.from_numpy(sound)


def stream_through(stream: Stream, mel: Tensor, chunk: int) -> tuple[Tensor, list[float]]:
    """Stream a mel in chunks; return the sound and the seconds that every full chunk took."""
    parts, seconds = [], []
    for frames in mel.split(chunk, -1):
        start = time.perf_counter()
        parts.append(stream(frames))
        if frames.shape[-1] == chunk:
            seconds.append(time.perf_counter() - start)
    return torch.cat([*parts, stream.flush()], -1), seconds


def measure(vocoder: Vocoder, options: Options) -> tuple[Tensor, dict[str, Any]]:
    """Stream every chunk size; return the sound and the numbers."""
    mel, rate = vocoder.mel, vocoder.sample_rate
    silent = copy.deepcopy(vocoder.generator)
    for part in silent.modules():
        if isinstance(part, AddNoise):
            part.gain.data.zero_()  # fresh noise is never the same twice
    stream, exact = (Stream(model, pointwise=(AddNoise,)) for model in (vocoder.generator, silent))
    with torch.no_grad():
        whole = silent(mel)
    chunks = [n for n in dict.fromkeys(options.chunks) if n <= mel.shape[-1]]
    peak, differences = whole.abs().max(), {}
    if not 0 < peak < math.inf:
        raise ValueError(f"the generator must make sound with a finite peak above 0, got {peak:g}")
    for chunk in chunks:  # also the warm-up
        differences[chunk] = ((stream_through(exact, mel, chunk)[0] - whole).abs().max() / peak).item()
    taken: dict[int, list[float]] = {chunk: [] for chunk in chunks}
    for _ in range(options.rounds):
        for chunk in random.sample(chunks, len(chunks)):
            sound, seconds = stream_through(stream, mel, chunk)
            taken[chunk] += seconds
    if not sound.isfinite().all():
        raise ValueError("the generator must make finite sound; without the noise of its stages it does")
    look_ahead_ms = 1000 * stream.latency / rate
    rows = []
    for chunk in chunks:
        median, high = (1000 * float(q) for q in np.quantile(taken[chunk], [0.5, 0.95]))
        chunk_ms = 1000 * chunk * stream.stride / rate
        rows.append(
            {
                "frames": chunk,
                "chunk_ms": chunk_ms,
                "computing_ms": median,
                "computing_95_percent_ms": high,
                "latency_ms": look_ahead_ms + chunk_ms + median,
                "real_time_factor": median / chunk_ms,
                "difference": differences[chunk],
            }
        )
    analysis = (vocoder.transform.n_fft - vocoder.transform.hop_length) / 2
    numbers = {
        "sample_rate": rate,
        "hop_length": stream.stride,
        "frames": mel.shape[-1],
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "look_ahead_samples": stream.latency,
        "look_ahead_ms": look_ahead_ms,
        "look_ahead_ms_by_layer": {name: 1000 * n / rate for name, n in stream.latencies.items()},
        "analysis_look_ahead_ms": 1000 * analysis / rate,
        "chunks": rows,
    }
    return sound, numbers


def format_numbers(numbers: dict[str, Any]) -> str:
    """Write the numbers as a table, and where the look-ahead comes from."""
    by_stage: dict[str, float] = {}
    for name, ms in numbers["look_ahead_ms_by_layer"].items():
        stage = ".".join(name.split(".")[:2])
        by_stage[stage] = by_stage.get(stage, 0.0) + ms
    lines = [
        f"Look-ahead {numbers['look_ahead_ms']:.1f} ms ({numbers['look_ahead_samples']} samples), which is "
        + ", ".join(f"{stage} {ms:.1f}" for stage, ms in by_stage.items()),
        f"(a mel that is itself computed from sound needs {numbers['analysis_look_ahead_ms']:.1f} ms more).",
        "Latency is look-ahead + chunk + computing (median). Difference: from the whole at once, over its peak.",
        "",
        "frames   chunk ms   computing ms   95 %   latency ms   real-time factor   difference",
    ]
    for row in numbers["chunks"]:
        lines.append(
            f"{row['frames']:6d} {row['chunk_ms']:10.1f} {row['computing_ms']:14.2f} "
            f"{row['computing_95_percent_ms']:6.2f} {row['latency_ms']:12.1f} {row['real_time_factor']:18.3f} "
            f"{row['difference']:12.1e}"
        )
    return "\n".join(lines)


def run(options: Options) -> None:
    """Stream, measure, print and write."""
    if not options.chunks or min(options.chunks) < 1:
        raise ValueError(f"--chunks must be at least 1, got {options.chunks}")
    if not 0 < options.seconds <= MOST_SECONDS or options.rounds < 1:
        raise ValueError(
            f"--seconds and --rounds must be above 0, --seconds at most {MOST_SECONDS}, "
            f"got {options.seconds} and {options.rounds}"
        )
    by_default = Path(f"runs/streamed-{options.preset}.wav") if options.preset else options.run / "streamed.wav"
    out = options.out or by_default
    if out.suffix != ".wav" or out.is_dir() or out.with_suffix(".json").is_dir():
        raise ValueError(f"--out must be a file ending in .wav, and its .json no folder, got {out}")
    vocoder = open_vocoder(options)
    if min(options.chunks) > vocoder.mel.shape[-1]:
        raise ValueError(f"--chunks: the sound has {vocoder.mel.shape[-1]} frames, fewer than any of {options.chunks}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with drafts(out, out.with_suffix(".json")) as (sound_draft, numbers_draft):
        sound, numbers = measure(vocoder, options)
        numbers = {**numbers, "run": None if options.preset else str(options.run), "preset": options.preset}
        text = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
        try:
            soundfile.write(sound_draft, sound[0, 0].numpy(), vocoder.sample_rate)
        except soundfile.SoundFileError as error:
            raise OSError(f"{out} cannot be written: {error}") from error
        numbers_draft.write_text(text, encoding="utf-8")
    print(format_numbers(numbers))
    print(f"\nlisten: {out}   numbers: {out.with_suffix('.json')}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"stream_vocoder: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
