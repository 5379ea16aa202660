"""Which text goes with an audio, by the model's own likelihoods: no judge from outside.

The score of a text is how much likelier the audio makes it, ``log p(text | audio) - log p(text)``:
without the second term, short and common texts would win everywhere.
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
    """Texts by how well they go with one audio."""

    scores: npt.NDArray[np.float64]  # [texts]

    @property
    def best(self) -> int:
        """The text that goes with it best."""
        return int(self.scores.argmax())

    def rank(self, text: int) -> int:
        """Place of a text, from 1; of equals the last."""
        return int((self.scores >= self.scores[text]).sum())


class TextRetrieval:
    """Some texts, one of which goes with an audio."""

    def __init__(
        self, pipeline: AudioLMPipeline, texts: Sequence[str], task: str = "audio_caption"
    ) -> None:
        """Score the texts without audio.

        Args:
            pipeline: the model; condition dropout has taught it what is likely without audio.
            texts: classes or captions, all different.
            task: that turns audio into such texts.

        Raises:
            ValueError: for fewer than two texts, or the same twice.
        """
        if len(set(texts)) < 2 or len(set(texts)) != len(texts):
            raise ValueError(f"expected at least two texts, all different; came {list(texts)}")
        self.pipeline, self.texts, self.task = pipeline, list(texts), task
        self._free: npt.NDArray[np.float64] | None = None

    @property
    def chance(self) -> float:
        """Share that guessing gets right."""
        return 1.0 / len(self.texts)

    def of(self, audio: AudioTokens) -> Retrieval:
        """Score all texts for one audio."""
        if self._free is None:
            self._free = self._scores(audio, drop_condition=True)
        return Retrieval(self._scores(audio, drop_condition=False) - self._free)

    def _scores(self, audio: AudioTokens, *, drop_condition: bool) -> npt.NDArray[np.float64]:
        found = likelihoods(
            self.pipeline,
            [audio] * len(self.texts),
            self.texts,
            self.task,
            drop_condition=drop_condition,
        )
        return np.asarray([one.log_probability for one in found])
