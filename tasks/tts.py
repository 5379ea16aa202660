"""Text to speech, in the voice of a reference if one is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..lm.data.rows import TokenRow
from ..lm.generation.sampling import SamplingConfig
from .base import Task, register_task
from .evaluation.scores import word_scores


class TTS(Task):
    """`[voice_text] [voice] text -> audio`."""

    name = "tts"
    domains = ("speech",)
    # The first codebook says what is said: it is drawn more carefully than the sound of it.
    audio_sampling = SamplingConfig(temperature=0.5, top_k=25, top_p=0.95)
    detail_sampling = SamplingConfig(temperature=0.7, top_k=40)
    # Held to the text: of the words of a small model a third as many are then others.
    guidance_scale = 3.0

    def fields(self, row: TokenRow) -> Mapping[str, str | Tensor]:
        """The text; and where the row has a companion, that as the voice."""
        voice = row.companion
        if voice is None:
            return {"text": row.text}
        if not voice.text:
            return {"voice": voice.codes, "text": row.text}
        return {"voice_text": voice.text, "voice": voice.codes, "text": row.text}

    def score(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """WER and CER of what a recogniser heard."""
        return word_scores(outputs, references)


TASK = register_task(TTS())
