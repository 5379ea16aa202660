"""Self-check of speech: the model transcribes what it said with its own ASR task.

By default it transcribes the decoded waveform, encoded again, as a listener hears it: codes that
the model transcribes correctly can still sound wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...codec.tokens import AudioTokens
from ..evaluation.diff import word_diff
from ..evaluation.likelihood import likelihoods
from .base import AudioLMPipeline
from .options import DEFAULT, GenerationOptions
from .outputs import SelfCheckResult


def self_check(
    pipeline: AudioLMPipeline,
    audio: Sequence[AudioTokens],
    texts: Sequence[str],
    *,
    options: GenerationOptions = DEFAULT,
) -> list[SelfCheckResult]:
    """Compare each audio with the text that it should say.

    Args:
        pipeline: a model that knows the task "asr".
        audio: one for each text.
        texts: what the audio should say.
        options: of these `check_by`, `language` and `batch_size` are used.
    """
    if options.check_by == "sound":
        audio = [pipeline.reencode(tokens) for tokens in audio]
    outputs = pipeline.run(
        "asr",
        [{"audio": tokens} for tokens in audio],
        seconds=[tokens.duration for tokens in audio],
        options=GenerationOptions(language=options.language, batch_size=options.batch_size),
    )
    references = [
        pipeline.text_encoder.apply_form(text, transcript=True, language=options.language)
        for text in texts
    ]
    scores = likelihoods(
        pipeline, audio, texts, "asr", language=options.language, batch_size=options.batch_size
    )
    return [
        SelfCheckResult(
            output.text or "",
            word_diff(text, output.text or ""),
            score.confidence,
            output.row.finish,
        )
        for output, text, score in zip(outputs, references, scores, strict=True)
    ]
