"""How likely the model finds texts, given audio: what a self-check, a choice and a search ask."""

from __future__ import annotations

from collections.abc import Sequence

from ...codec.tokens import AudioTokens
from ...lm.prompt_builder import PromptOptions
from ...lm.score import Score, score
from ...lm.sequences import build_sequence
from ..pipelines.base import AudioLMPipeline


def likelihoods(
    pipeline: AudioLMPipeline,
    audio: Sequence[AudioTokens],
    texts: Sequence[str],
    task: str,
    *,
    language: str | None = None,
    drop_condition: bool = False,
    batch_size: int = 8,
) -> list[Score]:
    """Score each text, given its audio.

    Args:
        pipeline: the model.
        audio: one for each text.
        texts: targets.
        task: that turns audio into such texts.
        language: of the texts; the processor's by default.
        drop_condition: as if the audio were not known, which condition dropout has taught.
        batch_size: at once.
    """
    reading = PromptOptions(language=language)
    compose = pipeline.processor.composer.example
    sequences = [
        build_sequence(
            compose(task, {"audio": tokens}, text, reading),
            pipeline.lm.config,
            eos_id=pipeline.text_encoder.eos_id,
            drop_condition=drop_condition,
        )
        for tokens, text in zip(audio, texts, strict=True)
    ]
    return score(pipeline.lm, sequences, batch_size=batch_size)
