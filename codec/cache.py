"""Key-value cache of windowed attention in streams.

Keys are cached after their rotation, since scores of rotary attention depend on distances only. A
small step appends its positions to a preallocated buffer and copies nothing else. A cache stays
valid after further steps, so streams can be forked.

Shapes: `B` batch, `L` new positions, `P` cached positions, `R` positions of a buffer, `H` heads,
`E` head width.
"""

from __future__ import annotations

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

    position: int = 0  # of the next step in the stream
    buffer: _Buffer | None = None  # None before the first position
    start: int = 0  # cached positions: start .. end of the buffer
    end: int = 0

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
        position = self.position + k.shape[2]
        # In place only for small steps without autograd or compilation.
        if k.shape[2] > past or torch.is_grad_enabled() or torch.compiler.is_compiling():
            if self.keys is not None and self.values is not None:
                k, v = torch.cat([self.keys, k], dim=2), torch.cat([self.values, v], dim=2)
            kept = min(past, k.shape[2])
            first = k.shape[2] - kept
            tail = _Buffer(torch.stack([k[:, :, first:], v[:, :, first:]]), kept)
            return k, v, AttentionCache(position, tail, 0, kept)
        buffer, start, end = self._writable_buffer(k, past)
        stop = buffer.used = end + k.shape[2]
        buffer.tensor[0, :, :, end:stop] = k
        buffer.tensor[1, :, :, end:stop] = v
        after = AttentionCache(position, buffer, max(start, stop - past), stop)
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
