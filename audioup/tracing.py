"""Watch a model run: every outermost torch function that it calls, by the module that calls it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary
from typing_extensions import Self

Shape = tuple[int, ...]
Function = Callable[..., Any]
Change = Callable[..., Any]


class Call(NamedTuple):
    """One call of a torch function while a model runs, the same in runs on inputs of other lengths.

    Attributes:
        module: Dotted path of the innermost module that was running; empty for the model itself, or outside it.
        function: Name of the function, or of the module's class where what happens inside was not seen.
        occurrence: How many calls of that function by that module came before.
    """

    module: str
    function: str
    occurrence: int


class Watch(TorchFunctionMode):
    """Name every outermost torch function that is called inside a ``with`` block, and change what some of them do.

    Modules are told apart by hooks, which are removed at the end of the block, whatever happens in it. What a scripted
    module does inside is not seen.

    Args:
        model: Its modules name the calls.
        changes: What to do in place of a call: a function that takes the torch function and its arguments.

    Attributes:
        times: How often each function was called by each module, by the names of both.
    """

    def __init__(self, model: nn.Module, changes: Mapping[Call, Change] | None = None) -> None:
        super().__init__()
        self.model, self.changes = model, changes or {}
        self._running = [""]
        self.times: Counter[tuple[str, str]] = Counter()
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # takes no hooks
                continue
            self._handles.append(
                module.register_forward_pre_hook(lambda *_, name=name: self._running.append(name))  # type: ignore[misc]
            )
            self._handles.append(module.register_forward_hook(self._leave, with_kwargs=True, always_call=True))
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for handle in self._handles:
            handle.remove()

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = self._name(getattr(func, "__name__", str(func)))
        change = self.changes.get(call)
        output = func(*args, **kwargs) if change is None else change(func, *args, **kwargs)
        self.seen(call, (args, kwargs), output)
        return output

    def seen(self, call: Call, inputs: Any, output: Any) -> None:
        """Take note of a call; here, of nothing."""

    def left(self, call: Call, inputs: Any, output: Any) -> None:
        """Take note of a module's end; here, of nothing."""

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        call = self._name(type(module).__name__)
        self.left(call, (args, kwargs), output)
        self._running.pop()

    def _name(self, function: str) -> Call:
        module = self._running[-1]
        self.times[module, function] += 1
        return Call(module, function, self.times[module, function] - 1)


@dataclass(frozen=True)
class Record:
    """What went into a call and what came out.

    Attributes:
        call: The call.
        whole: Whether it is a whole module, of which the record says what its parts may not.
        inputs: A number for each tensor, the same wherever that tensor appears, and its shape.
        outputs: The same.
    """

    call: Call
    whole: bool
    inputs: tuple[tuple[int, Shape], ...]
    outputs: tuple[tuple[int, Shape], ...]


class Trace(Watch):
    """Record every call of one run that gives tensors.

    Args:
        model: Its modules name the calls.
        x: The input, number 0.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__(model)
        self.records: list[Record] = []
        self._numbers: Any = WeakIdKeyDictionary()
        self._numbers[x] = 0
        self._next = 1

    def seen(self, call: Call, inputs: Any, output: Any) -> None:
        """Record a function; one that returns nothing has written into its first argument."""
        self._record(call, False, inputs, inputs[0][:1] if output is None else output)

    def left(self, call: Call, inputs: Any, output: Any) -> None:
        """Record a module."""
        self._record(call, True, inputs, output)

    def finish(self, x: Tensor, output: Any) -> None:
        """Record the run itself, as a call of the model."""
        self._record(self._name(type(self.model).__name__), True, x, output)

    def _record(self, call: Call, whole: bool, inputs: Any, output: Any) -> None:
        after = self._numbered(output)
        if after:
            self.records.append(Record(call, whole, self._numbered(inputs), after))

    def _numbered(self, value: Any) -> tuple[tuple[int, Shape], ...]:
        return tuple((self._number(tensor), tuple(tensor.shape)) for tensor in tensors(value))

    def _number(self, tensor: Tensor) -> int:
        if tensor not in self._numbers:
            self._numbers[tensor] = self._next
            self._next += 1
        return int(self._numbers[tensor])


def tensors(value: Any) -> Iterator[Tensor]:
    """Find the tensors in nested lists, tuples, dictionaries and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors(getattr(value, field.name))
