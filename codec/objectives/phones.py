"""Losses of words (ours, D): `phones`, which queries tell, and `recognition`, of what is decoded.

The paper's codes get their meaning from frozen teachers (wav2vec 2.0, BEATs; paper.md 4.3) and many
GPU days. A small codec trained on spectra alone spends its bits on what is loud: through `mini` of
412 bit/s a recogniser lost most words, and a probe named 49 % of the phones by its codes where 74 %
can be named by the spectrum. `phones` asks for them where the bits are spent; `recognition` asks
the decoder to pronounce them.

Letters: `B` batch, `S` samples, `Q` queries, `D` width, `w` frames per query, `P` phones.
"""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

# Answers for so many moments of a window; frames between them are interpolated, so that any number
# of frames per query has its answers from the same head.
_MOMENTS = 6
_HIDDEN = 256


class Hears(Protocol):
    """What is asked of a listener; ``almtok.codec.phones.Listener`` answers it."""

    @property
    def num_phones(self) -> int:
        """Phones P that it tells apart."""

    def hear(self, wav: Tensor) -> Tensor:
        """Log-probabilities `[B, T, P]` of waveforms `[B, 1, S]`, without gradients."""

    def listen(self, wav: Tensor) -> Tensor:
        """The same with gradients."""


class QueryPhones(nn.Module):
    """Divergence between the listener's phones of the recording and those that queries tell.

    Args:
        dim: width D of the queries.
        listener: frozen; not a part of this module's state.
    """

    def __init__(self, dim: int, listener: Hears):
        super().__init__()
        self._listener = [listener]  # in a list: neither trained nor saved with the run
        self.num_phones = listener.num_phones
        # A phone at the edge of a window is known by what stands beside it.
        self.look = nn.Conv1d(dim, _HIDDEN, 3, padding=1)
        self.say = nn.Linear(_HIDDEN, _MOMENTS * self.num_phones)

    def forward(self, queries: Tensor, wav: Tensor, frames_per_query: int) -> Tensor:
        """Return nats a frame, of queries `[B, Q, D]` of whole windows of `[B, 1, S]`."""
        heard = self._listener[0].hear(wav)  # [B, T, P]
        told = F.log_softmax(self.tell(queries, frames_per_query), dim=-1)
        return F.kl_div(told, heard, log_target=True, reduction="none").sum(dim=-1).mean()

    def tell(self, queries: Tensor, frames_per_query: int) -> Tensor:
        """Logits `[B, Q w, P]` that queries `[B, Q, D]` give for the frames of their windows."""
        seen = F.gelu(self.look(queries.float().transpose(1, 2))).transpose(1, 2)
        moments = self.say(seen).unflatten(-1, (self.num_phones, _MOMENTS))  # [B, Q, P, moments]
        frames = F.interpolate(moments.flatten(0, 1), size=frames_per_query, mode="linear")
        return frames.unflatten(0, moments.shape[:2]).transpose(2, 3).flatten(1, 2)


def recognition_loss(listener: Hears, output: Tensor, target: Tensor) -> Tensor:
    """Nats a frame between what a listener hears in two waveforms `[B, 1, S]`."""
    heard, again = listener.hear(target), listener.listen(output)
    return F.kl_div(again, heard, log_target=True, reduction="none").sum(dim=-1).mean()
