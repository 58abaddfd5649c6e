"""Deployment: a copy of a model in which every layer of this library is one plain layer of torch's."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_weight_norm
from torch.nn.utils.weight_norm import WeightNorm

from audioup.layer import UpsamplingLayer

ModuleT = TypeVar("ModuleT", bound=nn.Module)
PADS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "reflect": (nn.ReflectionPad1d, nn.ReflectionPad2d),
    "replicate": (nn.ReplicationPad1d, nn.ReplicationPad2d),
    "circular": (nn.CircularPad1d, nn.CircularPad2d),
}


def fold(model: nn.Module) -> nn.Module:
    """Return a copy of a model for deployment: the same sound to rounding, from layers that torch has.

    Every layer of this library becomes ``torch.nn.ConvTranspose1d`` or ``ConvTranspose2d`` with the composite kernel,
    interpolation, projection and weight norm being multiplied out. Where the contract (``stride * T`` samples, origin,
    padding mode) is not one that torch's layer has by itself, it stands in a ``torch.nn.Sequential`` with a pad before
    or a crop (a ``ConstantPad`` by negative amounts) after. Elsewhere in the model weight norm, of the old or the new
    form, and any other parametrisation become the plain weight they stand for. So the copy can be pickled, and read
    where this library is not installed, unless the model has other parts of it (`Oversampled`, `Snake`).

    The copy is in ``eval()`` and its parameters ask for no gradient. A kernel held at an order (`regular`) is so no
    more. A class derived from a layer of this library, with a ``forward`` of its own, stays as it is. A ``ResizeConv``
    that interpolates channel by channel (a long sinc) is folded too, and may take more multiply-adds than before.

    Args:
        model: Any module, with or without layers of this library; it is left as it is. Layers that stand in several
            places stay shared.

    Returns:
        The copy, or the plain layer if ``model`` is a layer of this library.

    Raises:
        ValueError: If a layer has hooks, which the plain one would not.

    Example:
        >>> from audioup import ResizeConv1d
        >>> fold(nn.Sequential(ResizeConv1d(8, 4, 9, 8), nn.Tanh()))
        Sequential(
          (0): ConvTranspose1d(8, 4, kernel_size=(16,), stride=(8,), padding=(4,))
          (1): Tanh()
        )
    """
    folded = duplicate(model).eval()
    layers: dict[nn.Module, nn.Module] = {}
    with torch.no_grad():
        for module in folded.modules():
            resolve(module)
        for name, module in folded.named_modules():
            if isinstance(module, UpsamplingLayer) and has_library_forward(module):
                if has_hooks(module):
                    raise ValueError(f"{name or type(module).__name__} has hooks: remove them before folding")
                layers[module] = _plain(module)
    return replace(folded, layers).eval().requires_grad_(False)


def duplicate(model: ModuleT) -> ModuleT:
    """Copy a model, also one that holds computed tensors (old-style weight norm's), which ``copy.deepcopy`` refuses."""
    computed = [value for module in model.modules() for value in _tensors(vars(module)) if not value.is_leaf]
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})


def replace(model: nn.Module, replacements: Mapping[Any, nn.Module]) -> nn.Module:
    """Put other modules in the place of some, wherever in a model they stand, also in lists, tuples and dictionaries.

    Returns:
        The model, or what replaces it.
    """
    for module in list(model.modules()):
        for name, value in list(vars(module).items()):
            vars(module)[name] = _replaced(value, replacements)
    return replacements.get(model, model)


def has_library_forward(module: nn.Module) -> bool:
    """Whether a module computes what its class in torch, or in this library, does: no ``forward`` of somebody's own."""
    forward = type(module).forward
    return "forward" not in vars(module) and forward.__module__.startswith(("torch.nn.modules.", "audioup."))


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks, beside those of old-style weight norm."""
    before = [hook for hook in module._forward_pre_hooks.values() if not isinstance(hook, WeightNorm)]
    return bool(before or module._forward_hooks or module._backward_hooks or module._backward_pre_hooks)


def resolve(module: nn.Module) -> None:
    """Turn the parametrised tensors of one module, weight norm of either form included, into plain parameters."""
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
    if parametrize.is_parametrized(module):
        names: nn.ModuleDict = module.parametrizations  # type: ignore[assignment]
        values = {name: getattr(module, name).detach().clone() for name in names}
        learned = {name for name, held in names.items() if held._parameters}
        # torch's remove_parametrizations would also take the property from the class, which copies share.
        module.__class__ = type(module).__bases__[0]
        del module.parametrizations
        for name, value in values.items():
            if name in learned:
                module.register_parameter(name, nn.Parameter(value))
            else:
                module.register_buffer(name, value)


def _plain(layer: UpsamplingLayer) -> nn.Module:
    axes, geometry, kernel = layer.axes, layer._geometry, layer.kernel().detach()
    reach = [(0, 0)] * axes if layer.padding_mode == "zeros" else geometry.context()
    surplus = geometry.surplus(reach)
    # Taps of zero make up for samples that are missing, so that the bias reaches them too.
    kernel = F.pad(kernel, [max(0, -n) for both in reversed(surplus) for n in both])
    surplus = [(max(0, before), max(0, after)) for before, after in surplus]
    more = [before - after for before, after in surplus]
    native = all(0 <= n < s for n, s in zip(more, layer.strides, strict=True))
    padding = [before if native else min(before, after) for before, after in surplus]
    form: type[nn.ConvTranspose1d | nn.ConvTranspose2d] = nn.ConvTranspose1d if axes == 1 else nn.ConvTranspose2d
    convolution = form(
        layer.in_channels,
        layer.out_channels,
        tuple(kernel.shape[2:]),  # type: ignore[arg-type]
        layer.strides,  # type: ignore[arg-type]
        tuple(padding),  # type: ignore[arg-type]
        tuple(more) if native else 0,  # type: ignore[arg-type]
        layer.groups,
        layer.bias is not None,
        device="meta",
    )
    convolution.weight = nn.Parameter(kernel.clone())
    if layer.bias is not None:
        convolution.bias = nn.Parameter(layer.bias.detach().clone())
    steps: list[nn.Module] = [convolution]
    if any(map(any, reach)):
        steps.insert(0, PADS[layer.padding_mode][axes - 1](_flat(reach)))
    if not native:
        crop = [(n - before, n - after) for (before, after), n in zip(surplus, padding, strict=True)]
        steps.append((nn.ConstantPad1d if axes == 1 else nn.ConstantPad2d)(_flat(crop), 0.0))  # type: ignore[arg-type]
    return steps[0] if len(steps) == 1 else nn.Sequential(*steps)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _replaced(value: Any, replacements: Mapping[Any, nn.Module]) -> Any:
    # Mutable containers are changed in place, since others may hold them too.
    if isinstance(value, nn.Module):
        return replacements.get(value, value)
    if isinstance(value, (list, dict)):
        for key, one in list(value.items() if isinstance(value, dict) else enumerate(value)):
            other = _replaced(one, replacements)
            if other is not one:
                value[key] = other
    elif type(value) is tuple:
        return tuple(_replaced(one, replacements) for one in value)
    return value


def _flat(amounts: list[tuple[int, int]]) -> tuple[int, ...]:
    # torch's pads take the last axis first.
    return tuple(n for both in reversed(amounts) for n in both)
