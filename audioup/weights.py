"""Plain weights from the state dict of a model with weight norm, without the model."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

NORMED = re.compile(r"(?P<layer>|.*\.)(?:weight_(?P<old>[gv])|parametrizations\.weight\.(?P<new>.+))")
PAIRS = (["g", "v"], ["original0", "original1"])  # in either form, length before direction


def plain_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply weight norm out of a state dict: the weights of the same layers without it.

    ``X.weight_g`` and ``X.weight_v`` (``torch.nn.utils.weight_norm``), or ``X.parametrizations.weight.original0`` and
    ``original1`` (``torch.nn.utils.parametrizations.weight_norm``, `audioup.init.weight_norm`), become one entry

        X.weight = g v / ||v||,

    the norm being over all axes where ``g`` has size 1, or over everything if ``g`` has none. A first axis of ``g``
    that is shorter than that of ``v`` divides it into blocks of one length each, as `audioup.init.weight_norm` has them
    for sub-pixel layers and for groups. A direction of zeros stays zero.

    Only entries named ``weight`` are looked at: weight norm of others, such as an LSTM's ``weight_hh_l0_g`` and
    ``weight_hh_l0_v`` or ``parametrizations.bias.original0``, is passed on as it is.

    What a state dict does not tell is not seen: two originals are taken for weight norm whatever made them, and a
    projection on top (`audioup.regular` over weight norm), which has no entry of its own, is not applied. For a model
    at hand use `audioup.fold.fold`, which asks the layers.

    Args:
        state_dict: Tensors by name. It is left as it is.

    Returns:
        The entries in their order. All but those of weight norm are the same tensors; a weight is in the type of ``v``,
        computed in float32 at least, without gradient.

    Raises:
        TypeError: If a part of a weight is no tensor.
        ValueError: If ``g`` stands without ``v`` or the reverse, their shapes do not fit, a weight is there in two
            forms, or it has another parametrisation, such as `audioup.regular` alone. The keys are named.

    Source: Salimans & Kingma, "Weight Normalization" (NeurIPS 2016), equation 2.

    Example:
        >>> plain_state_dict({"up.weight_g": torch.tensor([[10.0]]), "up.weight_v": torch.tensor([[3.0, 4.0]])})
        {'up.weight': tensor([[6., 8.]])}
    """
    parts: dict[str, dict[str, str]] = {}  # of every weight: keys by name of the part
    weights: dict[str, str] = {}  # weight that a key is part of
    for key in state_dict:
        if match := NORMED.fullmatch(key):
            weights[key] = f"{match['layer']}weight"
            parts.setdefault(weights[key], {})[match["old"] or match["new"]] = key
    for weight, found in parts.items():
        if sorted(found) not in PAIRS:
            raise ValueError(
                f"{weight} does not follow from {', '.join(found.values())}: that takes weight_g and weight_v, or "
                "parametrizations.weight.original0 and original1, and nothing else; what another parametrisation "
                "computes only the model knows"
            )
        if weight in state_dict:
            raise ValueError(f"{weight} stands beside {', '.join(found.values())}: only one can be meant")
    plain: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if key not in weights:
            plain[key] = value
        elif weights[key] not in plain:
            length, direction = (found for _, found in sorted(parts[weights[key]].items()))
            plain[weights[key]] = _weight(length, direction, state_dict)
    return plain


@torch.no_grad()
def _weight(length_key: str, direction_key: str, state_dict: Mapping[str, Tensor]) -> Tensor:
    for key in (length_key, direction_key):
        if not isinstance(state_dict[key], Tensor):
            raise TypeError(f"{key} must be a tensor, got {type(state_dict[key]).__name__}")
    length, direction = state_dict[length_key], state_dict[direction_key]
    g = length.reshape([1] * direction.dim()) if length.dim() == 0 else length
    if (
        g.dim() != direction.dim()
        or min(direction.shape, default=0) < 1
        or g.shape[0] < 1
        or direction.shape[0] % g.shape[0]
        or any(n not in (1, m) for n, m in zip(g.shape[1:], direction.shape[1:], strict=True))
    ):
        raise ValueError(
            f"{length_key} of shape {tuple(length.shape)} does not fit {direction_key} of shape "
            f"{tuple(direction.shape)}: along every axis it must be 1 or as long, along the first it may also divide it"
        )
    dtype = torch.promote_types(direction.dtype, torch.float32)
    # Axis 1 counts within the blocks of the first axis, and has no length of its own.
    g, v = g.to(dtype).unsqueeze(1), direction.to(dtype).unflatten(0, (len(g), -1))
    norm = torch.linalg.vector_norm(v, dim=[axis for axis, n in enumerate(g.shape) if n == 1], keepdim=True)
    return (v * (g / torch.where(norm == 0, 1, norm))).reshape(direction.shape).to(direction.dtype)
