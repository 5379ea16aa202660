"""Phoneme losses (ours, D): `phones` and `first_phones` on queries, `recognition` on the output.

The targets are posteriors of a frozen phoneme classifier on the recording. The paper's codes get
phonetic content from frozen teachers (paper.md 3); small codecs trained by spectral losses alone
spend their bits on loud components and lose words. `phones` supervises the codes, `recognition` the
decoder.

Shapes: `B` batch, `S` samples, `Q` queries, `D` width, `w` frames per query, `P` phones.
"""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from .base import ForwardPass, LossSetup, PhonemePosteriors, TrainingLoss

# Predictions per window, interpolated to its frames: one head for any number of frames per query.
_NUM_PREDICTIONS = 6
_HIDDEN = 256


class QueryPhonemes(TrainingLoss):
    """KL divergence of phoneme posteriors predicted by queries from those of the classifier.

    Args:
        dim: width D of the queries.
        num_phones: P.
    """

    def __init__(self, dim: int, num_phones: int):
        super().__init__()
        self.num_phones = num_phones
        # Convolution and output layer; phones at window edges need context of the neighbours.
        self.look = nn.Conv1d(dim, _HIDDEN, 3, padding=1)
        self.say = nn.Linear(_HIDDEN, _NUM_PREDICTIONS * num_phones)

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self:
        """Build the loss for the codec's queries and the phonemes of the classifier."""
        assert setup.phoneme_classifier is not None  # the config guarantees it
        return cls(setup.model.hidden_size, setup.phoneme_classifier.num_phones)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of the decoder's input."""
        if forward.queries is None or forward.phonemes is None:
            return None
        return self(forward.queries, forward.phonemes, forward.frames_per_query)

    def forward(self, queries: Tensor, target: Tensor, frames_per_query: int) -> Tensor:
        """Return the loss in nats per frame.

        Args:
            queries: `[B, Q, D]`.
            target: log-probabilities `[B, Q w, P]` of the classifier, whole windows.
            frames_per_query: w.
        """
        predicted = F.log_softmax(self.predict(queries, frames_per_query), dim=-1)
        return _divergence(target, predicted)

    def predict(self, queries: Tensor, frames_per_query: int) -> Tensor:
        """Logits `[B, Q w, P]` of queries `[B, Q, D]` for the frames of their windows."""
        hidden = F.gelu(self.look(queries.float().transpose(1, 2))).transpose(1, 2)
        coarse = self.say(hidden).unflatten(-1, (self.num_phones, _NUM_PREDICTIONS))  # [B, Q, P, 6]
        frames = F.interpolate(coarse.flatten(0, 1), size=frames_per_query, mode="linear")
        return frames.unflatten(0, coarse.shape[:2]).transpose(2, 3).flatten(1, 2)


class FirstCodebookPhonemes(QueryPhonemes):
    """Phoneme loss of the first codebook alone; `first_phones` in configs and logs."""

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of a quantised step."""
        if forward.layers is None or forward.phonemes is None:
            return None
        return self(forward.layers[:, :, 0], forward.phonemes, forward.frames_per_query)


class RecognitionLoss(TrainingLoss):
    """:func:`recognition_loss` as a loss of training; `recognition` in configs and logs."""

    def __init__(self, classifier: PhonemePosteriors):
        super().__init__()
        self._classifier = (classifier,)  # in a tuple: its weights are not part of this module

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self:
        """Build the loss with the phoneme classifier."""
        assert setup.phoneme_classifier is not None  # the config guarantees it
        return cls(setup.phoneme_classifier)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of the output waveform."""
        if forward.output is None or forward.phonemes is None:
            return None
        return recognition_loss(self._classifier[0], forward.output, forward.phonemes)


def recognition_loss(classifier: PhonemePosteriors, output: Tensor, target: Tensor) -> Tensor:
    """KL divergence of phoneme posteriors of a waveform from a target, in nats per frame.

    Args:
        classifier: frozen phoneme classifier.
        output: `[B, 1, S]`.
        target: log-probabilities `[B, T, P]` of the recording.
    """
    return _divergence(target, classifier.log_posteriors(output))


def _divergence(target: Tensor, predicted: Tensor) -> Tensor:
    return F.kl_div(predicted, target, log_target=True, reduction="none").sum(dim=-1).mean()
