"""What upsampling a model holds: the operator that a layer of torch's, or of this library, makes of its weight."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.weight_norm import WeightNorm

from audioup import init
from audioup.engines import Engine, Geometry, PaddingMode
from audioup.fold import duplicate, has_hooks, has_library_forward
from audioup.layer import UpsamplingLayer
from audioup.regularity import RegularWeight
from audioup.transposed import TransposedConv

Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d


class Unsuitable(ValueError):
    """Why a layer that upsamples cannot be replaced."""


@dataclass(frozen=True)
class Source:
    """An upsampling operator found in a model.

    Attributes:
        name: Dotted path of the module in whose place a layer can go.
        kind: What it is made of, such as ``"ConvTranspose1d"`` or ``"Upsample + Conv1d"``.
        word: What `audioup.convert.convert` calls its family; ``""`` for torch's transposed convolutions.
        module: The module in whose place a layer can go.
        dropped: Modules that a layer makes idle, such as the ``Upsample`` before a convolution.
        learned: The module that has the weight.
        kernel: Composite kernel, shape ``(in_channels, out_channels / groups, *lengths)``.
        geometry: Its sizes.
        bias: Shape ``(out_channels,)``, or None.
        bias_lost_db: What a bias for every phase had beyond that, over the whole; None where there is no such thing.
        padding_mode: What lies beyond the edges.
        normed: Whether the weight is under weight norm.
        causal: Whether it says of itself that no output depends on a later frame than its own.
        engine: The one it was told to use.
        note: What else there is to say.
    """

    name: str
    kind: str
    module: nn.Module
    learned: nn.Module
    kernel: Tensor
    geometry: Geometry
    bias: Tensor | None
    normed: bool
    causal: bool = False
    engine: Engine = "auto"
    padding_mode: PaddingMode = "zeros"
    dropped: tuple[nn.Module, ...] = ()
    word: str = ""
    bias_lost_db: float | None = None
    note: str = ""


def of_layer(module: UpsamplingLayer, name: str) -> Source:
    """Read a layer of this library."""
    visible_weight(module)
    mode = getattr(module, "mode", "")
    held = [m.order for m in module.modules() if isinstance(m, RegularWeight)]
    family = "transposed" if isinstance(module, TransposedConv) else "subpixel"
    word = f"resize-{mode}" if mode else f"regular-{held[0]}" if held and family == "transposed" else family
    return Source(
        name,
        kind(module),
        module,
        module,
        module.kernel().detach(),
        module._geometry,
        module.bias,
        normed(module),
        module.causal,
        module.engine,
        module.padding_mode,
        word=word,
    )


def of_transposed(
    module: Transposed, name: str, modules: Mapping[str, nn.Module], places: Mapping[nn.Module, int]
) -> Source:
    """Read a transposed convolution of torch's, perhaps with the module around it that crops its output.

    Args:
        module: The convolution.
        name: Its path.
        modules: Those of the model, by path.
        places: In how many places each stands.

    Raises:
        Unsuitable: If its output does not have ``stride * T`` samples, or its kernel is dilated.
    """
    kernel = visible_weight(module)
    if any(n != 1 for n in module.dilation):
        raise Unsuitable(f"its kernel is dilated, by {module.dilation}")
    lengths, strides = tuple(kernel.shape[2:]), tuple(module.stride)
    origin = tuple(int(n) for n in module.padding)
    # torch: y[n] takes tap n - s m + padding, and there are (T - 1) s + L - 2 padding + output_padding samples.
    surplus = [
        n - s - 2 * c + more for n, s, c, more in zip(lengths, strides, origin, module.output_padding, strict=True)
    ]
    words = kind(module)
    place: nn.Module = module
    if any(surplus):
        found = _cropped(module, name, modules, places) if len(strides) == 1 else None
        if found is None:
            excess = " by ".join(f"stride * T {n:+}" if n else "stride * T" for n in surplus)
            raise Unsuitable(f"its output has {excess} samples")
        name, first = found
        place, origin = modules[name], (first,)
        words = f"{kind(place)} around {words}"
    return Source(
        name,
        words,
        place,
        module,
        kernel,
        Geometry(lengths, strides, origin, module.groups),
        module.bias,
        normed(module),
    )


def _cropped(
    module: Transposed, name: str, modules: Mapping[str, nn.Module], places: Mapping[nn.Module, int]
) -> tuple[str, int] | None:
    # The nearest module around a transposed convolution that makes stride * T samples of its output, and the first one.
    own, inner = {id(value) for value in module.parameters()}, name
    while name:
        name = name.rpartition(".")[0]
        wrapper = modules[name]
        parts = list(wrapper.modules())
        if {id(value) for value in wrapper.parameters()} != own or any(True for _ in wrapper.buffers()):
            return None
        if any(places[part] > 1 or has_hooks(part) for part in parts) or not _takes_one(wrapper):
            return None
        firsts = set(_first_samples(wrapper, inner.removeprefix(name).removeprefix(".")))
        if len(firsts) == 1 and None not in firsts:
            return name, firsts.pop()  # type: ignore[return-value]
    return None


def _takes_one(wrapper: nn.Module) -> bool:
    try:
        return len(inspect.signature(wrapper.forward).parameters) == 1
    except (TypeError, ValueError):  # a forward that does not say what it takes
        return False


def _first_samples(wrapper: nn.Module, path: str) -> Iterator[int | None]:
    # Where the wrapper's output begins in that of its convolution; None where it is no part of it. A copy of it is run,
    # with weights of noise, so that no place looks like another, and loud and soft, so that nothing else goes unseen.
    generator = torch.Generator().manual_seed(0)
    probe = duplicate(wrapper).cpu().double()
    module: Transposed = probe.get_submodule(path)  # type: ignore[assignment]
    for value in probe.parameters():
        value.copy_(torch.randn(value.shape, generator=generator))
    kernel, stride = visible_weight(module), module.stride[0]
    for training in (False, True):
        probe.train(training)
        for more, level in ((8, 1e-4), (9, 1.0), (8, 1e4)):
            frames = more + 2 * (kernel.shape[-1] // stride)
            noise = level * torch.randn(1, module.in_channels, frames, generator=generator, dtype=kernel.dtype)
            try:
                y = probe(noise)
            except Exception:  # whatever a module may raise that is not meant to be called with one signal
                yield None
                return
            whole = F.conv_transpose1d(noise, kernel, module.bias, stride, groups=module.groups)
            if not isinstance(y, Tensor) or y.shape != (1, whole.shape[1], stride * frames):
                yield None
                return
            errors = (whole.unfold(-1, y.shape[-1], 1) - y.unsqueeze(-2)).abs().amax((0, 1, 3))
            first = int(errors.argmin())
            yield first if errors[first] <= 1e-9 * whole.abs().max() else None


def check_plain(module: nn.Module) -> None:
    """Raise `Unsuitable` if a module does more than its class in torch, or in this library, says."""
    if has_hooks(module):
        raise Unsuitable(f"{kind(module)} has hooks")
    if not has_library_forward(module):
        raise Unsuitable(f"{kind(module)} has a forward of its own")


def visible_weight(module: nn.Module) -> Tensor:
    """Return the weight that a module's forward would use, weight norm included.

    Raises:
        Unsuitable: If the module does more than its weight says, or the weight cannot be had or set.
    """
    if any(nn.parameter.is_lazy(value) or value.is_meta for value in module.parameters()):
        raise Unsuitable("it has no weights yet")
    check_plain(module)
    for held in _parametrizations(module):
        if not isinstance(held, (parametrizations._WeightNorm, init._WeightNorm, RegularWeight)):
            raise Unsuitable(f"its weight is parametrised by {kind(held)}")
    for hook in module._forward_pre_hooks.values():
        hook(module, ())  # old-style weight norm sets the weight
    weight: Tensor = module.weight  # type: ignore[assignment]
    if not weight.is_floating_point():
        raise Unsuitable(f"its weight is of {weight.dtype}")
    return weight.detach()


def normed(module: nn.Module) -> bool:
    """Whether a module's weight is under weight norm, of the old or the new form."""
    old = any(isinstance(hook, WeightNorm) for hook in module._forward_pre_hooks.values())
    norms = (parametrizations._WeightNorm, init._WeightNorm)
    return old or any(isinstance(held, norms) for held in _parametrizations(module))


def _parametrizations(module: nn.Module) -> Iterator[nn.Module]:
    if parametrize.is_parametrized(module):
        for held in module.parametrizations.values():  # type: ignore[operator, union-attr]
            yield from held


def kind(module: nn.Module) -> str:
    """Return the name of a module's class, as it was before it was parametrised."""
    return type(module).__name__.removeprefix("Parametrized")
