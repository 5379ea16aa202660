"""Text to speech, optionally in the voice of a reference recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ...lm.data.rows import TokenRow
from ...lm.generation.sampling import SamplingConfig
from ...lm.layouts import Slot, TaskLayout
from ..base import Score, Task, register_task
from ..evaluation.scores import word_scores


@register_task
class TTS(Task):
    """`[voice_text] [voice] text -> audio`; the first two are optional."""

    layout = TaskLayout(
        name="tts",
        # The reference comes first, its transcript before its audio, like every (text, audio) pair.
        conditions=(
            Slot(
                name="voice_text",
                kind="text",
                required=False,
                transcript=True,
                phonemize=True,
                needs="voice",
            ),
            Slot(name="voice", kind="audio", required=False, voice=True),
            Slot(name="text", kind="text", transcript=True, phonemize=True),
        ),
        target=Slot(name="audio", kind="audio"),
    )
    domains = ("speech",)
    # The first codebook carries most of the words: it is sampled more conservatively than the rest.
    audio_sampling = SamplingConfig(temperature=0.5, top_k=25, top_p=0.95)
    detail_sampling = SamplingConfig(temperature=0.7, top_k=40)
    # With guidance, small models make about a third fewer word errors.
    guidance_scale = 3.0

    def fields(self, row: TokenRow) -> Mapping[str, str | Tensor]:
        """The row's text; if the row has a companion, that is the voice reference."""
        voice = row.companion
        if voice is None:
            return {"text": row.text}
        if not voice.text:
            return {"voice": voice.codes, "text": row.text}
        return {"voice_text": voice.text, "voice": voice.codes, "text": row.text}

    def score(
        self, outputs: Sequence[str], references: Sequence[str], languages: Sequence[str]
    ) -> list[Score]:
        """WER and CER of a recognizer's transcripts of the speech."""
        return word_scores(outputs, references, languages)
