"""Message lists, as chat models take them -> the segments of a sequence.

    [{"role": "0", "content": [{"type": "text", "text": "Hi."},
                               {"type": "audio", "path": "hi.wav"}]},
     {"role": "0", "content": [{"type": "text", "text": "How are you?"}]}]

Every part is a segment, in order; what follows the last one is the target. So earlier turns with
text and audio are voice prompts with their transcripts. Roles only say where a turn begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .layouts import Kind, task_layout

Conversation = Sequence[Mapping[str, Any]]
# Where an audio part may hold its audio; CSM and Dia say "path" or "url", datasets "array".
_AUDIO_KEYS = ("audio", "path", "url", "tokens", "array")


@dataclass(frozen=True)
class Part:
    """One piece of content."""

    kind: Kind
    value: Any


def is_batch(conversation: Any) -> bool:
    """Whether these are several conversations."""
    return bool(conversation) and not isinstance(conversation[0], Mapping)


def read_parts(conversation: Conversation) -> list[Part]:
    """The parts of a conversation, in order.

    Raises:
        ValueError: for a message or a part that is not understood, with what was expected.
    """
    parts = []
    for number, message in enumerate(conversation):
        if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
            raise ValueError(
                f"message {number} must have a role and a content; came {_shown(message)}"
            )
        content = message["content"]
        content = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts += [_part(piece, number) for piece in content]
    if not parts:
        raise ValueError(
            "the conversation is empty: at least one part of text or audio is expected"
        )
    return parts


def task_of(parts: Sequence[Part], task: str | None) -> str:
    """The task that goes on after these parts: tts after text, asr after audio, unless given."""
    if task is None:
        return "tts" if parts[-1].kind == "text" else "asr"
    task_layout(task)
    return task


def as_string(parts: Sequence[Part], task: str) -> str:
    """The conversation to look at: openings in angle brackets, texts as they stand."""
    words = [f"<|{part.kind}|>{part.value if part.kind == 'text' else '...'}" for part in parts]
    return f"<|{task}|>{''.join(words)}<|{task_layout(task).target.kind}|>"


def _part(piece: Any, number: int) -> Part:
    kind = piece.get("type") if isinstance(piece, Mapping) else None
    if kind == "text" and isinstance(piece.get("text"), str):
        return Part("text", piece["text"])
    if kind == "audio":
        given = [key for key in _AUDIO_KEYS if piece.get(key) is not None]
        if given:
            key = given[0]
            rate = piece.get("sampling_rate")
            value = piece[key]
            if rate is not None and hasattr(value, "__array__"):
                value = {"array": value, "sampling_rate": rate}
            return Part("audio", value)
    raise ValueError(
        f"message {number}: a part is {{'type': 'text', 'text': ...}} or {{'type': 'audio', "
        f"'audio': ...}} (or {', '.join(_AUDIO_KEYS[1:])}); came {_shown(piece)}"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
