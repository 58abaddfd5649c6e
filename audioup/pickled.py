"""What the pickle in a checkpoint would make, told from its opcodes before anything is made.

torch's own reader runs no code, but does what the opcodes say: a few hundred bytes may name one tuple inside the next
60 times over and have it hashed, which takes 2 ** 60 steps, or make gigabytes out of a number. None of that is in a
state dict, nor in what optimizers and schedulers keep, and it is refused here.
"""

import pickletools
from collections.abc import Sequence
from typing import IO, Any

LARGEST_PICKLE = 2**22  # bytes; that of a checkpoint of a thousand tensors has 2**18
MOST_NESTED, DEEPEST = 2**20, 64  # of lists and tuples in one: items, each as often as it is named, and levels
REBUILT = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_qtensor"}
REBUILT |= {"_rebuild_parameter_with_state", "_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage"}
REBUILT = {f"torch._utils.{name}" for name in REBUILT}
HASHED = ("collections.OrderedDict", "collections.Counter", "builtins.set", "__builtin__.set")
SUBCLASS, ENCODED = "torch._tensor._rebuild_from_type_v2", "_codecs.encode"
CALLED = {*REBUILT, *HASHED, SUBCLASS, ENCODED, "torch.Size", "torch.device", "torch.nn.parameter.Parameter"}
CALLED |= {"builtins.complex", "__builtin__.complex", "torch.serialization._get_layout"}
SIZES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1}
SIZES |= {"Bool": 1, "Untyped": 1, "ComplexDouble": 16, "ComplexFloat": 8, "QInt8": 1, "QUInt8": 1, "QInt32": 4}
SIZES |= {"QUInt4x2": 1, "QUInt2x4": 1}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINSTRING")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class Refused(ValueError):
    """A pickle that holds more than weights; ``name`` is what it would call, or None."""

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class _Held(list[Any]):
    """A list or a tuple."""


class _Name(str):
    """What GLOBAL names: a function, a class, a type of numbers."""


class _Made:
    """Anything else: what a call makes, a mapping, a storage."""


def scan(file: IO[bytes]) -> dict[str, int]:
    """Read a pickle to its end without making anything of it.

    Args:
        file: Read from where it is, and left behind the pickle.

    Returns:
        By key, how many bytes every storage says it has.

    Raises:
        Refused: If it holds more than state dicts and plain values do.
        ValueError: If it is damaged.
    """
    try:
        scanned = _Scan()
        for opcode, argument, _ in pickletools.genops(file):
            scanned.step(opcode.name, argument)
        _check_nesting(scanned.held)
    except (IndexError, KeyError, AttributeError, TypeError, OverflowError) as error:
        raise ValueError(f"a damaged pickle ({type(error).__name__})") from None
    return scanned.storages


class _Scan:
    """Follows the opcodes with a stack of its own, as a reader would."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what is under each mark
        self.memo: dict[int, Any] = {}
        self.held: list[_Held] = []
        self.storages: dict[str, int] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Do what one opcode does."""
        stack = self.stack
        if opcode in VALUES:
            stack.append(argument)
        elif opcode in CONSTANTS:
            stack.append(CONSTANTS[opcode])
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif opcode == "GLOBAL":
            stack.append(_Name(argument.replace(" ", ".")))
        elif opcode == "MARK":
            self.below.append(stack)
            self.stack = []
        elif opcode in ("EMPTY_DICT", "EMPTY_SET"):
            stack.append(_Made())
        elif opcode in TUPLES:
            count = TUPLES[opcode]
            self._hold([stack.pop() for _ in range(count)][::-1])
        elif opcode in ("TUPLE", "EMPTY_LIST"):
            self._hold(self._marked() if opcode == "TUPLE" else [])
        elif opcode in ("APPEND", "APPENDS"):
            items = self._marked() if opcode == "APPENDS" else [stack.pop()]
            self._onto(_Held).extend(items)
        elif opcode in ("SETITEM", "SETITEMS"):
            items = self._marked() if opcode == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
            _check_keys(items[::2])
            self._onto(_Made)
        elif opcode in ("REDUCE", "NEWOBJ"):
            given, function = stack.pop(), stack.pop()
            _check_call(function, given)
            stack.append(_Made())
        elif opcode == "BUILD":
            stack.pop()
            self._onto(_Made)
        elif opcode == "BINPERSID":
            self._store(stack.pop())
        elif opcode == "STOP":
            stack.pop()
        elif opcode != "PROTO":
            raise Refused(f"it holds {opcode}, which torch.save does not write")

    def _hold(self, items: list[Any]) -> None:
        self.held.append(_Held(items))
        self.stack.append(self.held[-1])

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _onto(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError("a damaged pickle: it fills what is no container")
        return self.stack[-1]

    def _store(self, said: Any) -> None:
        self.stack.append(_Made())
        if isinstance(said, _Held):
            word, kind, key, _, count = said[:5]
            fits = word == "storage" and isinstance(kind, _Name) and type(key) in (str, int) and type(count) is int
            if not fits or count < 0:
                raise ValueError("a damaged pickle: a storage is not described as it must be")
            size = SIZES[kind.rpartition(".")[2].removesuffix("Storage")] * count
            self.storages[str(key)] = max(size, self.storages.get(str(key), 0))


def _check_call(function: Any, given: Any) -> None:
    if not isinstance(function, _Name) or not isinstance(given, _Held):
        raise ValueError("a damaged pickle: it calls what is no function")
    if function not in CALLED:
        raise Refused(f"it holds {function}, which is code", function)
    if function == SUBCLASS and given[0] not in REBUILT:
        raise Refused(f"it holds {given[0]}, which is code", str(given[0]))
    # Bytes are written so; other codecs make twice as much of what they are given, over and over.
    if function == ENCODED and (len(given) != 2 or not isinstance(given[0], str) or given[1] != "latin1"):
        raise Refused("it holds text in a codec that torch.save does not use")
    if function in HASHED:
        for one in given:
            _check_keys(one if isinstance(one, _Held) else [])


def _check_keys(keys: Sequence[Any]) -> None:
    # Only what has its own hash: tuples, and integers of any length, can be made to collide by the thousands.
    for key in keys:
        if isinstance(key, (_Held, _Made)) or (isinstance(key, int) and not -(2**63) <= key < 2**63):
            raise Refused("it holds keys that no state dict has")


def _check_nesting(held: Sequence[_Held]) -> None:
    # Post-order, without recursion. Of what is being looked into the entry is None: one that is met again holds itself.
    known: dict[int, tuple[int, int] | None] = {}
    for root in held:
        waiting = [(root, False)]
        while waiting:
            one, ready = waiting.pop()
            inner = [item for item in one if isinstance(item, _Held)]
            if ready:
                below = [known[id(item)] or (MOST_NESTED, DEEPEST) for item in inner]
                items, levels = len(one) + sum(n for n, _ in below), 1 + max((n for _, n in below), default=0)
                if items > MOST_NESTED or levels > DEEPEST:
                    raise Refused("it holds lists or tuples in one another, more than any state dict has")
                known[id(one)] = items, levels
            elif id(one) not in known:
                known[id(one)] = None
                waiting += [(one, True), *((item, False) for item in inner)]
