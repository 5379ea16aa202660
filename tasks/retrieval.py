"""Which text goes with an audio, and which audio with a text, by the model's own likelihoods.

The score of a text is how much likelier the audio makes it, ``log p(text | audio) - log p(text)``:
without the second term, short and common texts would win everywhere. Among audio for one text the
first term is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..codec.tokens import AudioTokens
from ..lm.composer import Reading
from ..lm.score import score
from ..lm.sequences import build_sequence
from .bundle import Bundle


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


def likelihoods(
    bundle: Bundle,
    audio: Sequence[AudioTokens],
    texts: Sequence[str],
    task: str = "audio_caption",
    *,
    batch_size: int = 8,
) -> list[float]:
    """Log-probability of each text, given its audio, by a task that turns audio into such texts."""
    compose = bundle.processor.composer.example
    sequences = [
        build_sequence(
            compose(task, {"audio": tokens}, text, Reading()),
            bundle.lm.config,
            eos_id=bundle.texts.eos_id,
        )
        for tokens, text in zip(audio, texts, strict=True)
    ]
    return [one.log_probability for one in score(bundle.lm, sequences, batch_size=batch_size)]


class TextRetrieval:
    """Some texts, one of which goes with an audio."""

    def __init__(self, bundle: Bundle, texts: Sequence[str], task: str = "audio_caption") -> None:
        """Score the texts without audio.

        Args:
            bundle: the model; condition dropout has taught it what is likely without audio.
            texts: classes or captions, all different.
            task: that turns audio into such texts.

        Raises:
            ValueError: for fewer than two texts, or the same twice.
        """
        if len(set(texts)) < 2 or len(set(texts)) != len(texts):
            raise ValueError(f"expected at least two texts, all different; came {list(texts)}")
        self.bundle, self.texts, self.task = bundle, list(texts), task
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
        compose = self.bundle.processor.composer.example
        sequences = [
            build_sequence(
                compose(self.task, {"audio": audio}, text, Reading()),
                self.bundle.lm.config,
                eos_id=self.bundle.texts.eos_id,
                drop_condition=drop_condition,
            )
            for text in self.texts
        ]
        return np.asarray([one.log_probability for one in score(self.bundle.lm, sequences)])
