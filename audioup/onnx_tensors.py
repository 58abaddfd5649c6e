"""Values that an ONNX file stores, in itself or in files of its own folder."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message
from numpy.typing import NDArray

from audioup.source import Unsuitable
from audioup.upsampler import LARGEST_KERNEL

LARGEST_MODEL = 2**30  # bytes, in the file and beside it


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a node as a plain value."""
    for one in node.attribute:
        if one.name == name:
            value = onnx.helper.get_attribute_value(one)
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return default


def integers(node: Any, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return an attribute of positive integers; `Unsuitable` if it is anything else."""
    value = attribute(node, name, default)
    values = (value,) if isinstance(value, int) else tuple(value) if isinstance(value, (list, tuple)) else ()
    if not values or not all(isinstance(n, int) and 0 < n < 2**16 for n in values):
        raise Unsuitable(f"its {name} must be positive integers, got {value!r}")
    return values


def is_text(message: Any) -> bool:
    """Say whether all words in a message and in those that it holds are text; protobuf returns others as bytes."""
    waiting = [message]
    while waiting:
        for field, value in waiting.pop().ListFields():
            several = not isinstance(value, (str, bytes, Message)) and field.type in (
                field.TYPE_STRING,
                field.TYPE_MESSAGE,
            )
            if field.type == field.TYPE_MESSAGE:
                waiting += value if several else [value]
            elif field.type == field.TYPE_STRING and any(
                isinstance(one, bytes) for one in (value if several else [value])
            ):
                return False
    return True


def literal(node: Any, folder: Path) -> NDArray[Any]:
    """Return the values of a Constant node; raises what `stored` does."""
    for name, kind in (("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8"), ("value_ints", "i8")):
        value = attribute(node, name)
        if value is not None:
            return np.asarray(value, dtype=kind)
    value = attribute(node, "value")
    if not isinstance(value, onnx.TensorProto):
        raise Unsuitable("it depends on a constant that is no tensor")
    return stored(value, folder)


def stored(tensor: Any, folder: Path) -> NDArray[Any]:
    """Return the values of a tensor in a file, or beside it.

    Raises:
        Unsuitable: If they are too many, or text.
        ValueError: If they are missing, cut off or damaged.
    """
    count = math.prod(tensor.dims)
    if not 0 <= count <= LARGEST_KERNEL or tensor.data_type == onnx.TensorProto.STRING:
        raise Unsuitable(f"a tensor of shape {tuple(tensor.dims)} is none of an upsampling layer")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        tensor = _loaded(tensor, folder, LARGEST_MODEL)
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # whatever values that are not as many as said may raise
        raise ValueError(f"tensor {tensor.name!r} is damaged ({type(error).__name__})") from None


def _loaded(tensor: Any, folder: Path, most: int) -> Any:
    # Read by hand, so that nothing but the bytes that belong to it is read.
    path, said = outside(tensor, folder), {one.key: one.value for one in tensor.external_data}
    try:
        size = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        offset, length = int(said.get("offset", 0)), int(said.get("length", size))
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"external data of {tensor.name!r} is not described as it must be") from None
    if size > most:
        raise ValueError(f"external data of {tensor.name!r} is more than the {LARGEST_MODEL >> 20} MB that are read")
    if offset < 0 or length != size or not path.is_file() or path.stat().st_size < offset + length:
        raise ValueError(f"external data of {tensor.name!r} is missing or cut off: {path.name}")
    whole = onnx.TensorProto()
    whole.CopyFrom(tensor)
    del whole.external_data[:]
    whole.data_location = onnx.TensorProto.DEFAULT
    with path.open("rb") as file:
        file.seek(offset)
        whole.raw_data = file.read(length)
    return whole


def outside(tensor: Any, folder: Path) -> Path:
    """Return where external data lies; `ValueError` if that is not in the folder of the model."""
    location = next((one.value for one in tensor.external_data if one.key == "location"), "")
    given = Path(location)
    if not location or "\0" in location or given.is_absolute() or ".." in given.parts:
        raise ValueError(f"refused: external data at {location!r}, not in the folder of the model")
    path = (folder / given).resolve()
    if not path.is_relative_to(folder.resolve()):  # a link leads out
        raise ValueError(f"refused: external data at {location!r} leads out of the folder of the model")
    return path


def within(tensors: Iterable[Any], folder: Path) -> None:
    """Read external data into tensors, in place, at most 1 GB of it altogether."""
    left = LARGEST_MODEL
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            whole = _loaded(tensor, folder, left)
            left -= len(whole.raw_data)
            tensor.CopyFrom(whole)
