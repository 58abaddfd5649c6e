"""Stream a module: sound comes out chunk by chunk as its input comes in, equal to what the whole input would give.

Every layer whose output depends on neighbouring frames keeps the few frames that it will need again; where branches
meet, the earlier waits for the later. Nothing is computed twice, and no chunk is padded but the first and the last.
"""

import torch
from torch import Tensor, nn

from audioup.sliding import Window
from audioup.structure import read


class Stream:
    """Run a module on a signal that comes in chunks of any sizes.

    All that ``stream(chunk)`` and at last ``stream.flush()`` return, concatenated, is ``module(x)`` of the concatenated
    chunks, in ``eval()``, to rounding. What comes out after every chunk is all that no later frame can change: after
    ``m`` frames that is ``max(0, stride * m - latency)`` samples.

    The module may be any nest of convolutions of stride 1 (padding zeros or replicate), transposed convolutions, this
    library's layers for sound, constant and replicate pads, activations (`Oversampled` too), dropout, which does
    nothing, sums and other arithmetic: `torch.nn.Sequential`, residual blocks, whole vocoders. It is folded (see
    `audioup.fold.fold`), weight norm included, into a copy: the stream keeps the weights it began with, and the module
    is left as it is. Nothing is differentiated.

    Args:
        module: Takes one signal ``(batch, in_channels, T)``, returns one.
        pointwise: Further types of modules within it that treat every frame for itself, alike wherever it stands.

    Attributes:
        stride: Output samples per input frame.
        latency: Output samples that wait for later frames, or are held back since the end may crop them. A centred
            layer's is its ``origin`` (0 if that is negative), a causal layer's 0, whatever its ``delay``, which shifts
            the sound within the output. Below 0 where a module puts more samples first than it waits for.
        latencies: The same by layer, along the slowest path. The sum is ``latency``.

    Raises:
        TypeError: If the module holds something that cannot be streamed, such as an LSTM, or whose structure depends on
            the values or the length of the signal.
        ValueError: If it holds a layer that can, but with options that cannot: stride 2, padding reflect or circular.

    Example:
        >>> from audioup import TransposedConv1d
        >>> module = nn.Sequential(TransposedConv1d(2, 1, 8, 4), nn.Tanh())
        >>> stream, x = Stream(module), torch.randn(1, 2, 10)
        >>> parts = [stream(x[..., :1]), stream(x[..., 1:7]), stream(x[..., 7:]), stream.flush()]
        >>> [part.shape[-1] for part in parts], stream.latency
        ([2, 24, 12, 2], 2)
        >>> torch.allclose(torch.cat(parts, -1), module(x), atol=1e-6)
        True
    """

    def __init__(self, module: nn.Module, pointwise: tuple[type[nn.Module], ...] = ()) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
        self._steps, self._output, timing = read(module, pointwise)
        self.stride, self.latency = timing.stride, timing.lag
        self.latencies: dict[str, int] = {}
        for name, samples in timing.lags:
            self.latencies[name] = self.latencies.get(name, 0) + samples
        self._empty: Tensor | None = None
        self._frames = 0

    @torch.no_grad()
    def __call__(self, chunk: Tensor) -> Tensor:
        """Take the next frames, return the samples that they make known.

        Args:
            chunk: Tensor of shape ``(batch, in_channels, n)`` or ``(in_channels, n)``, ``n >= 0``.

        Returns:
            Tensor of shape ``(batch, out_channels, samples)``, or ``(out_channels, samples)`` for unbatched chunks;
            ``samples`` may be 0.

        Raises:
            TypeError: If the chunk is no tensor.
            ValueError: If it has other than 2 or 3 axes, not the channels, type or device of the module, or not those,
                or not the batch size, of the chunks before.
        """
        if not isinstance(chunk, Tensor):
            raise TypeError(f"chunk must be a tensor, got {type(chunk).__name__}")
        if chunk.dim() not in (2, 3):
            raise ValueError(f"chunk must have shape (batch, channels, n) or (channels, n), got {tuple(chunk.shape)}")
        empty = chunk[..., :0]
        if self._empty is not None and _kind(empty) != _kind(self._empty):
            raise ValueError(
                f"chunk is {_kind(empty)}, those before were {_kind(self._empty)}: flush() or reset() first"
            )
        y = self._advance(chunk, last=False)
        self._empty = empty.clone()
        self._frames += chunk.shape[-1]
        return y

    @torch.no_grad()
    def flush(self) -> Tensor:
        """End the signal: return the rest, and be ready for another.

        Raises:
            ValueError: If no frame has been streamed, or fewer than the module needs.
        """
        if self._empty is None or not self._frames:
            raise ValueError("flush() ends a signal, but no frame has been streamed")
        y = self._advance(self._empty, last=True)
        self.reset()
        return y

    def reset(self) -> None:
        """Forget the signal, for another to begin."""
        self._empty = None
        self._frames = 0
        for _, _, step in self._steps:
            step.reset()

    def _advance(self, chunk: Tensor, last: bool) -> Tensor:
        values = {"x": chunk if chunk.dim() == 3 else chunk.unsqueeze(0)}
        try:
            for name, inputs, step in self._steps:
                signals = [values[i] for i in inputs]
                values[name] = step.push(signals[0], last) if isinstance(step, Window) else step.push(signals)
        except Exception:
            self.reset()  # some layers have had the chunk, others have not
            raise
        y = values[self._output]
        return y if chunk.dim() == 3 else y.squeeze(0)


def _kind(x: Tensor) -> str:
    shape = ", ".join([*map(str, x.shape[:-1]), "n"])
    return f"({shape}) of {x.dtype} on {x.device}"
