"""Vocabulary: the meaning of the ids in the rows of a language model.

Stream 0 of a row is text: ids of the backbone, then control ids with their own small embedding (a
pretrained vocabulary is never resized), then `text_empty`. Streams 1..K are audio: codes 0..C-1,
then `audio_end` (first codebook only), then `audio_empty`. Empty ids add nothing to the embedding
of a row. Control ids are only inputs: a text ends with the end token of the tokenizer, audio with
`audio_end`, which is sampled like a code.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from .config import MAX_FRAMES_PER_QUERY, AudioLMConfig

_MARKS = ("open_text", "open_audio", "no_condition")


@dataclass(frozen=True)
class Vocabulary:
    """Ids by name, for one configuration."""

    config: AudioLMConfig
    num_codebooks: int = field(init=False)
    num_text: int = field(init=False)  # ids of the backbone
    num_controls: int = field(init=False)  # rows of the control embedding
    num_codes: int = field(init=False)  # codes of a codebook
    voices: tuple[str, ...] = field(init=False)  # names, in the order of their control ids

    def __post_init__(self) -> None:
        # Computed once: reading a field of a transformers config takes microseconds.
        voices = tuple(self.config.voices)
        controls = len(_MARKS) + MAX_FRAMES_PER_QUERY + self.config.num_task_slots + len(voices)
        object.__setattr__(self, "num_codebooks", self.config.num_codebooks)
        object.__setattr__(self, "num_text", self.config.vocab_size)
        object.__setattr__(self, "num_controls", controls)
        object.__setattr__(self, "num_codes", self.config.codebook_size)
        object.__setattr__(self, "voices", voices)

    @classmethod
    def of(cls, config: AudioLMConfig | Vocabulary) -> Vocabulary:
        """The vocabulary of a configuration; a vocabulary is returned unchanged."""
        return config if isinstance(config, Vocabulary) else cls(config)

    @property
    def open_text(self) -> int:
        """Opens a text segment."""
        return self._control(0)

    @property
    def open_audio(self) -> int:
        """Opens an audio segment."""
        return self._control(1)

    @property
    def no_condition(self) -> int:
        """Replaces dropped conditions, for guidance."""
        return self._control(2)

    def rate(self, frames_per_query: int) -> int:
        """Control id of the frame rate of a sequence.

        Raises:
            ValueError: if there is no control id for it.
        """
        if not 1 <= frames_per_query <= MAX_FRAMES_PER_QUERY:
            raise ValueError(
                f"frames_per_query must be 1..{MAX_FRAMES_PER_QUERY}, got {frames_per_query}"
            )
        return self._control(len(_MARKS) + frames_per_query - 1)

    def task(self, name: str) -> int:
        """Control id of a task.

        Raises:
            ValueError: if the model does not have the task.
        """
        if name not in self.config.tasks:
            near = difflib.get_close_matches(name, self.config.tasks, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"this model has no task {name!r}; it has {', '.join(self.config.tasks)}{hint}"
            )
        place = list(self.config.tasks).index(name)
        return self._control(len(_MARKS) + MAX_FRAMES_PER_QUERY + place)

    def voice(self, name: str) -> int | None:
        """Control id of a voice; None of a speaker that is no voice of the model."""
        if name not in self.voices:
            return None
        return self._control(self.num_controls - len(self.voices) + self.voices.index(name))

    @property
    def blank(self) -> int:
        """Row of the control embedding that is the blank of CTC, if the backbone has none."""
        return self.num_controls - len(self.voices) - 1

    @property
    def text_empty(self) -> int:
        """Id of a row without text."""
        return self._control(self.num_controls)

    @property
    def audio_end(self) -> int:
        """Id of the end of audio, in the first codebook."""
        return self.num_codes

    @property
    def audio_empty(self) -> int:
        """Id of a row without a code of the stream."""
        return self.num_codes + 1

    def _control(self, place: int) -> int:
        return self.num_text + place
