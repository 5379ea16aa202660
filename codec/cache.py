"""What attention remembers of a stream: rotated keys, and values, of the positions still in reach.

Keys are rotated once, by their place in the stream, since scores of rotary attention depend on
distances only. A small step writes its few positions behind the others, into room kept for them,
and copies nothing else. A state stays valid when steps are made from it: streams can be forked.

Letters: `B` batch, `L` new positions, `P` cached ones, `R` places in a room, `H` heads, `E` head
width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class _Room:
    """Memory for one layer, filled from the front."""

    tensor: Tensor  # [2, B, H, R, E], keys and values
    used: int  # places written so far, by whichever cache came last


@dataclass(frozen=True)
class AttentionCache:
    """Keys and values of one layer, and how many positions of the stream came before the next."""

    position: int = 0
    room: _Room | None = None  # None before the first position
    start: int = 0  # the places that this cache speaks of
    end: int = 0

    @property
    def keys(self) -> Tensor | None:
        """Rotated keys `[B, H, P, E]`."""
        return None if self.room is None else self.room.tensor[0, :, :, self.start : self.end]

    @property
    def values(self) -> Tensor | None:
        """Values `[B, H, P, E]`."""
        return None if self.room is None else self.room.tensor[1, :, :, self.start : self.end]

    def extend(self, k: Tensor, v: Tensor, past: int) -> tuple[Tensor, Tensor, AttentionCache]:
        """Append `[B, H, L, E]`.

        Returns:
            Keys and values `[B, H, P + L, E]`, and the cache of the last `past` of them.
        """
        position = self.position + k.shape[2]
        # In place only where nothing is recorded, and where room is small beside what is kept.
        if k.shape[2] > past or torch.is_grad_enabled() or torch.compiler.is_compiling():
            if self.keys is not None and self.values is not None:
                k, v = torch.cat([self.keys, k], dim=2), torch.cat([self.values, v], dim=2)
            kept = min(past, k.shape[2])
            first = k.shape[2] - kept
            tail = _Room(torch.stack([k[:, :, first:], v[:, :, first:]]), kept)
            return k, v, AttentionCache(position, tail, 0, kept)
        room, start, end = self._room_for(k, past)
        stop = room.used = end + k.shape[2]
        room.tensor[0, :, :, end:stop] = k
        room.tensor[1, :, :, end:stop] = v
        after = AttentionCache(position, room, max(start, stop - past), stop)
        return room.tensor[0, :, :, start:stop], room.tensor[1, :, :, start:stop], after

    def _room_for(self, k: Tensor, past: int) -> tuple[_Room, int, int]:
        """A room with `L` free places behind this cache's own, and where these lie in it."""
        room, start, end = self.room, self.start, self.end
        if room is not None and room.used == end and end + k.shape[2] <= room.tensor.shape[3]:
            return room, start, end
        batch, heads, length, width = k.shape
        with torch.inference_mode(False):  # an inference tensor could not be written outside it
            shape = (2, batch, heads, 2 * past + length, width)
            new = torch.empty(shape, dtype=k.dtype, device=k.device)
        if room is not None:
            new[:, :, :, : end - start] = room.tensor[:, :, :, start:end]
        return _Room(new, end - start), 0, end - start
