"""A trained generator as an ONNX file: its graph, what its metadata says, and how it is run."""

import copy
import importlib
import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

import audioup.telemetry  # noqa: F401
from vocoder.mel import CLAMP
from vocoder.runs import Run

EXAMPLE = (2, 17)  # batch and frames that the graph is traced with; neither stays in it


def import_packages() -> None:
    """Raise `ImportError` that says what to install if a package is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(f"{error}; pip install 'audioup[export]' brings {name}") from error


def to_onnx(form: nn.Module, trained: Run) -> Any:
    """Return the ONNX model of a generator, with dynamic axes ``batch`` and ``frames`` and the run's metadata."""
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # that torchvision is not installed
    batch, frames = EXAMPLE
    program = torch.onnx.export(
        form.eval(),
        (torch.randn(batch, trained.mel.mel.n_mels, frames),),
        input_names=["mel"],
        output_names=["audio"],
        dynamic_shapes=({0: torch.export.Dim("batch"), 2: torch.export.Dim("frames")},),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise ValueError("torch.onnx.export returned nothing")
    model = program.model_proto
    # The exporter's diary: where every node comes from, this machine's paths among it.
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    onnx.helper.set_model_props(model, describe(trained))
    return model


def describe(trained: Run) -> dict[str, str]:
    """Say what a generator was trained to turn into sound, in words and numbers for the file's metadata."""
    mel = trained.mel
    return {
        "sample_rate": str(trained.sample_rate),
        "hop_length": str(mel.hop_length),
        "n_mels": str(mel.mel.n_mels),
        "n_fft": str(mel.n_fft),
        "mel_minimum_hz": f"{mel.mel.f_min:g}",
        "mel_maximum_hz": f"{mel.mel.f_max:g}",
        "mel_window": "periodic Hann, n_fft samples",
        "mel_padding": "(n_fft - hop_length) / 2 samples reflected at either end, frames not centred",
        "mel_scale": "Slaney, each band of unit area",
        "mel_value": f"natural logarithm of the magnitude (not power), at least {CLAMP:g}",
        "strides": json.dumps(trained.generator.shape.strides),
        "upsampler": trained.options.upsampler,
        "steps": str(trained.steps),
        "audioup": version("audioup"),
    }


def silence_noise(model: Any) -> Any:
    """Return a copy of an ONNX model in which the learned gains of noise are 0; nothing else differs."""
    import onnx

    quiet = copy.deepcopy(model)
    gains = [values for values in quiet.graph.initializer if values.name.endswith(".gain")]
    if not gains:
        raise ValueError("the exported graph has no gains of noise to set to 0, so it cannot be checked")
    for values in gains:
        zeros = torch.zeros(tuple(values.dims)).numpy()
        values.CopyFrom(onnx.numpy_helper.from_array(zeros, values.name))
    return quiet


def runner(model: Any, threads: int) -> Callable[[Tensor], Tensor]:
    """Open an ONNX model for the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or it takes torch's cores in between
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return lambda mel: torch.from_numpy(session.run(["audio"], {"mel": mel.numpy()})[0])
