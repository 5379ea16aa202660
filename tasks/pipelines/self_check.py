"""Self-check: the model listens to what it said, with its ASR task.

It hears the sound, as a listener would: codes that it reads well itself can sound otherwise.

Two questions to the same model: what would you write down (the diff), and how likely is the text
that was wanted (the confidence)?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...codec.tokens import AudioTokens
from ...lm.generation.output import Finish
from ..evaluation.diff import Diff, word_diff
from ..evaluation.likelihood import likelihoods
from .base import AudioLMPipeline
from .options import DEFAULT, GenerationOptions


@dataclass(frozen=True)
class SelfCheckResult:
    """What the model hears in speech that was to say a text."""

    heard: str
    diff: Diff  # of the text in its spoken form
    confidence: float  # geometric mean probability of the text's ids, given what is heard
    finish: Finish  # of the reading

    @property
    def good(self) -> bool:
        """Whether every word was heard."""
        return not self.diff.errors


def self_check(
    bundle: AudioLMPipeline,
    audio: Sequence[AudioTokens],
    texts: Sequence[str],
    *,
    controls: GenerationOptions = DEFAULT,
) -> list[SelfCheckResult]:
    """Listen to codes, each against the text that it was to say."""
    if controls.check_by == "sound":
        audio = [bundle.heard(tokens) for tokens in audio]
    quiet = GenerationOptions(language=controls.language, batch_size=controls.batch_size)
    made = bundle.run(
        "asr",
        [{"audio": tokens} for tokens in audio],
        seconds=[tokens.duration for tokens in audio],
        controls=quiet,
    )
    found = likelihoods(
        bundle, audio, texts, "asr", language=controls.language, batch_size=controls.batch_size
    )
    wanted = [bundle.texts.form_of(text, spoken=True, language=controls.language) for text in texts]
    return [
        SelfCheckResult(
            one.text or "", word_diff(text, one.text or ""), sure.confidence, one.row.finish
        )
        for one, text, sure in zip(made, wanted, found, strict=True)
    ]
