"""Hostile pickles: code, bombs and damage opcode by opcode; and the archives that hold them."""

import io
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from fuzzing.cases import CANARY
from fuzzing.mutate import NUMBERS, scrambled, wrong

COMMAND = f"touch {CANARY}"
GLOBALS = (
    "os system",
    "posix system",
    "builtins eval",
    "builtins exec",
    "builtins getattr",
    "builtins bytearray",
    "builtins set",
    "builtins complex",
    "builtins print",
    "subprocess Popen",
    "collections OrderedDict",
    "collections Counter",
    "_codecs encode",
    "torch Tensor",
    "torch FloatTensor",
    "torch LongTensor",
    "torch Size",
    "torch device",
    "torch float32",
    "torch float64",
    "torch complex64",
    "torch FloatStorage",
    "torch UntypedStorage",
    "torch.storage TypedStorage",
    "torch.storage UntypedStorage",
    "torch.sparse FloatTensor",
    "torch.nn.parameter Parameter",
    "torch.serialization _get_layout",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._utils _rebuild_sparse_tensor",
    "torch._utils _rebuild_qtensor",
    "torch._utils _rebuild_meta_tensor_no_storage",
    "torch._utils _rebuild_nested_tensor",
    "torch._utils _rebuild_wrapper_subclass",
    "torch._utils _rebuild_device_tensor_from_numpy",
    "torch._utils _rebuild_device_tensor_from_cpu_tensor",
    "torch._tensor _rebuild_from_type_v2",
    "torch.jit load",
    "torch.hub load",
    "numpy.core.multiarray _reconstruct",
    "webbrowser open",
)
LOOSE = b"()]}NRbotu.0e12s\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94Qq"  # opcodes that stand alone, or nearly


class Runs:
    """Would run code when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.made_by = function, arguments

    def __reduce__(self) -> Any:
        return self.made_by

    def __call__(self) -> None:
        """Do nothing; pickle wants something that can be called where it calls what this is unpickled to."""


def bombs() -> dict[str, bytes]:
    """Make pickles that run code, or that grow as they are read."""
    python = f"__import__('os').system({COMMAND!r})"
    nested = Runs(getattr, Runs(__import__, "os"), "system")
    protocol, stop = b"\x80\x02", b"."
    many = [Runs(os.system, COMMAND)]
    for _ in range(20):
        many = [many]
    doubled = b")" + b"q\x00" + b"".join(b"h%c" % n + b"h%c" % n + b"\x86q%c" % (n + 1) for n in range(60))
    lists = b"]q\x00" + b"".join(b"](h%c" % n + b"h%c" % n + b"eq%c" % (n + 1) for n in range(60))
    large = struct.pack("<i", 2**31 - 1)
    return {
        "system": pickle.dumps({"ups.0.weight": Runs(os.system, COMMAND)}, 2),
        "eval": pickle.dumps({"a": Runs(eval, python)}, 2),
        "exec": pickle.dumps({"a": Runs(exec, python)}, 2),
        "nested": pickle.dumps({"a": Runs(nested, COMMAND)}, 2),
        "newest": pickle.dumps([Runs(os.system, COMMAND)], 5),
        "oldest": pickle.dumps([Runs(os.system, COMMAND)], 0),
        "instance": protocol + b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n" + stop,
        "object": protocol + b"(cos\nsystem\nS'" + COMMAND.encode() + b"'\no" + stop,
        "deep": pickle.dumps(many, 2),
        "tuples": protocol + doubled + stop,
        "key": protocol + b"}" + doubled + b"K\x01s" + stop,  # hashed, and so visited, 2 ** 60 times
        "in-a-set": protocol + b"cbuiltins\nset\n(" + doubled + b"ltR" + stop,
        "size": protocol + b"ctorch\nSize\n" + doubled + b"\x85R" + stop,
        "lists": protocol + lists + stop,
        "bytearray": protocol + b"}X\x01\x00\x00\x00acbuiltins\nbytearray\nJ" + large + b"\x85Rs" + stop,
        "float-tensor": protocol + b"}X\x01\x00\x00\x00actorch\nFloatTensor\nJ" + large + b"\x85Rs" + stop,
        "untyped": protocol + b"}X\x01\x00\x00\x00actorch.storage\nUntypedStorage\nJ" + large + b"\x85Rs" + stop,
        "itself": protocol + b"}q\x00X\x01\x00\x00\x00ah\x00s" + stop,
        "listed-in-itself": protocol + b"]q\x00h\x00a" + stop,
        "long-string": protocol + b"X\xff\xff\xff\x7fabc" + stop,
        "mark-less": protocol + b"t" + stop,
        "stack-less": protocol + b"R" + stop,
        "nested-marks": protocol + b"(" * 9_000 + stop,
        "nested-lists": protocol + b"]" * 6_000 + b"a" * 5_999 + stop,
        "nested-tuples": protocol + b")" + b"\x85" * 9_000 + stop,
        "memo": protocol + b"Nr\xff\xff\xff\xff" + stop,
        "counter": protocol + b"ccollections\nCounter\nX\x01\x00\x00\x00a\x85R" + stop,
        "encoded": protocol + b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00rot_13\x86R" + stop,
    }


def damaged(data: bytes, random: Random) -> bytes:
    """Damage a pickle: opcode by opcode, so that the rest of it can be read, or byte by byte."""
    if random.random() < 0.25:
        return scrambled(data, random, kept=2, near=1000)
    try:
        steps = [(one.name, argument, at) for one, argument, at in pickletools.genops(data)]
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, MemoryError, OverflowError):
        return scrambled(data, random, kept=2, near=1000)
    ends = [at for _, _, at in steps[1:]] + [len(data)]
    parts = [data[at:end] for (_, _, at), end in zip(steps, ends, strict=True)]
    for _ in range(random.randint(1, 5)):
        n = random.randrange(1, max(2, len(parts) - 1)) if len(parts) > 1 else 0
        parts[n] = _step(parts[n], steps[n] if n < len(steps) else ("", None, 0), random, parts)
    return b"".join(parts)


def _step(part: bytes, step: tuple[str, Any, int], random: Random, parts: Sequence[bytes]) -> bytes:
    name, argument, _ = step
    kind = random.random()
    if kind < 0.15:
        return part + random.choice(parts)
    if kind < 0.25:
        return b""
    if kind < 0.35:
        return part + bytes([random.choice(LOOSE)])
    if kind < 0.42:
        return (
            b"c"
            + random.choice(GLOBALS).replace(" ", "\n").encode()
            + b"\n"
            + random.choice((b"", b")R", b"K\x01\x85R"))
        )
    if name == "GLOBAL":
        return b"c" + random.choice(GLOBALS).replace(" ", "\n").encode() + b"\n"
    if name.startswith(("BININT", "LONG1")):
        return _integer(wrong(argument, random))
    if name == "BINUNICODE":
        return _text(
            random.choice((argument + argument, argument[:-1], "ups.0.weight", "cpu", "cuda", "0", "storage", ""))
        )
    if name in ("BINGET", "BINPUT"):
        return part[:1] + bytes([max(0, min(255, argument + random.randint(-2, 2)))])
    return _integer(random.choice(NUMBERS)) if random.random() < 0.3 else part


def _integer(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    written = pickle.encode_long(value)
    return b"\x8a" + bytes([len(written)]) + written


def _text(value: str) -> bytes:
    written = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(written)) + written


def members(data: bytes) -> list[tuple[str, bytes]]:
    """Take an archive apart."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def archive(files: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Put an archive together, always the same bytes for the same files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as opened:
        for name, content in files:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = compression
            opened.writestr(entry, content)
    return made.getvalue()
