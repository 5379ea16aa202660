"""The fields of a task -> a prompt, or an example to learn from.

Letters: `L` rows, `K` codebooks, `w` frames per query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .audio_input import AudioInput
from .chat import Part
from .config import AudioLMConfig
from .layouts import Slot, TaskLayout, task_layout
from .sequences import AudioSegment, Example, Segment, TextSegment, build_prompt
from .text.encoder import TextEncoder


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """How fields are to be read; None leaves it to the fields, the codec or the processor."""

    frames_per_query: int | None = None
    sampling_rate: int | None = None  # Hz, of bare samples
    language: str | None = None  # of spoken texts


@contextmanager
def error_context(where: str) -> Iterator[None]:
    """Say in a ValueError where it happened."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@dataclass(frozen=True)
class PromptBuilder:
    """Puts texts and audio together in the order of a task's layout."""

    config: AudioLMConfig
    texts: TextEncoder
    audio: AudioInput

    def prompt(self, task: str, fields: Mapping[str, Any], reading: PromptOptions) -> Tensor:
        """Rows `[L, 1+K]` of all that is given for a target, up to its opening or prefix."""
        layout = task_layout(task)
        self._check(layout, fields, training=False)
        w = self._window(fields.values(), reading)
        segments = self._segments(layout, fields, w, reading)
        prefix = segments.pop(layout.prefix.name) if layout.prefix is not None else None
        return self._rows(layout, list(segments.values()), w, prefix)

    def example(
        self, task: str, fields: Mapping[str, Any], target: Any, reading: PromptOptions
    ) -> Example:
        """A training example; a prefix, if one is given, becomes the target's beginning."""
        layout = task_layout(task)
        self._check(layout, fields, training=True)
        w = self._window([*fields.values(), target], reading)
        segments = self._segments(layout, fields, w, reading)
        last = self._segment(layout.target, target, w, reading, "target")
        first = segments.pop(layout.prefix.name, None) if layout.prefix is not None else None
        if isinstance(first, AudioSegment) and isinstance(last, AudioSegment):
            last = AudioSegment(torch.cat([first.codes, last.codes], dim=1))
        return Example(task, (*segments.values(), last), w)

    def talk_prompt(self, parts: Sequence[Part], task: str, reading: PromptOptions) -> Tensor:
        """Rows `[L, 1+K]` of a conversation that the task goes on from."""
        w = self._window([part.value for part in parts], reading)
        return self._rows(task_layout(task), self._talk(parts, task, w, reading), w, None)

    def talk_example(self, parts: Sequence[Part], task: str, reading: PromptOptions) -> Example:
        """A training example whose target is the last part of a conversation."""
        layout = task_layout(task)
        if len(parts) < 2 or parts[-1].kind != layout.target.kind:
            raise ValueError(
                f"to learn {task!r}, a conversation of two parts or more must end with "
                f"{layout.target.kind}; this one has {', '.join(part.kind for part in parts)}"
            )
        w = self._window([part.value for part in parts], reading)
        return Example(task, tuple(self._talk(parts, task, w, reading)), w)

    # ------------------------------------------------------------------ inner works

    def _check(self, layout: TaskLayout, fields: Mapping[str, Any], *, training: bool) -> None:
        """Refuse fields that the task does not know, and miss those that it needs."""
        for name in fields:
            layout.slot(name)
        for slot in layout.slots:
            # In training the target has a beginning already.
            optional = not slot.required or (training and slot == layout.prefix)
            if slot.name not in fields and not optional:
                came = ", ".join(fields) or "nothing"
                raise ValueError(f"task {layout.name!r} needs {slot.name}; came {came}")
            if slot.name in fields and slot.needs is not None and slot.needs not in fields:
                raise ValueError(f"{slot.name} came without {slot.needs}, to which it belongs")

    def _window(self, values: Any, reading: PromptOptions) -> int:
        """The w of a sequence: as asked for, else that of the first tokens, else the codec's."""
        if reading.frames_per_query is not None:
            return reading.frames_per_query
        values = list(values)
        tokens = [value for value in values if self.audio.is_tokens(value)]
        return self.audio.window(tokens[0] if tokens else None)

    def _segments(
        self, layout: TaskLayout, fields: Mapping[str, Any], w: int, reading: PromptOptions
    ) -> dict[str, Segment]:
        """What the fields hold, in the order of the layout."""
        return {
            slot.name: self._segment(slot, fields[slot.name], w, reading, slot.name)
            for slot in layout.slots
            if slot.name in fields
        }

    def _segment(
        self, slot: Slot, value: Any, w: int, reading: PromptOptions, where: str
    ) -> TextSegment | AudioSegment:
        with error_context(where):
            if slot.kind == "text":
                ids = self.texts.ids(
                    value, spoken=slot.spoken, said=slot.said, language=reading.language
                )
                return TextSegment(ids)
            tokens = self.audio.tokens(
                value,
                frames_per_query=w,
                sampling_rate=reading.sampling_rate,
                voice=slot.voice,
            )
            return AudioSegment(tokens.codes)

    def _talk(
        self, parts: Sequence[Part], task: str, w: int, reading: PromptOptions
    ) -> list[Segment]:
        layout = task_layout(task)
        spoken = any(slot.spoken for slot in (*layout.slots, layout.target))
        return [
            self._segment(
                Slot(name="content", kind=part.kind, spoken=spoken), part.value, w, reading,
                f"part {number}",
            )
            for number, part in enumerate(parts)
        ]  # fmt: skip

    def _rows(
        self, layout: TaskLayout, segments: Sequence[Segment], w: int, prefix: Segment | None
    ) -> Tensor:
        rows = build_prompt(
            layout.name,
            segments,
            layout.target.kind,
            self.config,
            frames_per_query=w,
            eos_id=self.texts.eos_id,
            prefix=prefix if isinstance(prefix, AudioSegment) else None,
        )
        if len(rows) >= self.config.max_positions:
            raise ValueError(
                f"the prompt has {len(rows)} rows, and the model {self.config.max_positions} "
                f"positions for it and what follows: split a long text "
                f"(almtok.lm.text.sentences.split_text), give long audio in windows"
            )
        return rows
