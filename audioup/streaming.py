"""Stream a module: sound comes out chunk by chunk as its input comes in, equal to what the whole input would give.

Every layer whose output depends on neighbouring frames keeps the few frames that it will need again; where branches
meet, the earlier waits for the later. Nothing is computed twice, and no chunk is padded but the first and the last.
"""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from audioup.fold import duplicate
from audioup.sliding import Structure, Window
from audioup.structure import read


class Stream:
    """Run a module on a signal that comes in chunks of any sizes.

    All that ``stream(chunk)`` and at last ``stream.flush()`` return, concatenated, is ``module(x)`` of the concatenated
    chunks, in ``eval()``, to rounding. What comes out after every chunk is all that no later frame can change: after
    ``m`` frames that is ``max(0, stride * m - latency)`` samples. Only where a pad stands behind a layer that waits is
    it none as long as that layer has made none, and then at once as many.

    The module may be any nest of convolutions of stride 1 (padding zeros or replicate), transposed convolutions, this
    library's layers for sound, constant and replicate pads, activations (`Oversampled` too), dropout, which does
    nothing, sums and other arithmetic: `torch.nn.Sequential`, residual blocks, whole vocoders. It is folded (see
    `audioup.fold.fold`), weight norm included, into a copy: the stream keeps the weights it began with, and the module
    is left as it is. Nothing is differentiated.

    How the module is made is read by tracing it, which some of Python escapes (branches on types, changes in place seen
    through another name). So a short random signal is run at once through a copy of the module and through the stream,
    and a module that sounds otherwise is refused. Random numbers of torch's are a constant there, and torch's random
    state is left as it is. A branch on the length that only many more frames than the layers reach would take goes
    unseen.

    Args:
        module: Takes one signal ``(batch, in_channels, T)``, returns one.
        pointwise: Further types of modules within it that treat every frame for itself, alike wherever it stands. They
            may draw random numbers; what they draw depends on the chunks.

    Attributes:
        stride: Output samples per input frame.
        latency: Output samples that wait for later frames, or are held back since the end may crop them. A centred
            layer's is its ``origin`` (0 if that is negative), a causal layer's 0, whatever its ``delay``, which shifts
            the sound within the output. Below 0 where a module puts more samples first than it waits for.
        latencies: The same by layer, along the slowest path. The sum is ``latency``.

    Raises:
        TypeError: If the module holds something that cannot be streamed, such as an LSTM, or whose structure depends on
            the values or the length of the signal, or if what was read of it does not sound like it.
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
        structure = read(module, pointwise)
        self._steps, self._output, timing = structure[:3]
        self.stride, self.latency = timing.stride, timing.lag
        self.latencies: dict[str, int] = {}
        for name, samples in timing.lags:
            self.latencies[name] = self.latencies.get(name, 0) + samples
        self._empty: Tensor | None = None
        self._frames = 0
        self._prove(module, structure)

    @torch.no_grad()
    def __call__(self, chunk: Tensor) -> Tensor:
        """Take the next frames, return the samples that they make known.

        Args:
            chunk: Tensor of shape ``(batch, in_channels, n)`` or ``(in_channels, n)``, ``n >= 0``. The latter
                is a batch of one, also to layers that would take it for something else, such as ``nn.PReLU(4)`` or a
                gain of shape ``(1, channels, 1)``.

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
        if not self._frames:
            self.reset()  # of empty chunks there is nothing to keep
        elif self._empty is not None and _kind(empty) != _kind(self._empty):
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
        except BaseException:
            self.reset()  # some layers have had the chunk, others have not
            raise
        y = values[self._output]
        if y.untyped_storage().data_ptr() == chunk.untyped_storage().data_ptr():
            y = y.clone()  # the caller may write to the memory of a chunk afterwards
        return y if chunk.dim() == 3 else y.squeeze(0)

    @torch.no_grad()
    def _prove(self, module: nn.Module, structure: Structure) -> None:
        whole, name = duplicate(module).eval(), type(module).__name__
        windows = [step for _, _, step in self._steps if isinstance(step, Window)]
        weights = [window.weight for window in windows if window.weight is not None]
        like = next((w for w in chain(weights, whole.parameters()) if w.is_floating_point()), torch.empty(0))
        limit = 0.1 if like.element_size() == 2 else 1e-3 if like.is_cpu else 1e-2  # a GPU may round to TF32
        sizes = {size for parameter in whole.parameters() for size in parameter.shape}
        channels = list(
            dict.fromkeys([*[w.inputs for w in windows if w.inputs], 1, 2, *sizes, *[2 * n for n in sizes]])
        )
        with torch.random.fork_rng([like.device] if like.is_cuda else []):
            for frames in (structure.enough, structure.shortest):
                x, expected = _run(whole, channels, frames, like)
                parts = [x[..., :1], *x[..., 1:].split(5, -1)]
                try:
                    with _Constant():
                        y = torch.cat([*map(self, parts), self.flush()], -1)
                except Exception as error:
                    raise TypeError(f"{name} cannot be streamed: {error}") from error
                if not _alike(y, expected, limit):
                    raise TypeError(
                        f"{name} cannot be streamed: what was read of it does not sound like it, as where tensors are "
                        "changed in place, or Python branches on what it is given, unseen"
                    )


class _Constant(TorchDispatchMode):
    # Random numbers that do not depend on how many are drawn at once.
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            tree_map_only(Tensor, lambda drawn: drawn.fill_(0.5), result)
        return result


def _run(module: nn.Module, channels: list[int], frames: int, like: Tensor) -> tuple[Tensor, Tensor]:
    # A random signal, of the first number of channels that the module takes, and what it makes of that.
    failures: list[Exception] = []
    for n in channels:
        x = torch.randn(2, n, frames, generator=torch.Generator().manual_seed(0)).to(like)
        try:
            with _Constant():  # but of x
                return x, module(x.clone())
        except Exception as error:
            failures.append(error)
    name = type(module).__name__
    raise TypeError(f"{name} cannot be streamed, since it does not run by itself: {failures[0]}") from failures[0]


def _alike(y: Tensor, expected: Any, limit: float) -> bool:
    if not isinstance(expected, Tensor) or (y.shape, y.dtype) != (expected.shape, expected.dtype):
        return False
    finite = expected[expected.isfinite()].abs()
    return torch.allclose(y, expected, 0.0, limit * float(finite.max()) if len(finite) else 0.0, equal_nan=True)


def _kind(x: Tensor) -> str:
    shape = ", ".join([*map(str, x.shape[:-1]), "n"])
    return f"({shape}) of {x.dtype} on {x.device}"
