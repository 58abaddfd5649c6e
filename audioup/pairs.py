"""Upsampling by two modules: a resize and a convolution, or a convolution and a pixel shuffle."""

import inspect
import itertools
import math
from collections import Counter
from collections.abc import Mapping

from torch import fx, nn

from audioup.engines import Geometry, PaddingMode
from audioup.fold import PADS, duplicate
from audioup.layer import swap_channels
from audioup.resize import folded
from audioup.source import Source, Unsuitable, check_plain, kind, normed, visible_weight
from audioup.subpixel import interleave

MODES = {"nearest": "nearest", "nearest-exact": "nearest", "linear": "linear", "bilinear": "linear", "bicubic": "cubic"}
EDGES = "equal away from the edges: padding is now at the input rate"
Convolution = nn.Conv1d | nn.Conv2d
TRACES = tuple(itertools.product((False, True), (False, True)))  # in training or not; optional arguments given or not


def of_pair(
    module: nn.Upsample | nn.PixelShuffle, name: str, modules: Mapping[str, nn.Module], places: Counter[nn.Module]
) -> Source:
    """Read a resize with the convolution after it, or a pixel shuffle with the convolution before it.

    What goes where is seen by tracing the module they stand in.

    Args:
        module: The resize or the shuffle.
        name: Its path.
        modules: Those of the model, by path.
        places: In how many places each stands.

    Raises:
        Unsuitable: If no convolution belongs to it alone, or the two are not an operator of this library.
    """
    *pads, convolution = chain = _neighbours(module, name, modules)
    names = {found: path for path, found in modules.items()}
    for one in (module, *chain):
        check_plain(one)
        if places[one] > 1:
            raise Unsuitable(f"{names[one]} stands in several places")
    if not isinstance(convolution, Convolution):
        raise Unsuitable(f"{names[convolution]} beside it is no convolution")
    path = next(path for path, found in modules.items() if found is convolution)
    if isinstance(module, nn.PixelShuffle):
        return _shuffled(module, convolution, path)
    return _resized(module, convolution, pads, path)


