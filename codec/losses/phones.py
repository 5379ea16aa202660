"""Losses of words (ours, D): `phones`, which queries tell, and `recognition`, of what is decoded.

The paper's codes get their meaning from frozen teachers (wav2vec 2.0, BEATs; paper.md 3) and many
GPU days. A small codec trained on spectra alone spends its bits on what is loud: through `mini` of
412 bit/s a recogniser lost most words, and a probe named 49 % of the phones by its codes where 74 %
can be named by the spectrum. `phones` asks for them where the bits are spent; `recognition` asks
the decoder to pronounce them.

Letters: `B` batch, `S` samples, `Q` queries, `D` width, `w` frames per query, `P` phones.
"""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from .base import ForwardPass, LossSetup, PhonemePosteriors, TrainingLoss

# Answers for so many moments of a window; frames between them are interpolated, so that any number
# of frames per query has its answers from the same head.
_MOMENTS = 6
_HIDDEN = 256


class QueryPhonemes(TrainingLoss):
    """Divergence between a listener's phones of a recording and those that queries tell.

    Args:
        dim: width D of the queries.
        num_phones: P.
    """

    def __init__(self, dim: int, num_phones: int):
        super().__init__()
        self.num_phones = num_phones
        # A phone at the edge of a window is known by what stands beside it.
        self.look = nn.Conv1d(dim, _HIDDEN, 3, padding=1)
        self.say = nn.Linear(_HIDDEN, _MOMENTS * num_phones)

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self:
        """Build it for the codec's queries and the phonemes of the classifier."""
        assert setup.listener is not None  # the config guarantees it
        return cls(setup.model.hidden_size, setup.listener.num_phones)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of the decoder's input."""
        if forward.queries is None or forward.phonemes is None:
            return None
        return self(forward.queries, forward.phonemes, forward.frames_per_query)

    def forward(self, queries: Tensor, heard: Tensor, frames_per_query: int) -> Tensor:
        """Return nats a frame.

        Args:
            queries: `[B, Q, D]`.
            heard: log-probabilities `[B, Q w, P]` of :meth:`Hears.hear`, of whole windows.
            frames_per_query: w.
        """
        told = F.log_softmax(self.tell(queries, frames_per_query), dim=-1)
        return _divergence(heard, told)

    def tell(self, queries: Tensor, frames_per_query: int) -> Tensor:
        """Logits `[B, Q w, P]` that queries `[B, Q, D]` give for the frames of their windows."""
        seen = F.gelu(self.look(queries.float().transpose(1, 2))).transpose(1, 2)
        moments = self.say(seen).unflatten(-1, (self.num_phones, _MOMENTS))  # [B, Q, P, moments]
        frames = F.interpolate(moments.flatten(0, 1), size=frames_per_query, mode="linear")
        return frames.unflatten(0, moments.shape[:2]).transpose(2, 3).flatten(1, 2)


class FirstCodebookPhonemes(QueryPhonemes):
    """The same of what the first codebook contributes; `first_phones` in configs and logs."""

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of a quantised step."""
        if forward.layers is None or forward.phonemes is None:
            return None
        return self(forward.layers[:, :, 0], forward.phonemes, forward.frames_per_query)


class RecognitionLoss(TrainingLoss):
    """:func:`recognition_loss` as a loss of training; `recognition` in configs and logs."""

    def __init__(self, listener: PhonemePosteriors):
        super().__init__()
        self._listener = (listener,)  # in a tuple: its weights are not part of this module

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self:
        """Build it on the phoneme classifier."""
        assert setup.listener is not None  # the config guarantees it
        return cls(setup.listener)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of the output waveform."""
        if forward.output is None or forward.phonemes is None:
            return None
        return recognition_loss(self._listener[0], forward.output, forward.phonemes)


def recognition_loss(listener: PhonemePosteriors, output: Tensor, heard: Tensor) -> Tensor:
    """Nats a frame between what a listener hears in a waveform and what it heard in another.

    Args:
        listener: frozen.
        output: `[B, 1, S]`.
        heard: log-probabilities `[B, T, P]` of the other.
    """
    return _divergence(heard, listener.listen(output))


def _divergence(heard: Tensor, told: Tensor) -> Tensor:
    return F.kl_div(told, heard, log_target=True, reduction="none").sum(dim=-1).mean()
