"""Give one upsampling stage of a running network equal phase gains, and leave all else as it is.

The kernel that a stage upsamples by is replaced, where it is used, by the nearest one of regularity order 1, so that
the stage makes no line of a constant any more. The model itself stays as it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audioup.functional import upsample1d, upsample2d
from audioup.layer import UpsamplingLayer
from audioup.rates import Rise
from audioup.regularity import project, regularity_order
from audioup.source import Unsuitable, of_layer
from audioup.stages import Stage
from audioup.tracing import Call, Change, Watch

HOLDING = ("interpolate", "upsample", "upsample_nearest", "upsample_bilinear", "repeat_interleave")  # keep a constant
AXES = {"conv_transpose1d": 1, "conv_transpose2d": 2}
CHANNELS = {"conv1d": -2, "conv2d": -3, "linear": -1}  # axis of a convolution's output
TRANSPOSED_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
Run = Callable[[], Any]


class Intervention:
    """What it takes to hold one stage at order 1 while a model runs.

    Args:
        model: The model.
        stage: Found by `audioup.stages.find_stages`.
        run: Runs the model on any input, best a short one, to count its calls and to see where the channels go that a
            pixel shuffle interleaves.

    Attributes:
        orders: Regularity order of each kernel that was met, before it was projected; 1 stands for 1 or more where
            a function that keeps constants has no kernel to look at.
        reasons: Why a branch of the stage could not be projected.
    """

    def __init__(self, model: nn.Module, stage: Stage, run: Run) -> None:
        self.model = model
        self.orders: list[int] = []
        self.reasons: list[str] = []
        self._changes: dict[Call, Change] = {}
        self._forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
        for rise in stage.rises:
            try:
                self._prepare(rise, run)
            except ValueError as error:
                self._refuse(rise, error)
        with Watch(model) as watch:
            run()
        self._calls = watch.times

    @property
    def possible(self) -> bool:
        """Whether there is anything to change."""
        return bool(self._changes or self._forwards)

    def __call__(self, run: Run) -> Any:
        """Run once, on one input, with the stage held at order 1, and return what ``run`` returns.

        Raises:
            ValueError: If the calls that are to change are not made as often as before.
        """
        for module, forward in self._forwards.items():
            vars(module)["forward"] = forward
        try:
            with Watch(self.model, self._changes) as watch:
                output = run()
        finally:
            for module in self._forwards:
                del vars(module)["forward"]
        for call in self._changes:
            now, before = (times[call.module, call.function] for times in (watch.times, self._calls))
            if now != before:
                raise ValueError(f"{call.function} in {call.module!r} runs {now} times, and {before} on a short input")
        return output

    def _refuse(self, rise: Rise, error: ValueError) -> None:
        reason = f"{rise.call.function}: {error}"
        if reason not in self.reasons:
            self.reasons.append(reason)

    def _prepare(self, rise: Rise, run: Run) -> None:
        module = self.model.get_submodule(rise.call.module)
        if isinstance(module, UpsamplingLayer):
            self._forwards[module] = self._of_layer(module, rise)
        elif rise.call.function in AXES:
            self._changes[rise.call] = self._of_transposed(rise)
        elif rise.call.function in HOLDING:
            self.orders.append(1)
        elif rise.convolution is not None:
            call, axis = rise.convolution
            self._changes[call] = self._of_shuffle(rise, _phases(self.model, rise, call, run), axis)
        else:
            raise Unsuitable("there is no kernel to project")

    def _of_layer(self, layer: UpsamplingLayer, rise: Rise) -> Callable[[Tensor], Tensor]:
        source = of_layer(layer, rise.call.module)
        geometry = source.geometry
        kernel = self._projected(source.kernel, _along_time(geometry.stride, rise.axis))
        upsample: Callable[..., Tensor] = upsample1d if len(geometry.stride) == 1 else upsample2d
        stride, origin = (n if len(n) > 1 else n[0] for n in (geometry.stride, geometry.origin))
        return lambda x: upsample(x, kernel, stride, origin, source.bias, geometry.groups, source.padding_mode)

    def _of_transposed(self, rise: Rise) -> Change:
        axes = AXES[rise.call.function]

        def change(function: Callable[..., Tensor], *given: Any, **named: Any) -> Tensor:
            options = {**dict(zip(TRANSPOSED_ARGUMENTS, given, strict=False)), **named}
            strides = _along_time(_per_axis(options.get("stride", 1), axes), rise.axis)
            try:
                if set(_per_axis(options.get("dilation", 1), axes)) != {1}:
                    raise Unsuitable("its kernel is dilated")
                options["weight"] = self._projected(options["weight"], strides)
            except ValueError as error:
                self._refuse(rise, error)
            return function(**options)

        return change

    def _of_shuffle(self, rise: Rise, phases: Tensor, axis: int) -> Change:
        # A phase's gain is the sum of its taps: the nearest kernel of equal gains has the same taken from each tap. One
        # bias for all phases is left, as another would be a line by itself.
        def change(
            function: Callable[..., Tensor],
            input: Tensor,
            weight: Tensor,
            bias: Tensor | None = None,
            *given: Any,
            **named: Any,
        ) -> Tensor:
            each = weight[phases]  # (outputs, phases, inputs, ...)
            group = phases * (given[3] if len(given) > 3 else named.get("groups", 1)) // len(weight)
            if (group != group[:, :1]).any():
                self._refuse(rise, Unsuitable("the groups of its convolution divide the phases"))
                return function(input, weight, bias, *given, **named)
            gains = each.mean(axis, keepdim=True) if weight.dim() > 2 else each
            excess = gains - gains.mean(1, keepdim=True)
            flat = excess.norm() <= 4 * torch.finfo(weight.dtype).eps * each.norm()
            weight = weight.clone()
            weight[phases] = each - excess
            if bias is not None:
                mean = bias[phases].mean(1, keepdim=True)
                flat = flat & ((bias[phases] - mean).norm() <= 4 * torch.finfo(bias.dtype).eps * bias.norm())
                bias = bias.clone()
                bias[phases] = mean.expand_as(phases)
            self.orders.append(int(flat))
            return function(input, weight, bias, *given, **named)

        return change

    def _projected(self, kernel: Tensor, strides: Sequence[int]) -> Tensor:
        projected = project(kernel.double(), strides, 1).to(kernel.dtype)
        self.orders.append(regularity_order(kernel, strides))
        return projected


class _Seen(Exception):
    """Ends a run early, with the tensor that was asked for."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor = tensor


