"""Export a trained vocoder to ONNX, and write it only if onnxruntime makes the same sound of it.

    pip install -e '.[export]' && python recipes/export_onnx.py runs/vocoder

The file takes ``mel`` (batch, n_mels, frames), any batch and number of frames, to ``audio`` (batch, 1, hop_length *
frames). Its metadata says how that mel is made. Beside it, a JSON file holds what was checked and measured, and
an npz file the mels of the recordings in the run's report, to run it on: ``audioup report RUN/generator.onnx --inputs
RUN/generator.npz``.
"""

import copy
import json
import math
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor
from vocoder.checkpoint import drafts
from vocoder.onnx_file import import_packages, runner, silence_noise, to_onnx
from vocoder.runs import Run, open_run

from audioup.fold import fold

CHECKED = ((1, 1), (1, 2), (3, 5), (4, 38), (1, 150))  # batch and frames, none of them the example of the export
LARGEST = {"tolerance": 1.0, "seconds": 3600.0, "rounds": 10_000, "threads": os.cpu_count() or 1}  # of the options
SPEECH_CLIPS = 2
SPEECH_LEVEL = -5.0  # mean of a log-mel of speech, about


@dataclass(frozen=True)
class Options:
    """Export a trained vocoder to ONNX, checked against the run it comes from."""

    run: Annotated[Path, tyro.conf.Positional] = Path("runs/vocoder")
    """Folder of a run of train_vocoder.py."""
    out: Path | None = None
    """The file to write, ending in .onnx; by default RUN/generator.onnx."""
    fold: bool = True
    """Multiply weight norm, interpolation and projections out first, so that every layer is one node."""
    tolerance: float = 1e-5
    """Largest error allowed, over the peak of the sound."""
    seconds: float = 5.0
    """Of sound, to time."""
    rounds: int = 15
    """In which onnxruntime and torch run once each, after two to warm up."""
    threads: int = 1
    """Of onnxruntime and of torch; with more, any other program that runs slows torch many times over."""


def export(options: Options) -> dict[str, Any]:
    """Write the ONNX file and its JSON, once checked; return what the JSON holds.

    Raises:
        ValueError: If an option is out of range, the folder holds no run, or the error is above the tolerance.
        ImportError: If a package is missing.
        OSError: If the files cannot be written.
    """
    for name, largest in LARGEST.items():
        if not 0 < getattr(options, name) <= largest:
            raise ValueError(f"--{name} must be above 0 and at most {largest}, got {getattr(options, name)}")
    out = options.out if options.out is not None else options.run / "generator.onnx"
    if out.suffix != ".onnx":
        raise ValueError(f"--out must end in .onnx, got {out}")
    import_packages()
    trained = open_run(options.run)
    numbers, inputs = out.with_suffix(".json"), out.with_suffix(".npz")
    if any(path.is_dir() for path in (out, numbers, inputs)) or not out.parent.is_dir():
        raise ValueError(f"--out must be a file in a folder that exists, and so its .json and .npz, got {out}")
    with drafts(out, numbers, inputs) as (model_draft, numbers_draft, inputs_draft):
        report = {"model": out.name, **write_checked(trained, options, model_draft)}
        mels = {name: mel.numpy() for name, mel in speech(trained, options.run, None)}
        np.savez(inputs_draft, **mels)  # type: ignore[arg-type]
        numbers_draft.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return report


def write_checked(trained: Run, options: Options, path: Path) -> dict[str, Any]:
    """Export to ``path``, check and time what was written, and describe it."""
    import onnx

    form: torch.nn.Module = fold(trained.generator) if options.fold else trained.generator
    model = to_onnx(form, trained)
    onnx.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    written = onnx.load(path)
    noisy = len(trained.generator.noises) > 0
    checks = check(trained, silence_noise(written) if noisy else written, options)
    worst = torch.tensor([one["error"] for one in checks], dtype=torch.float64).max().item()  # NaN if any is
    if not worst <= options.tolerance:
        raise ValueError(f"the largest error over the peak is {worst:.2g}, above --tolerance {options.tolerance:g}")
    return {
        "run": str(options.run),
        "checkpoint": trained.checkpoint.name,
        "folded": options.fold,
        "bytes": path.stat().st_size,
        "opset": next(domain.version for domain in written.opset_import if not domain.domain),
        "nodes": dict(Counter(node.op_type for node in written.graph.node).most_common()),
        "metadata": {entry.key: entry.value for entry in written.metadata_props},
        "noise": "checked with its gains at 0, since no two runtimes draw the same; the file has it" if noisy else None,
        "tolerance": options.tolerance,
        "largest_error": worst,
        "checks": checks,
        "threads": options.threads,
        "real_time_factor": time_factors(trained, form, written, options),
        "versions": {name: version(name) for name in ("audioup", "torch", "onnx", "onnxscript", "onnxruntime")},
    }


