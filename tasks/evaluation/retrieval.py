"""Retrieval of the text of an audio by the likelihoods of the model itself.

The score of a text is ``log p(text | audio) - log p(text)``: without the second term, short and
common texts would always win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...codec.tokens import AudioTokens
from ..pipelines.base import AudioLMPipeline
from .likelihood import likelihoods


@dataclass(frozen=True)
class Retrieval:
    """Scores of all texts for one audio."""

    scores: npt.NDArray[np.float64]  # [texts]

    @property
    def best(self) -> int:
        """Number of the text with the highest score."""
        return int(self.scores.argmax())

    def rank(self, text: int) -> int:
        """Rank of a text, from 1; the worst rank among equal scores."""
        return int((self.scores >= self.scores[text]).sum())


class TextRetrieval:
    """A set of texts to choose from."""

    def __init__(
        self, pipeline: AudioLMPipeline, texts: Sequence[str], task: str = "audio_caption"
    ) -> None:
        """Set the texts.

        Args:
            pipeline: a model that was trained with condition dropout.
            texts: class names or captions, all different.
            task: a task from audio to text.

        Raises:
            ValueError: for fewer than two texts, or a repeated one.
        """
        if len(set(texts)) < 2 or len(set(texts)) != len(texts):
            raise ValueError(f"texts must be at least two, all different, got {list(texts)}")
        self.pipeline, self.texts, self.task = pipeline, list(texts), task
        self._free: npt.NDArray[np.float64] | None = None

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1.0 / len(self.texts)

    def of(self, audio: AudioTokens) -> Retrieval:
        """Score all texts for an audio."""
        if self._free is None:
            self._free = self._scores(audio, drop_condition=True)
        return Retrieval(self._scores(audio, drop_condition=False) - self._free)

    def _scores(self, audio: AudioTokens, *, drop_condition: bool) -> npt.NDArray[np.float64]:
        scores = likelihoods(
            self.pipeline,
            [audio] * len(self.texts),
            self.texts,
            self.task,
            drop_condition=drop_condition,
        )
        return np.asarray([score.log_probability for score in scores])
