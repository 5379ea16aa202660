"""Key-value cache of windowed attention in streams.

Keys are cached after their rotation, since scores of rotary attention depend on distances only. A
small step appends its positions to a preallocated buffer and copies nothing else. A cache stays
valid after further steps, so streams can be forked. Streams at different positions can be rows of
one batch (`joined`): their cached positions end together, and the shorter ones begin later.

Shapes: `B` batch, `L` new positions, `P` cached positions, `R` positions of a buffer, `H` heads,
`E` head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class _Buffer:
    """Memory of one layer, filled from the front and shared by the caches of a stream."""

    tensor: Tensor  # [2, B, H, R, E], keys and values
    used: int  # positions written so far by any of these caches


@dataclass(frozen=True)
class AttentionCache:
    """Keys and values of one layer."""

    position: int | tuple[int, ...] = 0  # of the next step in the stream, or in that of each row
    buffer: _Buffer | None = None  # None before the first position
    start: int = 0  # cached positions: start .. end of the buffer
    end: int = 0
    # Of each row, the number of first cached positions that its stream does not have; (): none.
    missing: tuple[int, ...] = ()

    @classmethod
    def joined(cls, caches: Sequence[AttentionCache]) -> AttentionCache:
        """One cache of the rows of all, each of which has at least one position."""
        tensors = [cache.buffer.tensor for cache in caches if cache.buffer is not None]
        counts = [tensor.shape[1] for tensor in tensors]
        length = max(cache.end - cache.start for cache in caches)
        shape = list(tensors[0].shape)
        shape[1], shape[3] = sum(counts), max(length, *(tensor.shape[3] for tensor in tensors))
        with torch.inference_mode(False):
            new = tensors[0].new_empty(shape)
        positions: list[int] = []
        missing: list[int] = []
        for part, tensor, cache in zip(new.split(counts, dim=1), tensors, caches, strict=True):
            rows, less = tensor.shape[1], length - (cache.end - cache.start)
            # Zeros: masked values are multiplied by zero, which must not give NaN.
            part[:, :, :, :less] = 0
            part[:, :, :, less:length] = tensor[:, :, :, cache.start : cache.end]
            positions += cache._positions(rows)
            missing += [less + count for count in cache.missing or (0,) * rows]
        return cls(tuple(positions), _Buffer(new, length), 0, length, tuple(missing))

    def selected(self, rows: Sequence[int]) -> AttentionCache:
        """The cache of some rows."""
        assert self.buffer is not None
        index = torch.tensor(list(rows), device=self.buffer.tensor.device)
        tensor = self.buffer.tensor[:, index, :, self.start :]
        positions = self._positions(self.buffer.tensor.shape[1])
        return AttentionCache(
            tuple(positions[row] for row in rows),
            _Buffer(tensor, self.end - self.start),
            0,
            self.end - self.start,
            tuple(self.missing[row] for row in rows if self.missing),
        )

    def _positions(self, count: int) -> tuple[int, ...]:
        return (self.position,) * count if isinstance(self.position, int) else self.position

    def _after(self, steps: int) -> int | tuple[int, ...]:
        if isinstance(self.position, int):
            return self.position + steps
        return tuple(position + steps for position in self.position)

    def _still_missing(self, dropped: int) -> tuple[int, ...]:
        left = tuple(max(0, count - dropped) for count in self.missing)
        return left if any(left) else ()

    @property
    def keys(self) -> Tensor | None:
        """Rotated keys `[B, H, P, E]`."""
        return None if self.buffer is None else self.buffer.tensor[0, :, :, self.start : self.end]

    @property
    def values(self) -> Tensor | None:
        """Values `[B, H, P, E]`."""
        return None if self.buffer is None else self.buffer.tensor[1, :, :, self.start : self.end]

    def extend(self, k: Tensor, v: Tensor, past: int) -> tuple[Tensor, Tensor, AttentionCache]:
        """Append `[B, H, L, E]`.

        Returns:
            Keys and values `[B, H, P + L, E]`, and the cache of the last `past` positions.
        """
        position = self._after(k.shape[2])
        # In place only for small steps without autograd or compilation.
        if k.shape[2] > past or torch.is_grad_enabled() or torch.compiler.is_compiling():
            if self.keys is not None and self.values is not None:
                k, v = torch.cat([self.keys, k], dim=2), torch.cat([self.values, v], dim=2)
            kept = min(past, k.shape[2])
            first = k.shape[2] - kept
            tail = _Buffer(torch.stack([k[:, :, first:], v[:, :, first:]]), kept)
            return k, v, AttentionCache(position, tail, 0, kept, self._still_missing(first))
        buffer, start, end = self._writable_buffer(k, past)
        stop = buffer.used = end + k.shape[2]
        buffer.tensor[0, :, :, end:stop] = k
        buffer.tensor[1, :, :, end:stop] = v
        first = max(start, stop - past)
        missing = self._still_missing(first - start)
        after = AttentionCache(position, buffer, first, stop, missing)
        return buffer.tensor[0, :, :, start:stop], buffer.tensor[1, :, :, start:stop], after

    def _writable_buffer(self, k: Tensor, past: int) -> tuple[_Buffer, int, int]:
        """A buffer with `L` free positions after the cached ones, and start and end of these."""
        buffer, start, end = self.buffer, self.start, self.end
        if buffer is not None and buffer.used == end and end + k.shape[2] <= buffer.tensor.shape[3]:
            return buffer, start, end
        batch, heads, length, width = k.shape
        with torch.inference_mode(False):  # an inference tensor could not be written outside it
            shape = (2, batch, heads, 2 * past + length, width)
            new = torch.empty(shape, dtype=k.dtype, device=k.device)
        if buffer is not None:
            new[:, :, :, : end - start] = buffer.tensor[:, :, :, start:end]
        return _Buffer(new, end - start), 0, end - start
