"""PromptBuilder: fields of a task -> a prompt, or a training example.

Shapes: `L` rows, `K` codebooks, `w` frames per query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..codec.tokens import AudioTokens
from .audio_input import AudioInput
from .chat import Part
from .config import AudioLMConfig
from .layouts import Slot, TaskLayout, task_layout
from .sequences import (
    IGNORED,
    AudioSegment,
    Example,
    Segment,
    SpeakerSegment,
    TextSegment,
    build_prompt,
    collate,
)
from .sequences import Sequence as Rows
from .text.encoder import TextEncoder
from .voices import check_cloning, check_voice, default_voice, speaker_slot


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """How fields are encoded; None means the default of the tokens, codec or processor."""

    frames_per_query: int | None = None
    sampling_rate: int | None = None  # Hz, of samples
    language: str | None = None  # of transcripts


@contextmanager
def error_context(where: str) -> Iterator[None]:
    """Prefix the message of a ValueError with its location."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@dataclass(frozen=True)
class PromptBuilder:
    """Encodes texts and audio and arranges them in the order of a task's layout."""

    config: AudioLMConfig
    text_encoder: TextEncoder
    audio_input: AudioInput

    def prompt(self, task: str, fields: Mapping[str, Any], options: PromptOptions) -> Tensor:
        """Rows `[L, 1+K]` of the conditions, up to the opening of the target or its prefix."""
        layout = task_layout(task)
        self._check(layout, fields, training=False)
        self._check_language(layout, options)
        if (slot := speaker_slot(layout, self.config, fields)) is not None:
            fields = {**fields, slot: default_voice(self.config)}
        w = self.frames_per_query(fields.values(), options)
        segments = self._segments(layout, fields, w, options)
        for field in layout.slots:
            if field.name in segments:
                self._check_text(segments[field.name], field.name, field.phonemize)
        prefix = segments.pop(layout.prefix.name) if layout.prefix is not None else None
        return self._rows(layout, list(segments.values()), w, prefix)

    def example(
        self, task: str, fields: Mapping[str, Any], target: Any, options: PromptOptions
    ) -> Example:
        """A training example; an optional prefix is prepended to the target."""
        layout = task_layout(task)
        self._check(layout, fields, training=True)
        w = self.frames_per_query([*fields.values(), target], options)
        segments = self._segments(layout, fields, w, options)
        last = self._segment(layout.target, target, w, options, "target")
        first = segments.pop(layout.prefix.name, None) if layout.prefix is not None else None
        if isinstance(first, AudioSegment) and isinstance(last, AudioSegment):
            last = AudioSegment(torch.cat([first.codes, last.codes], dim=1))
        return Example(task, (*segments.values(), last), w)

    def conversation_prompt(
        self, parts: Sequence[Part], task: str, options: PromptOptions
    ) -> Tensor:
        """Rows `[L, 1+K]` of a conversation that the task continues."""
        layout = task_layout(task)
        self._check_language(layout, options)
        w = self.frames_per_query([part.value for part in parts], options)
        segments = self._conversation(parts, task, w, options)
        phonemize = any(slot.phonemize for slot in layout.slots)
        for number, segment in enumerate(segments):
            self._check_text(segment, f"part {number}", phonemize)
        references = [part for part in parts if part.kind == "audio"]
        if references and any(slot.voice for slot in layout.slots):
            check_cloning(self.config)
        elif speaker_slot(layout, self.config, ()) is not None:
            segments = [SpeakerSegment(default_voice(self.config) or ""), *segments]
        return self._rows(layout, segments, w, None)

    def conversation_example(
        self, parts: Sequence[Part], task: str, options: PromptOptions
    ) -> Example:
        """A training example whose target is the last part of a conversation."""
        layout = task_layout(task)
        if len(parts) < 2 or parts[-1].kind != layout.target.kind:
            raise ValueError(
                f"a conversation for {task!r} must have two parts or more and end with "
                f"{layout.target.kind}, got {', '.join(part.kind for part in parts)}"
            )
        w = self.frames_per_query([part.value for part in parts], options)
        return Example(task, tuple(self._conversation(parts, task, w, options)), w)

    # ------------------------------------------------------------------ internals

    def _check(self, layout: TaskLayout, fields: Mapping[str, Any], *, training: bool) -> None:
        """Raise ValueError for unknown and for missing fields."""
        for name in fields:
            layout.slot(name)
        for slot in layout.slots:
            # The prefix is optional in training: it is part of the target.
            optional = not slot.required or (training and slot == layout.prefix)
            if slot.name not in fields and not optional:
                found = ", ".join(fields) or "nothing"
                raise ValueError(f"task {layout.name!r} needs {slot.name}, got {found}")
            if slot.name in fields and slot.needs is not None and slot.needs not in fields:
                raise ValueError(f"{slot.name} needs {slot.needs}, which is missing")

    def _check_language(self, layout: TaskLayout, options: PromptOptions) -> None:
        if any(slot.phonemize for slot in layout.slots):
            self.text_encoder.check_language(options.language)

    def _check_text(self, segment: Segment, where: str, phonemize: bool) -> None:
        # Symbols of phones are learned as bytes, and their texts are checked by the normalizer.
        phones = phonemize and self.text_encoder.form == "phones"
        if isinstance(segment, TextSegment) and not phones:
            with error_context(where):
                self.text_encoder.check_learned(segment.ids)

    def frames_per_query(self, values: Iterable[Any], options: PromptOptions) -> int:
        """The w of a sequence: of the options, else of the first tokens, else the default."""
        if options.frames_per_query is not None:
            return options.frames_per_query
        tokens = (value.frames_per_query for value in values if isinstance(value, AudioTokens))
        return next(tokens, self.audio_input.default_frames_per_query)

    def _segments(
        self, layout: TaskLayout, fields: Mapping[str, Any], w: int, options: PromptOptions
    ) -> dict[str, Segment]:
        """Segments of the fields by slot, in the order of the layout."""
        return {
            slot.name: self._segment(slot, fields[slot.name], w, options, slot.name)
            for slot in layout.slots
            if slot.name in fields
        }

    def _segment(
        self, slot: Slot, value: Any, w: int, options: PromptOptions, where: str
    ) -> Segment:
        with error_context(where):
            if slot.kind == "text":
                ids = self.text_encoder.encode(
                    value,
                    transcript=slot.transcript,
                    phonemize=slot.phonemize,
                    language=options.language,
                )
                return TextSegment(ids)
            if slot.kind == "speaker":
                if value != "":  # no voice by name
                    check_voice(self.config, value)
                return SpeakerSegment(value)
            tokens = self.audio_input.tokens(
                value,
                frames_per_query=w,
                sampling_rate=options.sampling_rate,
                voice=slot.voice,
            )
            return AudioSegment(tokens.codes)

    def _conversation(
        self, parts: Sequence[Part], task: str, w: int, options: PromptOptions
    ) -> list[Segment]:
        layout = task_layout(task)
        transcript = any(slot.transcript for slot in (*layout.slots, layout.target))
        phonemize = any(slot.phonemize for slot in layout.slots)
        return [
            self._segment(
                Slot(name="content", kind=part.kind, transcript=transcript, phonemize=phonemize),
                part.value,
                w,
                options,
                f"part {number}",
            )
            for number, part in enumerate(parts)
        ]

    def _rows(
        self, layout: TaskLayout, segments: Sequence[Segment], w: int, prefix: Segment | None
    ) -> Tensor:
        rows = build_prompt(
            layout.name,
            segments,
            "text" if layout.target.kind == "text" else "audio",
            self.config,
            frames_per_query=w,
            eos_id=self.text_encoder.eos_id,
            prefix=prefix if isinstance(prefix, AudioSegment) else None,
        )
        if len(rows) >= self.config.max_positions:
            raise ValueError(
                f"a prompt must be shorter than the {self.config.max_positions} positions of the "
                f"model, got {len(rows)} rows: split a long text "
                f"(almtok.lm.text.sentences.split_text), use windows of long audio"
            )
        return rows


