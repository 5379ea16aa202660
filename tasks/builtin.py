"""The tasks of almtok. They are registered when a task is first looked up (`tasks/__init__.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..lm.data.rows import TokenRow
from ..lm.generation.sampling import SamplingConfig
from ..lm.layouts import Slot, TaskLayout
from .base import Score, Task, register_task


@register_task
class ASR(Task):
    """Speech recognition: `audio -> text`."""

    layout = TaskLayout(
        name="asr",
        conditions=(Slot(name="audio", kind="audio"),),
        target=Slot(name="text", kind="text", transcript=True),
    )
    beams = 8
    lm_weight = 0.2
    views = 3
    # "listening": recordings to transcribe but not to imitate, such as calls, crowds, synthesis.
    domains = ("speech", "listening")

    def score(
        self, outputs: Sequence[str], references: Sequence[str], languages: Sequence[str]
    ) -> list[Score]:
        """WER and CER of the transcripts."""
        from .evaluation.scores import word_scores  # speaking needs no scores

        return word_scores(outputs, references, languages)


@register_task
class AudioCaption(Task):
    """Description of a sound: `audio -> text`."""

    layout = TaskLayout(
        name="audio_caption",
        conditions=(Slot(name="audio", kind="audio"),),
        target=Slot(name="text", kind="text"),
    )
    domains = ("sound",)

    def score(
        self, outputs: Sequence[str], references: Sequence[str], languages: Sequence[str]
    ) -> list[Score]:
        """N-gram overlap of the captions with their references."""
        from .evaluation.caption_scores import caption_scores

        return caption_scores(outputs, references)


@register_task
class Continuation(Task):
    """Continuation of audio.

    `audio.. -> ..audio`: no conditions; the given audio is the beginning of the target.
    """

    layout = TaskLayout(
        name="continuation",
        conditions=(),
        target=Slot(name="target", kind="audio"),
        prefix=Slot(name="audio", kind="audio"),
    )
    max_seconds = 10.0


@register_task
class MusicCaption(AudioCaption):
    """Description of music: `audio -> text`."""

    layout = TaskLayout(
        name="music_caption",
        conditions=(Slot(name="audio", kind="audio"),),
        target=Slot(name="text", kind="text"),
    )
    domains = ("music",)


@register_task
class TextToAudio(Task):
    """Sound from a description: `text -> audio`."""

    layout = TaskLayout(
        name="text_to_audio",
        conditions=(Slot(name="text", kind="text"),),
        target=Slot(name="audio", kind="audio"),
    )
    domains = ("sound",)
    # Codebooks 2.. are sampled almost greedily: at the temperature of the first one, sounds become
    # hard to recognise (docs/lab/language_model.md).
    audio_sampling = SamplingConfig(temperature=0.5, top_k=60)
    detail_sampling = SamplingConfig(temperature=0.2, top_k=60)
    guidance_scale = 1.5
    max_seconds = 10.0
    min_seconds = 0.5
    silence_dbfs = -50.0


@register_task
class TextToMusic(Task):
    """Music from a description: `text -> audio`."""

    layout = TaskLayout(
        name="text_to_music",
        conditions=(Slot(name="text", kind="text"),),
        target=Slot(name="audio", kind="audio"),
    )
    domains = ("music",)
    audio_sampling = SamplingConfig(temperature=0.9, top_k=60)
    guidance_scale = 2.0
    max_seconds = 10.0
    min_seconds = 2.0
    silence_dbfs = -50.0


@register_task
class TTS(Task):
    """Text to speech, in a voice of the model or in that of a reference recording.

    `[speaker] [voice_text] [voice] text -> audio`; only the text is required.
    """

    layout = TaskLayout(
        name="tts",
        # The reference comes first, its transcript before its audio, like every (text, audio) pair.
        conditions=(
            Slot(name="speaker", kind="speaker", required=False),
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
        """The row's speaker and text; a companion is a voice reference instead of the speaker."""
        voice = row.companion
        if voice is None:
            return {"speaker": row.speaker, "text": row.text} if row.speaker else {"text": row.text}
        if not voice.text:
            return {"voice": voice.codes, "text": row.text}
        return {"voice_text": voice.text, "voice": voice.codes, "text": row.text}

    def score(
        self, outputs: Sequence[str], references: Sequence[str], languages: Sequence[str]
    ) -> list[Score]:
        """WER and CER of a recognizer's transcripts of the speech."""
        from .evaluation.scores import word_scores  # speaking needs no scores

        return word_scores(outputs, references, languages)
