"""Which number means what in the rows that a language model reads.

Stream 0 of a row holds text: the backbone's own ids, then control ids in a small table beside it
(so that a pretrained vocabulary is never resized), then `text_empty`. Streams 1..K hold audio:
codes 0..C-1, then `audio_end` (first codebook only), then `audio_empty`. Empty ids add nothing to
the sum of a row. Controls are read, never written: a text ends by the tokenizer's own end token,
an audio by `audio_end`, which is learned and sampled like any code.
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
    num_text: int = field(init=False)  # ids of the backbone's own
    num_controls: int = field(init=False)  # rows of the control table
    num_codes: int = field(init=False)  # of a codebook, without the end

    def __post_init__(self) -> None:
        # Once: every look into a config of transformers costs microseconds.
        controls = len(_MARKS) + MAX_FRAMES_PER_QUERY + self.config.num_task_slots
        object.__setattr__(self, "num_codebooks", self.config.num_codebooks)
        object.__setattr__(self, "num_text", self.config.vocab_size)
        object.__setattr__(self, "num_controls", controls)
        object.__setattr__(self, "num_codes", self.config.codebook_size)

    @classmethod
    def of(cls, config: AudioLMConfig | Vocabulary) -> Vocabulary:
        """The vocabulary of a configuration, or the one that is given."""
        return config if isinstance(config, Vocabulary) else cls(config)

    @property
    def open_text(self) -> int:
        """A text follows."""
        return self._control(0)

    @property
    def open_audio(self) -> int:
        """An audio follows."""
        return self._control(1)

    @property
    def no_condition(self) -> int:
        """Stands for the conditions where they are withheld (guidance)."""
        return self._control(2)

    def rate(self, frames_per_query: int) -> int:
        """The rate of the audio in this sequence.

        Raises:
            ValueError: if no control token says this rate.
        """
        if not 1 <= frames_per_query <= MAX_FRAMES_PER_QUERY:
            raise ValueError(
                f"frames_per_query must be 1..{MAX_FRAMES_PER_QUERY}, got {frames_per_query}"
            )
        return self._control(len(_MARKS) + frames_per_query - 1)

    def task(self, name: str) -> int:
        """What is to be done.

        Raises:
            ValueError: if this model does not know the task.
        """
        if name not in self.config.tasks:
            near = difflib.get_close_matches(name, self.config.tasks, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"this model has no task {name!r}; it has {', '.join(self.config.tasks)}{hint}"
            )
        place = list(self.config.tasks).index(name)
        return self._control(len(_MARKS) + MAX_FRAMES_PER_QUERY + place)

    @property
    def text_empty(self) -> int:
        """No text in this row."""
        return self._control(self.num_controls)

    @property
    def audio_end(self) -> int:
        """End of audio, in the first stream."""
        return self.num_codes

    @property
    def audio_empty(self) -> int:
        """No code of this stream in this row."""
        return self.num_codes + 1

    def _control(self, place: int) -> int:
        return self.num_text + place
