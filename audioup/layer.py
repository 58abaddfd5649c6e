"""What every upsampling layer shares: its options, the length contract, the origin and the delay."""

import math
from typing import ClassVar, TypedDict

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from typing_extensions import Self

from audioup import engines
from audioup.checks import check_choice, check_positive, pair
from audioup.engines import ENGINES, PADDING_MODES, Engine, Geometry, PaddingMode
from audioup.functional import check_input
from audioup.prepared import Prepared


class LayerOptions(TypedDict, total=False):
    """Keyword options that all layers take; `UpsamplingLayer` says what they mean."""

    groups: int
    bias: bool
    padding_mode: PaddingMode
    causal: bool
    engine: Engine
    device: torch.device | str | None
    dtype: torch.dtype | None


class UpsamplingLayer(nn.Module):
    """Upsample by a kernel yet to be defined: the base of all layers, for sound and for images, not used by itself.

    A family defines how its ``weight`` becomes the kernel of `audioup.functional.upsample1d` or ``upsample2d``. All
    take ``(in_channels, out_channels, kernel_size, stride)`` by position, as ``torch.nn.ConvTranspose1d`` does, and the
    options below by name, so that one word swaps them; what ``kernel_size`` counts is the family's own. Layers for
    images take one number for both axes or a pair, and their attributes are pairs.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Taps of the weight; see the family for the rate at which they are counted.
        stride: Output samples per input frame.
        groups: Groups of channels that do not see each other; divides both channel counts.
        bias: Whether one value per output channel is learned.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"`` beyond the edges.
        causal: Let no output depend on a later input frame than its own (origin 0) instead of centring the kernel.
            (What ``"reflect"`` and ``"circular"`` put before the beginning are later frames all the same.)
        engine: ``"auto"``, ``"transposed"`` or ``"polyphase"``; see `audioup.functional.upsample1d`.
        device: Device of the parameters.
        dtype: Type of the parameters.

    Attributes:
        strides: ``stride`` as a tuple, also for sound.
        weight: The learned parameter.
        bias: Shape ``(out_channels,)``, or None.
        kernel_length: Taps ``L`` of the composite kernel at the output rate.
        origin: The kernel's tap on the first output sample of its own frame: ``(L - stride + 1) // 2``, causal ``0``.
        delay: Delay in output samples for a symmetric kernel: 0 or -0.5 when centred, ``(L - stride) / 2`` when causal.

    Raises:
        ValueError: If an argument is out of range or ``groups`` does not divide the channels.
    """

    axes: ClassVar[int]
    weight_is_kernel: ClassVar[bool] = False
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int]
    kernel_length: int | tuple[int, int]
    origin: int | tuple[int, int]
    delay: float | tuple[float, float]
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        *,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        causal: bool = False,
        engine: Engine = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        self.kernel_sizes = self._per_axis("kernel_size", kernel_size)
        self.strides = self._per_axis("stride", stride)
        for name in ("in_channels", "out_channels", "groups"):
            check_positive(name, getattr(self, name))
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % groups:
                raise ValueError(f"groups must divide {name} = {getattr(self, name)}, got {groups}")
        check_choice("padding_mode", padding_mode, PADDING_MODES)
        check_choice("engine", engine, ENGINES)
        self.padding_mode: PaddingMode = padding_mode
        self.causal = causal
        self.engine: Engine = engine
        self.kernel_lengths = self._kernel_lengths()
        spare = [length - step for length, step in zip(self.kernel_lengths, self.strides, strict=True)]
        self.origins = tuple(0 if causal else (n + 1) // 2 for n in spare)
        self.delays = tuple(n / 2 - c for n, c in zip(spare, self.origins, strict=True))
        self._geometry = Geometry(self.kernel_lengths, self.strides, self.origins, groups)
        self._prepared = Prepared()
        for name in ("kernel_size", "stride", "kernel_length", "origin", "delay"):
            values = getattr(self, name + "s")
            setattr(self, name, values[0] if self.axes == 1 else values)
        self.weight = nn.Parameter(torch.empty(self._weight_shape(), device=device, dtype=dtype))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        )

    def kernel(self) -> Tensor:
        """Return the composite kernel, shape ``(in_channels, out_channels / groups, *kernel_length)``.

        It follows from ``weight`` alone, so ``eval()`` can keep it for as long as the weight stays what it is.
        """
        raise NotImplementedError

    def weight_for(self, kernel: Tensor) -> Tensor:
        """Return the weight whose composite kernel is ``kernel``, or nearest to it by the sum of squared differences.

        Args:
            kernel: Shape of `kernel`. A parametrisation of the weight is not looked at.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Upsample ``x`` to ``stride`` times its length along every upsampled axis; see the layer for shapes."""
        check_input(x, self.in_channels, self.axes)
        ready = self._prepared.suits(self, x)
        engine = self.engine
        if engine == "auto":
            learns = x.requires_grad or any(value.requires_grad for value in self.parameters())
            outputs = x.numel() // self.in_channels * self.out_channels * math.prod(self.strides)
            engine = engines.faster(x, outputs, self.groups, learns and torch.is_grad_enabled(), ready)
        # What is the weight itself is not kept: a comparison would cost more than it saves.
        if ready and (engine == "polyphase" or not self.weight_is_kernel):
            weight = self._prepared.get(self.weight, engine, lambda: self._weight(engine))
        else:
            weight = self._weight(engine)
        return engines.run(x, weight, self._geometry, self.bias, self.padding_mode, engine)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, as every module does; in training nothing is kept."""
        if mode:
            self._prepared = Prepared()
        return super().train(mode)

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly within ``1 / sqrt(fan_in)``, as torch's convolutions do."""
        set_weight_(self, self._draw())
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Describe the layer as its constructor call."""
        words = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        words += self._changed(groups=1, padding_mode="zeros", causal=False, engine="auto")
        return ", ".join(words + ["bias=False"] * (self.bias is None))

    def _weight(self, engine: Engine) -> Tensor:
        return engines.arrange(self.kernel(), self._geometry, engine)

    def _changed(self, **defaults: object) -> list[str]:
        return [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value]

    def _draw(self) -> Tensor:
        return nn.init.kaiming_uniform_(torch.empty_like(self.weight), a=math.sqrt(5))

    def _by_output(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        # How axis 0 of the weight divides so that one axis counts the outputs, and the axes of all else.
        return (self.out_channels,), tuple(range(1, 2 + self.axes))

    def _per_axis(self, name: str, value: int | tuple[int, int]) -> tuple[int, ...]:
        values: tuple[int, ...] = (value,) if self.axes == 1 else pair(name, value)  # type: ignore[assignment]
        for one in values:
            check_positive(name, one)
        return values

    def _kernel_lengths(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _weight_shape(self) -> tuple[int, ...]:
        return self.out_channels, self.in_channels // self.groups, *self.kernel_sizes


class UpsamplingLayer1d(UpsamplingLayer):
    """Upsample ``(batch, in_channels, T)`` to ``(batch, out_channels, stride * T)``; see `UpsamplingLayer`."""

    axes = 1
    kernel_size: int
    stride: int
    kernel_length: int
    origin: int
    delay: float


class UpsamplingLayer2d(UpsamplingLayer):
    """Upsample images ``(batch, in_channels, H, W)`` to ``stride`` times ``H`` and ``W``; see `UpsamplingLayer`."""

    axes = 2
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    kernel_length: tuple[int, int]
    origin: tuple[int, int]
    delay: tuple[float, float]


def swap_channels(taps: Tensor, groups: int) -> Tensor:
    """Turn ``(out, in / groups, ...)``, as convolutions have it, into ``(in, out / groups, ...)``, or back."""
    return taps.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def set_weight_(layer: nn.Module, weight: Tensor) -> None:
    """Give a layer a weight, through its parametrisations if it has any.

    Args:
        layer: A layer with a ``weight``.
        weight: Tensor of its shape. What a parametrisation rules out is lost.

    Raises:
        ValueError: If the weight is neither a parameter nor parametrised, as under ``torch.nn.utils.weight_norm``.
    """
    settable_weight(layer)
    with torch.no_grad():
        if isinstance(layer.weight, nn.Parameter):
            layer.weight.copy_(weight)
        else:
            layer.weight = weight


def settable_weight(layer: nn.Module) -> Tensor:
    """Return a layer's weight; `ValueError` unless it is a parameter or parametrised, so that it can be set."""
    weight = layer.weight
    if not isinstance(weight, Tensor if parametrize.is_parametrized(layer, "weight") else nn.Parameter):
        raise ValueError("layer.weight is no parameter: remove the old form of weight norm first")
    return weight