def _phases(model: nn.Module, rise: Rise, convolution: Call, run: Run) -> Tensor:
    # Which channel of a convolution becomes which phase of which output, shape (outputs, phases): its channels are
    # numbered and followed.
    stride = round(rise.rate_out / rise.rate_in)
    channels = 0

    def number(function: Callable[..., Tensor], *given: Any, **named: Any) -> Tensor:
        nonlocal channels
        y = function(*given, **named)
        axis = CHANNELS[convolution.function]
        channels = y.shape[axis]
        return torch.arange(channels, device=y.device).view(-1, *[1] * (-1 - axis)).expand(y.shape)

    def catch(function: Callable[..., Tensor], *given: Any, **named: Any) -> Tensor:
        raise _Seen(function(*given, **named))

    try:
        with Watch(model, {convolution: number, rise.call: catch}):
            run()
    except _Seen as seen:
        found = seen.tensor.movedim(rise.axis, -1).flatten(0, -2)
    else:
        raise Unsuitable("the call was not met again")
    if found.shape[-1] % stride:
        raise Unsuitable("what it gives are no whole frames")
    frames = found.unflatten(-1, (-1, stride))
    phases = frames[:, 0].unique(dim=0)
    if (frames != frames[:, :1]).any() or not torch.equal(
        phases.flatten().sort()[0], torch.arange(channels).to(phases)
    ):
        raise Unsuitable("it is no interleaving of the channels of one convolution")
    return phases


def _along_time(strides: Sequence[int], axis: int) -> tuple[int, ...]:
    # Of an image, too, only the time axis can sing.
    return tuple(s if n - len(strides) == axis else 1 for n, s in enumerate(strides))


def _per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * axes if len(values) == 1 else values
