"""``audioup report``: a report card of a model or of recordings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from audioup.commands.errors import InputError, parse_strides, printable
from audioup.commands.session import Session, in_lines, reference_report
from audioup.recording import first_seconds

if TYPE_CHECKING:
    from torch import Tensor

    from audioup.inspect import Inspection
    from audioup.report import Card, Heard

MODELS = (".onnx", ".safetensors", ".pt", ".pth", ".ckpt", ".bin")
NEEDS = "pip install 'audioup[report]'"


@dataclass
class Report:
    """Write a report card: one HTML page that works offline, and JSON beside it.

    Of a model: its layers, what their weights tell, and what to try next; with inputs for an ONNX graph also its tones
    on them, on silence, on a constant and on noise, and which layer they come from. Of recordings: their tones,
    pictures and sound. A model and recordings that it made can be named together.
    """

    what: tyro.conf.Positional[tuple[Path, ...]]
    """A model (.onnx, .safetensors, .pt, .pth), recordings (wav, flac, ogg, mp3), folders of them, or patterns such as
    'runs/mine/audio/*.generated.wav'."""
    inputs: tuple[Path, ...] = ()
    """Held-out, real inputs for an ONNX graph: .npy or .npz files of arrays, time on the last axis, such as log-mels
    (batch, bands, frames)."""
    sample_rate: int | None = None
    """Of the model's sound, in Hz; by default what the file, or the config.json beside it, says."""
    strides: Annotated[str | None, tyro.conf.arg(metavar="INT,INT,...")] = None
    """Upsampling factors from input to output; by default the model's. Needed for recordings without a model."""
    reference: Path | None = None
    """A recording, folder or pattern of what the recordings were to imitate: lines that it holds too are told apart."""
    out: Path = Path("audioup-report.html")
    """The page to write, ending in .html; the numbers go beside it, ending in .json."""

    def run(self) -> int:
        """Measure what there is, write the card and say where it is; return the exit status."""
        out = self._checked_out()
        models = [path for path in self.what if path.suffix.lower() in MODELS]
        recordings = [path for path in self.what if path not in models]
        if len(models) > 1 or not self.what:
            raise InputError(f"audioup: report takes one model, recordings, or both, got {len(models)} models")
        if self.inputs and (not models or models[0].suffix.lower() != ".onnx"):
            raise InputError("audioup: --inputs takes an ONNX graph to run them through; weights alone cannot be run")
        try:
            from audioup.report import write_card

            card = self._card(models[0] if models else None, recordings)
            write_card(card, out)
        except ImportError as error:
            raise InputError(f"audioup: report needs {NEEDS} ({error})") from None
        except OSError as error:
            raise InputError(f"audioup: {printable(out)}: {error}") from None
        print(f"{card.title}: {card.verdict}")
        for advice in card.advice:
            print(f"- {advice.text}" + (f"\n  {advice.code}" if advice.code else ""))
        print(f"{printable(out)} and {printable(out.with_suffix('.json').relative_to(out.parent))} are written")
        return 0

    def _checked_out(self) -> Path:
        out = self.out
        if out.suffix.lower() != ".html":
            raise InputError(f"audioup: --out must end in .html, got {printable(out)}")
        if out.is_dir() or out.with_suffix(".json").is_dir() or not out.parent.is_dir():
            raise InputError(f"audioup: --out {printable(out)}: {'a folder' if out.is_dir() else 'no such folder'}")
        return out

    def _card(self, model: Path | None, recordings: Sequence[Path]) -> "Card":
        from audioup.advice import advise
        from audioup.report import Card, model_card

        strides = None if self.strides is None else parse_strides(self.strides)
        if model is None:
            card, rest = Card(", ".join(printable(path) for path in recordings)), recordings
        else:
            inspection = self._inspection(model, strides)
            card, rest = (
                self._probed(model, inspection) if self.inputs else model_card(model.name, inspection),
                recordings,
            )
            strides = strides or inspection.strides
        if not rest:
            return card
        if strides is None or max(strides, default=1) == 1:
            raise InputError("audioup: recordings need --strides, or a model that has them")
        reference = None if self.reference is None else reference_report(self.reference, strides)
        session = Session(strides, reference)
        session.measure(rest)
        if not session.results:
            raise InputError(in_lines(session.failures))
        pooled = session.pooled() if len(session.results) > 1 else None
        reports = [result.report for result in session.results]
        return replace(
            card,
            sounds=(*card.sounds, *_heard(session)),
            pooled=pooled,
            advice=advise(card.inspection, card.probe, [pooled] if pooled else reports),
            notes=tuple(f"left out: {failure['path']}: {failure['error']}" for failure in session.failures),
        )

    def _inspection(self, model: Path, strides: tuple[int, ...] | None) -> "Inspection":
        from audioup.inspect import inspect_model

        try:
            return inspect_model(model, self.sample_rate, None if model.suffix.lower() == ".onnx" else strides)
        except (OSError, ValueError, ImportError) as error:
            raise InputError(f"audioup: {printable(model)}: {error}") from None

    def _probed(self, model: Path, inspection: "Inspection") -> "Card":
        from audioup.onnx_network import OnnxNetwork, in_graphs_names
        from audioup.probe import probe_with_sounds
        from audioup.report import model_card

        if inspection.sample_rate is None:
            raise InputError(f"audioup: {printable(model)} does not say its sample rate: give --sample-rate")
        inputs = [x for path in self.inputs for x in _arrays(path)]
        try:
            probe, sounds = probe_with_sounds(OnnxNetwork(model), inputs, inspection.sample_rate)
        except (OSError, ValueError) as error:
            raise InputError(f"audioup: {printable(model)}: {error}") from None
        except RuntimeError as error:  # inputs of another shape, say
            words = " ".join(str(error).split())
            raise InputError(f"audioup: {printable(model)}: cannot be run on these inputs: {words}") from None
        return model_card(model.name, inspection, in_graphs_names(probe), sounds)


def _heard(session: Session) -> Iterator["Heard"]:
    from audioup.card_page import MOST_PICTURES
    from audioup.report import HEARD_S, Heard

    for n, result in enumerate(session.results):
        seconds = HEARD_S if n < MOST_PICTURES else 0.0
        yield Heard(result.title, result.report, first_seconds(result.path, seconds, result.channel))


def _arrays(path: Path) -> Iterator["Tensor"]:
    """Read the arrays of a .npy or .npz file."""
    import numpy as np
    import torch

    if path.suffix.lower() not in (".npy", ".npz"):
        raise InputError(f"audioup: --inputs must end in .npy or .npz, got {printable(path)}")
    try:
        content = np.load(path, allow_pickle=False)
        arrays = [content] if isinstance(content, np.ndarray) else [content[name] for name in content.files]
    except Exception as error:  # NumPy has no kind of its own for what is no array
        raise InputError(f"audioup: --inputs {printable(path)}: {' '.join(str(error).split())}") from None
    for array in arrays:
        if array.dtype.kind not in "fi":
            raise InputError(f"audioup: --inputs {printable(path)}: an array of {array.dtype}, not of numbers")
        yield torch.from_numpy(array.astype("f4") if array.dtype.kind == "f" else array)
