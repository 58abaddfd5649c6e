"""Read with `torch.fx` what layers a module is made of, and turn each into what streams it."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from audioup import windows
from audioup.activation import Oversampled, SnakeBeta
from audioup.fold import fold
from audioup.sliding import Join, Structure, Timing, Window

CAN = (
    "what can be streamed are convolutions of stride 1, transposed convolutions, this library's layers for sound, "
    "constant and replicate pads, pointwise activations and arithmetic; name further pointwise types in `pointwise`"
)
POINTWISE_MODULES: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softplus, nn.Softsign),
    *(nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold, nn.Identity, nn.Dropout, nn.Dropout1d),
    *(nn.AlphaDropout, SnakeBeta),
)
NAMES = """
    relu relu6 leaky_relu elu selu celu gelu silu mish tanh sigmoid logsigmoid hardtanh hardsigmoid hardswish
    softplus softsign tanhshrink threshold sin cos exp log sqrt abs square pow neg clamp clip add sub mul div truediv
    iadd isub imul itruediv multiply subtract divide true_divide contiguous clone detach dropout
"""
POINTWISE_FUNCTIONS = frozenset(NAMES.split())
IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)
WINDOWED_FUNCTIONS: dict[Any, Callable[..., Window]] = {
    F.conv1d: windows.convolution,
    F.conv_transpose1d: windows.transposed_convolution,
    F.pad: windows.pad,
}


def read(module: nn.Module, pointwise: tuple[type[nn.Module], ...]) -> Structure:
    """Turn a module into steps over named signals.

    Args:
        module: Left as it is; the steps use a folded copy.
        pointwise: Types of modules that treat every frame for itself, beyond those known.

    Raises:
        TypeError: If something in the module cannot be streamed.
        ValueError: If it could, but for its options.
    """
    for name, part in module.named_modules():
        if getattr(part, "padding_mode", "zeros") not in ("zeros", "replicate"):
            words = f"{name or type(part).__name__} has padding_mode {part.padding_mode!r}"
            raise ValueError(f"{words}, which needs the whole signal: {windows.CAN_PAD}")
    return _Reader(module, pointwise).read()


class _Whole(nn.Module):
    # The module as a child, so that it can be a layer itself; one argument, whatever else it takes.
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Any:
        return self.module(x)


class _Proxy(fx.Proxy):
    # fx would take x += y for x + y, as if no other name of x saw the change.
    def __iadd__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class _Tracer(fx.Tracer):
    # Layers that can be streamed are not entered, nor are torch's others, which the reader refuses by name.
    def __init__(self, pointwise: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.pointwise = pointwise
        self.entered: list[str] = []

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, self.pointwise) or _is_one_of(m, (*POINTWISE_MODULES, *windows.WINDOWED))
        return known or (type(m).__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential))

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.entered.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.entered.pop()
        return result


class _Reader:
    def __init__(self, module: nn.Module, pointwise: tuple[type[nn.Module], ...]) -> None:
        self.pointwise = pointwise
        self.root = _Whole(fold(module))
        tracer = _Tracer(pointwise)
        try:
            self.graph = tracer.trace(self.root)
        except Exception as error:
            where = _shown(tracer.entered[-1], self.root)
            raise TypeError(f"{where} cannot be streamed: {error}; {CAN}") from error
        self.timings: dict[fx.Node, Timing] = {}
        self.constants: dict[fx.Node, Any] = {}

    @torch.no_grad()
    def read(self) -> Structure:
        steps, reach = [], 0
        for node in self.graph.nodes:
            signals = [i for i in node.all_input_nodes if i in self.timings]
            if node.op == "placeholder":
                self.timings[node] = Timing()
            elif node.op == "output":
                result = node.args[0]
            elif not signals:
                self.constants[node] = self._constant(node)
            else:
                step = self._step(node, signals)
                timings = [self.timings[i] for i in signals]
                if isinstance(step, Window):
                    reach = max(reach, -(-step.reach // timings[0].stride))
                    self.timings[node] = step.through(timings[0])
                else:
                    self.timings[node] = step.through(timings)
                steps.append((node.name, [i.name for i in signals], step))
        if result not in self.timings:
            raise TypeError(f"module must return one tensor that follows from its input, got {result}")
        for part in self.root.modules():
            if getattr(part, "inplace", False):
                part.inplace = False  # type: ignore[assignment]
        timing = self.timings[result]
        shortest = max(1, *[-((i.extra - 1) // i.stride) for i in self.timings.values()])
        return Structure(
            steps, result.name, timing, shortest, shortest + reach + max(0, timing.lag) // timing.stride + 11
        )

    def _step(self, node: fx.Node, signals: list[fx.Node]) -> Window | Join:
        name = self._name(node)
        if node.op == "call_module":
            layer = self.root.get_submodule(str(node.target))
            self._check_in_place(node, name, getattr(layer, "inplace", False))
            if layer._forward_hooks or layer._forward_pre_hooks:
                raise ValueError(f"{name} has forward hooks, which a stream would not run: remove them first")
            # Nobody knows whether what another has written changes its input.
            if isinstance(layer, self.pointwise):
                return self._join(node, name, layer, changes=True)
            if _is_one_of(layer, POINTWISE_MODULES):
                return self._join(node, name, layer, changes=False)
            if isinstance(layer, Oversampled) and layer.factor == 1:
                return self._join(node, name, layer.activation, changes=True)
            if [*node.args, *node.kwargs.values()] != signals:
                raise TypeError(f"{name} is given more than the signal, which cannot be streamed")
            window = windows.window_of(name, layer)
            if window is None:
                raise TypeError(f"{name} cannot be streamed; {CAN}")
            return window
        args, kwargs = self._known(node)
        if node.target in WINDOWED_FUNCTIONS and args[:1] == (signals[0],) and len(signals) == 1:
            return WINDOWED_FUNCTIONS[node.target](name, *args[1:], **kwargs)
        if node.target is operator.getitem:
            return windows.cut(name, args[1])
        function = self._pointwise_function(node)
        if function is None:
            raise TypeError(f"{name} cannot be streamed; {CAN}")
        changes = _changes_in_place(node)
        self._check_in_place(node, name, changes)
        return self._join(node, name, function, changes)

    def _join(self, node: fx.Node, name: str, function: Callable[..., Any], changes: bool) -> Join:
        signals = [i for i in node.all_input_nodes if i in self.timings]
        args, kwargs = self._known(node)
        for constant in node.all_input_nodes:
            value = self.constants.get(constant)
            if isinstance(value, Tensor) and value.dim() and value.shape[-1] != 1:
                raise ValueError(
                    f"{name} combines the signal with a tensor of shape {tuple(value.shape)}: time must be 1"
                )

        def compute(*values: Tensor) -> Tensor:
            table = {i: x.clone() if changes else x for i, x in zip(signals, values, strict=True)}
            now, named = _filled((args, kwargs), table.__getitem__)
            result: Tensor = function(*now, **named)
            return result

        return Join(name, compute)

    def _known(self, node: fx.Node) -> Any:
        return _filled((node.args, node.kwargs), lambda i: self.constants.get(i, i))

    def _pointwise_function(self, node: fx.Node) -> Callable[..., Any] | None:
        if node.op == "call_method":
            method = str(node.target)
            return getattr(Tensor, method) if _plain(method) in POINTWISE_FUNCTIONS else None
        target: Any = node.target
        name = getattr(target, "__name__", "")
        known = _plain(name) in POINTWISE_FUNCTIONS and any(
            getattr(space, name, None) is target for space in (torch, F, operator)
        )
        return target if known else None

    def _constant(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.root)
        args, kwargs = _filled((node.args, node.kwargs), self.constants.__getitem__)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        function = self.root.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        return function(*args, **kwargs)  # type: ignore[operator]

    def _check_in_place(self, node: fx.Node, name: str, changes: bool) -> None:
        # A stream never writes into a signal, so the change would not be seen by who reads the input afterwards.
        changed = [*node.args, *node.kwargs.values()][0]
        if changes and isinstance(changed, fx.Node):
            order = list(self.graph.nodes)
            if any(order.index(user) > order.index(node) for user in changed.users):
                raise ValueError(f"{name} changes its input in place, and that is used again afterwards: make a copy")

    def _name(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return _shown(str(node.target), self.root)
        called = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        return f"{called} in {_shown(next(reversed(node.meta['nn_module_stack'])), self.root)}"


def _shown(path: str, root: nn.Module) -> str:
    # "module.ups.0" -> "ups.0"; the module itself has no path of its own.
    return path.removeprefix("module").removeprefix(".") or type(root.get_submodule("module")).__name__


def _is_one_of(module: nn.Module, types: tuple[type[nn.Module], ...]) -> bool:
    # A subclass with a forward of its own is something else.
    return any(isinstance(module, known) and type(module).forward is known.forward for known in types)


def _filled(arguments: Any, value: Callable[[fx.Node], Any]) -> Any:
    # Arguments with values in the place of nodes.
    return map_arg(arguments, value)


def _plain(name: str) -> str:
    return name.removesuffix("_")


def _changes_in_place(node: fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    flag = node.kwargs.get("inplace", False) is True or any(value is True for value in node.args[1:])
    return flag or name.endswith("_") or node.target in IN_PLACE