def check(trained: Run, model: Any, options: Options) -> list[dict[str, Any]]:
    """Compare an ONNX model with the run's own generator, at sizes that the export has not seen and on speech."""
    generator = copy.deepcopy(trained.generator)
    for source in generator.noises:
        torch.nn.init.zeros_(source.gain)  # type: ignore[arg-type]
    bands, random = trained.mel.mel.n_mels, torch.Generator().manual_seed(0)
    inputs = [("noise", torch.randn(b, bands, t, generator=random) + SPEECH_LEVEL) for b, t in CHECKED]
    run = runner(model, options.threads)
    rows = []
    for name, mel in inputs + speech(trained, options.run):
        with torch.no_grad():
            expected = generator(mel)
        if not 0 < expected.abs().max() < math.inf:
            raise ValueError(
                f"the run's generator makes a peak of {expected.abs().max():g} of {name}, nothing to check"
            )
        actual = run(mel)
        if actual.shape != expected.shape:
            raise ValueError(f"onnxruntime made {tuple(actual.shape)} of {name}, not {tuple(expected.shape)}")
        error = float((actual - expected).abs().max() / expected.abs().max())
        rows.append({"input": name, "batch": len(mel), "frames": mel.shape[-1], "error": error})
    return rows


def speech(trained: Run, folder: Path, clips: int | None = SPEECH_CLIPS) -> list[tuple[str, Tensor]]:
    """Return the mels of the first recordings that a run's report has left, or of all, with their names."""
    import soundfile

    mels = []
    for path in sorted(folder.glob("audio/*.reference.wav"))[:clips]:
        try:
            audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        if rate != trained.sample_rate:
            raise ValueError(f"{path} has {rate} Hz, not the run's {trained.sample_rate}")
        if len(audio) < trained.mel.hop_length or not np.isfinite(audio[:, 0]).all():
            raise ValueError(f"{path} must hold one frame of {trained.mel.hop_length} samples at least, all finite")
        mels.append((path.name, trained.mel(torch.from_numpy(audio[:, 0])).unsqueeze(0)))
    return mels


def time_factors(trained: Run, form: torch.nn.Module, model: Any, options: Options) -> dict[str, float]:
    """Time onnxruntime and torch in turn; return seconds of computing per second of sound, the median of rounds."""
    frames = math.ceil(options.seconds * trained.sample_rate / trained.mel.hop_length)
    mel = torch.randn(1, trained.mel.mel.n_mels, frames) + SPEECH_LEVEL
    contenders: dict[str, Callable[[Tensor], Tensor]] = {"onnxruntime": runner(model, options.threads)}
    if options.fold:
        contenders["torch, folded"] = form
    contenders["torch"] = trained.generator
    times: dict[str, list[float]] = {name: [] for name in contenders}
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        with torch.no_grad():
            for _ in range(options.rounds + 2):
                for name, contender in contenders.items():
                    start = time.perf_counter()
                    contender(mel)
                    times[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    length = frames * trained.mel.hop_length / trained.sample_rate
    return {name: statistics.median(values[2:]) / length for name, values in times.items()}


def format_report(report: dict[str, Any]) -> str:
    """Lay the report out as a table for people."""
    nodes = ", ".join(f"{count} {name}" for name, count in report["nodes"].items())
    rows = [f"{report['bytes']:,} bytes, opset {report['opset']}, {sum(report['nodes'].values())} nodes: {nodes}"]
    rows += [f"noise: {report['noise']}"] if report["noise"] else []
    rows += ["error over the peak   batch  frames  input"]
    rows += [f"{one['error']:19.1e}  {one['batch']:6}  {one['frames']:6}  {one['input']}" for one in report["checks"]]
    rows += [f"real-time factor, {report['threads']} threads (seconds of computing per second of sound)"]
    rows += [f"{value:19.4f}  {name}" for name, value in report["real_time_factor"].items()]
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input or a failed check, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        report = export(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"export_onnx: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("export_onnx: interrupted", file=sys.stderr)
        return 130
    print(format_report(report))
    print(f"the largest error is {report['largest_error']:.1e}: {report['model']}, its .json and its .npz are written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