class _Shallow(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """See every child as a whole."""
        return True


def _neighbours(module: nn.Module, name: str, modules: Mapping[str, nn.Module]) -> list[nn.Module]:
    # What follows a resize, up to the first that is no pad; what precedes a shuffle.
    around = name
    while around:
        around = around.rpartition(".")[0]
        if not isinstance(modules[around], nn.ModuleList | nn.ModuleDict):
            break
    parent = modules[around]
    if parent is module:
        raise Unsuitable("there is no convolution beside it")
    chains = [_chain(module, parent, mode, given) for mode, given in TRACES]
    if any(chain != chains[0] for chain in chains):
        raise Unsuitable(f"what {kind(parent)} does with it depends on its mode or its arguments")
    return [parent.get_submodule(path) for path in chains[0]]


def _chain(module: nn.Module, parent: nn.Module, training: bool, defaults: bool) -> list[str]:
    # Paths within the parent. A copy is traced, since a forward may keep what it sees.
    copied = duplicate(parent).train(training)
    try:
        optional = inspect.signature(parent.forward).parameters.values()
        given = {one.name: one.default for one in optional if one.default is not inspect.Parameter.empty}
        graph = _Shallow().trace(copied, concrete_args=given if defaults else None)
    except Exception as error:  # whatever a forward that cannot be traced may raise
        raise Unsuitable(f"{kind(parent)} around it cannot be traced ({type(error).__name__})") from None
    called = {node: str(node.target) for node in graph.nodes if node.op == "call_module"}
    modules = {path: parent.get_submodule(path) for path in called.values()}
    times = Counter(modules[path] for path in called.values())
    if times[module] != 1:
        raise Unsuitable(f"it is called {times[module]} times in {kind(parent)}")
    node = next(node for node, path in called.items() if modules[path] is module)
    chain: list[str] = []
    while not chain or padding_mode(modules[chain[-1]]) is not None:
        near = list(node.users if isinstance(module, nn.Upsample) else node.all_input_nodes)
        if len(near) != 1 or near[0] not in called or (isinstance(module, nn.PixelShuffle) and len(near[0].users) > 1):
            raise Unsuitable("no convolution belongs to it alone")
        node = near[0]
        chain.append(called[node])
        if times[modules[chain[-1]]] > 1:
            raise Unsuitable("what is beside it is called several times")
    return chain


def _resized(module: nn.Upsample, convolution: Convolution, pads: list[nn.Module], name: str) -> Source:
    axes = convolution.weight.dim() - 2
    scale = module.scale_factor
    factors = scale if isinstance(scale, tuple) else (scale or 0.5,) * axes
    if len(factors) != axes or any(factor != int(factor) for factor in factors):
        raise Unsuitable(f"it resizes {f'by {scale}' if scale else f'to {module.size}'}, by no integer factor")
    if module.mode not in MODES or module.align_corners:
        raise Unsuitable(f"mode {module.mode!r} with align_corners={module.align_corners} is no filter of this library")
    reach = _reach(convolution, pads)
    weight, strides = visible_weight(convolution), tuple(int(factor) for factor in factors)
    kernel = folded(weight, strides, MODES[module.mode], convolution.groups)
    # y[n] = sum_q w[q] z[n + q - before] of z[n] = sum_m x[m] a[n - s m + c_a]: tap k - 1 - before + c_a comes first.
    origin = tuple(
        (n - k - s + 2) // 2 + k - 1 - before  # the filter has n - k + 1 taps
        for n, s, k, (before, _) in zip(kernel.shape[2:], strides, convolution.kernel_size, reach, strict=True)
    )
    geometry = Geometry(tuple(kernel.shape[2:]), strides, origin, convolution.groups)
    mode = next(filter(None, map(padding_mode, pads)), convolution.padding_mode)
    return Source(
        name,
        f"{kind(module)} + {kind(convolution)}",
        convolution,
        convolution,
        kernel,
        geometry,
        convolution.bias,
        normed(convolution),
        padding_mode=mode,  # type: ignore[arg-type]
        dropped=(module, *pads),
        word=f"resize-{MODES[module.mode]}",
        note="" if mode == "zeros" and module.mode.startswith("nearest") else EDGES,
    )


def _shuffled(module: nn.PixelShuffle, convolution: Convolution, name: str) -> Source:
    factor = module.upscale_factor
    strides, phases = (factor, factor), factor**2
    if convolution.out_channels // phases % convolution.groups:
        raise Unsuitable("the groups of its convolution divide the phases")
    reach = _reach(convolution, [])
    weight = visible_weight(convolution)
    kernel = swap_channels(interleave(weight, strides), convolution.groups)
    origin = tuple(s * (k - 1 - before) for s, k, (before, _) in zip(strides, weight.shape[2:], reach, strict=True))
    bias, lost = convolution.bias, None
    if bias is not None:
        each = bias.detach().unflatten(0, (-1, phases)).double()
        bias = each.mean(1).to(bias)
        whole = each.square().sum()
        rest = (each - each.mean(1, keepdim=True)).square().sum()
        lost = max(-300.0, 10 * math.log10(rest / whole)) if rest > 0 else -300.0
    return Source(
        name,
        f"{kind(convolution)} + {kind(module)}",
        convolution,
        convolution,
        kernel,
        Geometry(tuple(kernel.shape[2:]), strides, origin, convolution.groups),
        bias,
        normed(convolution),
        padding_mode=convolution.padding_mode,  # type: ignore[arg-type]
        dropped=(module,),
        word="subpixel",
        bias_lost_db=lost,
    )


def _reach(convolution: Convolution, pads: list[nn.Module]) -> list[tuple[int, int]]:
    # What a convolution pads before and after along each axis; together one less than its taps, to keep the length.
    sizes = convolution.kernel_size
    if any(n != 1 for n in (*convolution.stride, *convolution.dilation)):
        raise Unsuitable("its convolution is strided or dilated")
    if convolution.padding == "same":
        reach = [((k - 1) // 2, k // 2) for k in sizes]
    else:
        amounts = (0,) * len(sizes) if convolution.padding == "valid" else convolution.padding
        reach = [(int(n), int(n)) for n in amounts]
    if pads and any(map(any, reach)):
        raise Unsuitable("it is padded twice")
    for pad in pads:
        amounts = tuple(pad.padding)  # type: ignore[arg-type]
        reach = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]  # torch has the last axis first
    if len(pads) > 1 or [before + after for before, after in reach] != [k - 1 for k in sizes]:
        raise Unsuitable("its convolution does not keep the length")
    return reach


def padding_mode(module: nn.Module) -> PaddingMode | None:
    """Return what a module pads with, or None if it does not pad."""
    for mode, forms in PADS.items():
        if isinstance(module, forms):
            return mode  # type: ignore[return-value]
    return "zeros" if isinstance(module, nn.ConstantPad1d | nn.ConstantPad2d) and module.value == 0 else None
