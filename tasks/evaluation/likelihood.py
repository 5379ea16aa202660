"""Log-likelihoods of texts given audio."""

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
    """Score each text given its audio.

    Args:
        pipeline: the model.
        audio: tokens, one for each text.
        texts: targets.
        task: a task from audio to text.
        language: of the texts; the processor's default if None.
        drop_condition: leave the audio out, for models trained with condition dropout.
        batch_size: sequences per batch.
    """
    options = PromptOptions(language=language)
    make_example = pipeline.processor.prompt_builder.example
    sequences = [
        build_sequence(
            make_example(task, {"audio": tokens}, text, options),
            pipeline.lm.config,
            eos_id=pipeline.text_encoder.eos_id,
            drop_condition=drop_condition,
        )
        for tokens, text in zip(audio, texts, strict=True)
    ]
    return score(pipeline.lm, sequences, batch_size=batch_size)
