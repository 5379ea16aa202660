"""What a task is: its layout, the columns of a corpus that it uses, sampling defaults and scores.

A task is a subclass of :class:`Task` that is registered with :func:`register_task`; see "Add a
task" in `docs/extending.md`. Those of almtok are in `tasks/builtin.py`.

Shapes: `K` codebooks, `Q` frames of codes, `w` frames per query.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from ..core.metrics.intervals import Score
from ..lm import task_registry
from ..lm.data.rows import TokenRow
from ..lm.generation.sampling import AUDIO_SAMPLING, TEXT_SAMPLING, SamplingConfig
from ..lm.layouts import Slot, TaskLayout
from ..lm.sequences import AudioSegment, Example, Segment, SpeakerSegment, TextSegment
from ..lm.task_registry import register_task, task_names
from ..lm.text.encoder import TextEncoder
from ..lm.text.normalize import is_known
from .duration import USUAL, SpeakingRate, frames

__all__ = [
    "Limits",
    "Score",
    "Task",
    "get_task",
    "load_task",
    "register_task",
    "task_names",
]

_COLUMNS = {"text": "text", "audio": "codes", "speaker": "speaker"}  # default column of a slot
PAPER_FRAME_RATE = 12.5  # Hz: 75 / w with w = 6, as in the paper
_MAX_TEXT_PER_SECOND = 25.0  # text ids per second of audio; read speech has fewer letters


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of the length of a target; arguments of `AudioLM.generate`."""

    min_frames: int = 1
    max_frames: int = 750
    min_text_tokens: int = 0
    max_text_tokens: int = 512

    def at_least(self, frames: int) -> Limits:
        """The same bounds with a minimum, which is at most half of the maximum."""
        return replace(self, min_frames=min(frames, max(1, self.max_frames // 2)))

    def within(self, frames: int) -> Limits:
        """The same bounds for at most this many frames."""
        least, most = min(self.min_frames, frames), min(self.max_frames, frames)
        return replace(self, min_frames=least, max_frames=most)


class Task(ABC):
    """A task of the language model.

    A subclass sets `layout` and overrides what differs from the defaults. Methods have no side
    effects: one instance is shared.

    Attributes:
        layout: name, conditions and target.
        domains: domains of the rows to train on; empty: all.
        audio_sampling: sampling of the first codebook, and of the others unless `detail_sampling`.
        detail_sampling: sampling of codebooks 2 and up.
        text_sampling: sampling of a text target.
        guidance_scale: strength of classifier-free guidance; 1 is off.
        beams: beams of the search for a text, if the model was trained with CTC; 1 is off.
        lm_weight: weight of the text prior in beam search (`BeamSettings.lm_weight`).
        views: shifted encodings of the audio that beam search combines (`BeamSettings.views`).
        pace: speaking rate, which bounds the length of speech.
        max_seconds: longest audio target where no text bounds it.
        min_seconds: shortest audio target where no text bounds it, unless the generation
            configuration of the model has `min_new_tokens` for the task.
        silence_dbfs: level of the loudest 50 ms below which generated audio is nearly silent and
            is drawn again; None: it is not measured.
        max_text: longest text target in ids where no audio bounds it.
        draws: whether an example depends on `row.draw`.
    """

    layout: ClassVar[TaskLayout]
    domains: ClassVar[tuple[str, ...]] = ()
    audio_sampling: ClassVar[SamplingConfig] = AUDIO_SAMPLING
    detail_sampling: ClassVar[SamplingConfig | None] = None
    text_sampling: ClassVar[SamplingConfig] = TEXT_SAMPLING
    guidance_scale: ClassVar[float] = 1.0
    beams: ClassVar[int] = 1
    lm_weight: ClassVar[float] = 0.0
    views: ClassVar[int] = 1
    pace: ClassVar[SpeakingRate] = USUAL
    max_seconds: ClassVar[float] = 30.0
    min_seconds: ClassVar[float] = 0.0
    silence_dbfs: ClassVar[float | None] = None
    max_text: ClassVar[int] = 128
    draws: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        slots = [slot.name for slot in cls.layout.conditions] if hasattr(cls, "layout") else []
        unknown = [name for name in slots if name not in _COLUMNS]
        if unknown and cls.fields is Task.fields:
            raise ValueError(
                f"task {cls.layout.name!r} must define fields(row) for slot {unknown[0]!r}: only"
                f" the slots {', '.join(_COLUMNS)} have default values"
            )

    @property
    def name(self) -> str:
        """Name of the task, as in its layout."""
        return self.layout.name

    def fields(self, row: TokenRow) -> Mapping[str, str | Tensor]:
        """The conditions of a row by slot: texts, and codes `[K, Q]`.

        By default a slot `text` is the row's text, a slot `audio` its codes and a slot `speaker`
        the name of its speaker.

        Raises:
            ValueError: if the row does not fit the task.
        """
        return {slot.name: getattr(row, _COLUMNS[slot.name]) for slot in self.layout.conditions}

    def target(self, row: TokenRow) -> str | Tensor:
        """The target of a row: by default its text or its codes `[K, Q]`."""
        return row.text if self.layout.target.kind == "text" else row.codes

    def to_example(self, row: TokenRow, tokenizer: Any) -> Example:
        """Make a training example of a row.

        Args:
            row: a row of a token corpus.
            tokenizer: tokenizer of the backbone, or a :class:`TextEncoder`, which also knows the
                text form of the model.

        Raises:
            ValueError: if the row does not fit the task; mixtures skip and count such rows.
        """
        if self.domains and row.domain and row.domain not in self.domains:
            raise ValueError(
                f"{row.id}: task {self.name!r} learns from {' and '.join(self.domains)}; this row "
                f"is {row.domain}"
            )
        texts = tokenizer if isinstance(tokenizer, TextEncoder) else TextEncoder(tokenizer)
        fields = self.fields(row)
        segments = [
            _segment(slot, fields[slot.name], row, texts)
            for slot in self.layout.conditions
            if slot.name in fields
        ]
        missing = [s.name for s in self.layout.conditions if s.required and s.name not in fields]
        if missing:
            raise ValueError(f"{row.id}: task {self.name!r} needs {', '.join(missing)}")
        target = _segment(self.layout.target, self.target(row), row, texts)
        return Example(self.name, (*segments, target), row.frames_per_query)

    def sampling(self, num_codebooks: int) -> tuple[SamplingConfig, ...]:
        """Sampling configuration of each codebook."""
        rest = self.detail_sampling or self.audio_sampling
        return (self.audio_sampling, *(rest,) * (num_codebooks - 1))

    def limits(
        self,
        text: str = "",
        *,
        frame_rate: float = PAPER_FRAME_RATE,
        seconds: float | None = None,
    ) -> Limits:
        """Bounds of the target's length.

        Args:
            text: normalised text of a speech target.
            frame_rate: frames of codes per second (Hz), 75 / w.
            seconds: duration of the audio condition, or the longest audio target.
        """
        if self.layout.target.kind == "text":
            most = self.max_text if seconds is None else 16 + seconds * _MAX_TEXT_PER_SECOND
            return Limits(max_text_tokens=round(most))
        texts = [slot for slot in self.layout.conditions if slot.transcript and slot.required]
        if texts and text:
            least, most = self.pace.bounds(text)
            return Limits(min_frames=frames(least, frame_rate), max_frames=frames(most, frame_rate))
        most = frames(seconds or self.max_seconds, frame_rate)
        return Limits(max_frames=most).at_least(frames(self.min_seconds, frame_rate))

    def score(
        self, outputs: Sequence[str], references: Sequence[str], languages: Sequence[str]
    ) -> list[Score]:
        """Score generated texts, or transcripts of generated audio, against references.

        Args:
            outputs: of a test set.
            references: the correct text of each output.
            languages: language of each reference, or "".

        Returns:
            Metrics with intervals (`core/metrics/intervals.py`); none by default.
        """
        return []


def get_task(name: str) -> Task:
    """Look up a registered task; no module or file is imported for it.

    Args:
        name: such as "tts".

    Raises:
        ValueError: if there is no such task.
    """
    task: Task = task_registry.get_task(name)
    return task


def load_task(source: str) -> Task:
    """Look up a task by name, or run the module or file that registers it.

    Do not call this with a name that was found in a file or folder: it runs code.

    Args:
        source: "tts", "my_package.voice_conversion" or "voice_conversion.py".

    Raises:
        ValueError: if there is no such task, or the module does not register exactly one.
        FileNotFoundError: if the file does not exist.
    """
    task: Task = task_registry.load_task(source)
    return task


def _segment(slot: Slot, value: str | Tensor, row: TokenRow, texts: TextEncoder) -> Segment:
    if slot.kind == "audio":
        if not isinstance(value, Tensor) or value.ndim != 2 or not value.shape[1]:
            raise ValueError(f"{row.id}: {slot.name} must be codes [K, Q], got {value!r}")
        return AudioSegment(value)
    if not isinstance(value, str):
        raise ValueError(f"{row.id}: {slot.name} must be a text, got {type(value).__name__}")
    if slot.kind == "speaker":
        return SpeakerSegment(value)
    # In training, text of a language without a normaliser stays as it is written.
    transcript = slot.transcript and (not row.language or is_known(row.language))
    return TextSegment(
        texts.encode(
            value,
            transcript=transcript,
            phonemize=slot.phonemize,
            language=row.language or None,
        )
    )
