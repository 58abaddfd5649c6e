"""Activations between an upsampling and a downsampling filter, so that the harmonics they make do not fold back.

A pointwise nonlinearity widens the spectrum; what it makes above half the sample rate aliases. Run at ``factor`` times
the rate, most of that lies below the higher Nyquist frequency and is filtered out on the way down.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audioup.checks import check_choice, check_positive
from audioup.engines import PADDING_MODES, PaddingMode, extend
from audioup.fixed import FixedModule
from audioup.functional import context
from audioup.interpolation import interpolation_filter

NO_DIVISION_BY_ZERO = 1e-9  # BigVGAN's


class Oversampled(FixedModule):
    """Run a pointwise activation at ``factor`` times the sample rate, between two windowed-sinc filters.

    Shape ``(batch, channels, T)`` or ``(channels, T)`` is kept, without delay. With the interpolation filter ``a`` of
    ``2 zeros factor`` taps (one fewer for an odd factor), ``z[n] = sum_m x[m] a[n - s m + c]`` goes up, and its adjoint
    over ``s`` comes down: ``y[t] = (1 / s) sum_n f(z[n]) a[n - s t + c]``. Every phase of ``a`` has unit sum: a
    constant stays constant on the way up, without a tone at the old sample rate, and on the way down.

    The high-rate signal is never built: a pointwise function may have its phases one after the other, and each of the
    filters is then ``factor`` short convolutions at the old rate. So ``activation`` is called ``factor`` times, with
    tensors of shape ``(batch, channels, T')``; anything that mixes samples in time does not belong here.

    Args:
        activation: A pointwise function or module that keeps the shape; parameters per channel along axis 1 are
            welcome.
        factor: How many times the sample rate, ``>= 1``; 1 runs the activation as it is.
        zeros: Zero crossings of the sinc on either side. 3 at factor 2 gives 12 taps, the length used by BigVGAN.
        rolloff: Cut-off as a share of the Nyquist frequency.
        padding_mode: What lies beyond the edges of the input; the activation acts on it too.
        taps: Other filter ``a`` at the higher rate, such as a published model's (times ``factor`` where that has unit
            sum), shape ``(L,)``, ``L >= factor``, taken as it is; ``zeros`` and ``rolloff`` are then left at their
            defaults. Where its phases differ in their sums ``g_r``, a constant ``v`` ripples at the old sample rate on
            the way up. The way down folds that ripple to 0 Hz: no tone, but another constant, the mean of ``g_r f(g_r
            v)`` over ``r``. A symmetric filter of an even number of taps at factor 2 (BigVGAN's) has equal sums.

    Raises:
        TypeError: If the activation cannot be called or ``taps`` is no tensor.
        ValueError: If a number, the mode or the taps are out of range; in ``forward``, if the input has other than 2 or
            3 axes, is empty, or is too short to be reflected or wrapped.

    Source: Karras et al., "Alias-Free Generative Adversarial Networks" (NeurIPS 2021), section 3.2; Lee et al.,
    "BigVGAN" (ICLR 2023), section 3.2, for sound.

    Example:
        >>> Oversampled(nn.LeakyReLU(0.1))(torch.randn(1, 4, 100)).shape
        torch.Size([1, 4, 100])
    """

    def __init__(
        self,
        activation: Callable[[Tensor], Tensor],
        factor: int = 2,
        *,
        zeros: int = 3,
        rolloff: float = 1.0,
        padding_mode: PaddingMode = "replicate",
        taps: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not callable(activation):
            raise TypeError(f"activation must be a function or a module, got {activation!r}")
        check_positive("factor", factor)
        check_choice("padding_mode", padding_mode, PADDING_MODES)
        self.given_taps = taps is not None
        if taps is None:
            taps = interpolation_filter("sinc", factor, zeros, rolloff)
        else:
            taps = _checked(taps, factor, zeros, rolloff)
        self.activation = activation
        self.factor = factor
        self.zeros = zeros
        self.rolloff = rolloff
        self.padding_mode: PaddingMode = padding_mode
        origin = (len(taps) - factor + 1) // 2
        # Frames that one phase of either filter looks back (left) and ahead (right).
        self.left, self.right = context(len(taps), factor, origin)
        # z[s t + r] = sum_j x[t - j] a[r + c + s j],  -right <= j <= left; row r, reversed because conv1d correlates.
        lead = factor * self.right - origin
        rows = factor * (self.left + self.right + 1)
        phases = F.pad(taps, (lead, rows - len(taps) - lead)).unflatten(0, (-1, factor)).T
        self._fix("up", phases.flip(-1), torch.empty(0))
        # y[t] = (1 / s) sum_r sum_j f(z)[s (t + j) + r] a[r + c + s j]: the same taps, not reversed.
        self._fix("down", phases / factor, torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to ``x``."""
        if x.dim() not in (2, 3) or x.numel() == 0:
            raise ValueError(f"x must have shape (batch, channels, T >= 1) or (channels, T >= 1), got {tuple(x.shape)}")
        if x.dim() == 2:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        if self.factor == 1:
            return self.activation(x)
        reach = self.left + self.right
        return self.within(extend(x, [(reach, reach)], self.padding_mode))

    def within(self, wide: Tensor) -> Tensor:
        """Apply the activation to a signal whose first and last ``left + right`` frames are context.

        Args:
            wide: Tensor of shape ``(batch, channels, T + 2 (left + right))``.

        Returns:
            Tensor of shape ``(batch, channels, T)``.
        """
        channels = wide.shape[1]  # one group each; not batch * channels, which ONNX cannot hold with a dynamic batch
        parts = []
        for up, down in zip(self._fixed("up", wide), self._fixed("down", wide), strict=True):
            z = self.activation(F.conv1d(wide, up.expand(channels, 1, -1), groups=channels))
            parts.append(F.conv1d(z, down.expand(channels, 1, -1), groups=channels))
        return sum(parts[1:], parts[0])

    def extra_repr(self) -> str:
        """Show the options."""
        design = "given taps" if self.given_taps else f"zeros={self.zeros}, rolloff={self.rolloff}"
        return f"factor={self.factor}, {design}, padding_mode={self.padding_mode!r}"


def _checked(taps: Tensor, factor: int, zeros: int, rolloff: float) -> Tensor:
    if not isinstance(taps, Tensor):
        raise TypeError(f"taps must be a tensor, got {type(taps).__name__}")
    if factor == 1 or (zeros, rolloff) != (3, 1.0):
        raise ValueError(
            "taps take the place of the windowed sinc at a factor above 1: leave out zeros and rolloff, "
            f"got factor={factor}, zeros={zeros}, rolloff={rolloff}"
        )
    if taps.dim() != 1 or len(taps) < factor or taps.is_meta or not taps.isfinite().all():
        raise ValueError(
            f"taps must be finite numbers, at least factor = {factor}, in one axis, got shape {tuple(taps.shape)}"
        )
    return taps.detach().to("cpu", torch.float64)


class SnakeBeta(nn.Module):
    """Add a wave to the identity: ``x + sin(alpha x)^2 / beta``, with both learned for every channel.

    ``alpha`` is the wave's angular frequency, ``1 / beta`` its height. Shape ``(batch, channels, T)``, ``(batch,
    channels, H, W)`` or, unbatched, ``(channels, T)`` is kept.

    Args:
        channels: Channels of the input.
        alpha: Value at the start, of ``beta`` too; above 0.
        log_scale: Learn the logarithms, so that both stay positive; ``alpha`` is still given as a value.
        device: Device of the parameters.
        dtype: Type of the parameters.

    Raises:
        ValueError: If a number is out of range; in ``forward``, if the input has other channels.

    Source: Ziyin, Hartwig & Ueda, "Neural networks fail to learn periodic functions and how to fix it" (NeurIPS 2020),
    equation 3; Lee et al., "BigVGAN" (ICLR 2023) and its published code, for the separate ``beta``. State-dict names
    are BigVGAN's.

    Example:
        >>> SnakeBeta(4)(torch.zeros(1, 4, 10)).abs().max().item()
        0.0
    """

    def __init__(
        self,
        channels: int,
        alpha: float = 1.0,
        log_scale: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_positive("channels", channels)
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be above 0 and finite, got {alpha!r}")
        self.log_scale = log_scale
        start = math.log(alpha) if log_scale else float(alpha)
        self.alpha = nn.Parameter(torch.full((channels,), start, device=device, dtype=dtype))
        self.beta = self._beta(start)

    def _beta(self, start: float) -> nn.Parameter | None:
        return nn.Parameter(torch.full_like(self.alpha, start))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to ``x``."""
        if x.dim() < 2 or x.shape[0 if x.dim() == 2 else 1] != len(self.alpha):
            raise ValueError(f"x must have shape (batch, {len(self.alpha)}, T) or so, got {tuple(x.shape)}")
        shape = (-1, *[1] * max(1, x.dim() - 2))
        alpha, beta = self.alpha.view(shape), (self.alpha if self.beta is None else self.beta).view(shape)
        if self.log_scale:
            alpha, beta = alpha.exp(), beta.exp()
        # In float16 BigVGAN's constant would be 0.
        return x + torch.sin(alpha * x).square() / (beta + max(NO_DIVISION_BY_ZERO, torch.finfo(beta.dtype).tiny))


class Snake(SnakeBeta):
    """Add a wave to the identity: ``x + sin(alpha x)^2 / alpha``, with ``alpha`` learned for every channel.

    `SnakeBeta` with ``beta = alpha``; its arguments and errors.

    Source: Ziyin, Hartwig & Ueda, "Neural networks fail to learn periodic functions and how to fix it" (NeurIPS 2020),
    equation 3.

    Example:
        >>> Snake(4)(torch.full((1, 4, 1), torch.pi)).flatten()
        tensor([3.1416, 3.1416, 3.1416, 3.1416], grad_fn=<ViewBackward0>)
    """

    def _beta(self, start: float) -> None:
        return None
