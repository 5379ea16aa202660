"""SpeechJob: a text that is spoken part by part, each after the previous one.

SpeechJob -fields-> prompt of a part -generate-> row -add-> SpokenPart, the context of the next
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...codec.tokens import AudioTokens
from .arguments import PREFIX, PREFIX_TEXT, Fields
from .base import AudioLMPipeline
from .outputs import SpokenPart, TaskOutput

PART_SHARE = 0.25  # of the model's positions for a part, and as much for its context
_CONTEXT_SECONDS = 15.0  # longest context of a part: training clips are not much longer


@dataclass(frozen=True)
class Voice:
    """A voice reference.

    With a transcript it becomes the beginning of the speech, which the model continues. Without
    one, or with `apart`, it is a condition of its own: for models that were trained with voices.

    Attributes:
        tokens: the reference recording.
        text: its transcript.
        apart: use it as a condition although it has a transcript.
    """

    tokens: AudioTokens
    text: str | None = None
    apart: bool = False


@dataclass
class SpeechJob:
    """A text and its finished parts.

    Attributes:
        text: the whole text.
        pieces: its parts.
        voice: a voice reference.
        speaker: name of a voice of the model; None: its default, "": none.
        seed: of the text.
        adapter: name of a loaded adapter; None: the active one.
        parts: finished parts, by number of the piece.
        seconds: compute time.
    """

    text: str
    pieces: list[str]
    voice: Voice | None
    speaker: str | None
    seed: int
    adapter: str | None = None
    parts: dict[int, SpokenPart] = field(default_factory=dict)
    seconds: float = 0.0

    def ready(self, carry: bool) -> list[tuple[SpeechJob, int]]:
        """Parts that can be generated now: the next one, or without `carry` all."""
        left = [(self, number) for number in range(len(self.pieces)) if number not in self.parts]
        return left[:1] if carry else left

    def seed_of(self, number: int, attempt: int = 0) -> int:
        """The seed of the text for the first attempt of its first part, else a derived one."""
        if not number and not attempt:
            return self.seed
        sequence = np.random.SeedSequence([self.seed % 2**63, number, attempt])
        state = sequence.generate_state(2, np.uint32)
        return int(state[0]) << 31 | int(state[1]) >> 1

    def fields(self, pipeline: AudioLMPipeline, number: int, carry: bool = True) -> Fields:
        """Conditions of a part: its text, the voice and the previous part.

        Voice and previous part are given as the prefix of the target, with their texts before the
        new one: models that never saw a voice condition can continue, too.
        """
        voice = self.voice
        fields: dict[str, Any] = {"text": self.pieces[number]}
        if self.speaker is not None:
            fields["speaker"] = self.speaker
        if voice is not None and (voice.text is None or voice.apart):
            return {**fields, "voice_text": voice.text, "voice": voice.tokens}
        context = [] if voice is None else [(voice.text, voice.tokens)]
        if carry and number:
            previous = self.parts[number - 1]
            room = pipeline.capacity_seconds(PART_SHARE, previous.tokens.frames_per_query)
            seconds = sum(tokens.duration for _, tokens in context) + previous.tokens.duration
            if seconds <= min(_CONTEXT_SECONDS, room):
                context.append((previous.text, previous.tokens))
        if not context:
            return fields
        return {
            **fields,
            PREFIX: pipeline.join([tokens for _, tokens in context]),
            PREFIX_TEXT: " ".join(words for words, _ in context if words is not None),
        }

    def add(self, number: int, output: TaskOutput) -> SpokenPart:
        """Keep a part that was generated once and not checked."""
        part = SpokenPart(self.pieces[number], output.audio_tokens, output.row, tries=1, check=None)
        self.parts[number] = part
        return part