def collate_prompts(prompts: Sequence[Tensor], config: AudioLMConfig) -> dict[str, Tensor]:
    """Batch prompts, padded on the left: `input_ids` `[B, L, 1+K]`, `attention_mask` `[B, L]`."""
    rows = [Rows(prompt, torch.full_like(prompt, IGNORED)) for prompt in prompts]
    batch = collate(rows, config, "left")
    batch.pop("labels")
    return batch


_T = TypeVar("_T")
_R = TypeVar("_R")


def task_of(text: Any, audio: Any) -> str:
    """The default task: tts of text, asr of audio.

    Raises:
        ValueError: if neither or both are given.
    """
    if (text is None) == (audio is None):
        given = "nothing" if text is None else "text and audio"
        raise ValueError(f"task must be given (such as 'tts') with {given}")
    return "asr" if text is None else "tts"


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dict of fields for each row, without those that are None.

    Raises:
        ValueError: for lists of different lengths, or empty ones.
    """
    lengths = {
        name: len(value) for name, value in columns.items() if isinstance(value, list | tuple)
    }
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"lists must have one length, at least 1, got {found}")
    count = next(iter(lengths.values()), 1)
    rows = []
    for number in range(count):
        values = {n: v[number] if n in lengths else v for n, v in columns.items()}
        rows.append({name: value for name, value in values.items() if value is not None})
    return rows


def map_rows(function: Callable[[_T], _R], rows: Sequence[_T]) -> list[_R]:
    """Apply a function to every row; errors name the row."""
    results = []
    for number, row in enumerate(rows):
        with error_context(f"row {number}"):
            results.append(function(row))
    return results
