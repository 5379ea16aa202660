"""Conversations in the format of chat models -> segments of a sequence.

    [{"role": "0", "content": [{"type": "text", "text": "Hi."},
                               {"type": "audio", "path": "hi.wav"}]},
     {"role": "0", "content": [{"type": "text", "text": "How are you?"}]}]

Every part is a segment, in order, and the target follows the last one: earlier turns with text and
audio are voice prompts with their transcripts. Roles only separate turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .layouts import Kind, task_layout

Conversation = Sequence[Mapping[str, Any]]
# Keys of the audio of an audio part; CSM and Dia have "path" or "url", datasets "array".
_AUDIO_KEYS = ("audio", "path", "url", "tokens", "array")


@dataclass(frozen=True)
class Part:
    """One part of the content of a message."""

    kind: Kind
    value: Any


def is_batch(conversation: Any) -> bool:
    """Whether this is a list of conversations, and not one."""
    return bool(conversation) and not isinstance(conversation[0], Mapping)


def read_parts(conversation: Conversation) -> list[Part]:
    """The parts of a conversation, in order.

    Raises:
        ValueError: for a malformed message or part.
    """
    parts = []
    for number, message in enumerate(conversation):
        if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
            raise ValueError(
                f"message {number} must have a role and a content, got {_shorten(message)}"
            )
        content = message["content"]
        content = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts += [_part(part, number) for part in content]
    if not parts:
        raise ValueError("a conversation must have at least one part of text or audio, got none")
    return parts


def default_task(parts: Sequence[Part]) -> str:
    """The task that follows these parts: tts after text, asr after audio."""
    return "tts" if parts[-1].kind == "text" else "asr"


def to_string(parts: Sequence[Part], task: str) -> str:
    """A conversation as a string, with control tokens in angle brackets."""
    layout = task_layout(task)
    texts = [f"<|{part.kind}|>{part.value if part.kind == 'text' else '...'}" for part in parts]
    return f"<|{task}|>{''.join(texts)}<|{layout.target.kind}|>"


def _part(part: Any, number: int) -> Part:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return Part("text", part["text"])
    if kind == "audio":
        for key in _AUDIO_KEYS:
            value = part.get(key)
            if value is None:
                continue
            rate = part.get("sampling_rate")
            if rate is not None and hasattr(value, "__array__"):
                value = {"array": value, "sampling_rate": rate}
            return Part("audio", value)
    raise ValueError(
        f"message {number}: a part must be {{'type': 'text', 'text': ...}} or {{'type': 'audio', "
        f"'audio': ...}} (or {', '.join(_AUDIO_KEYS[1:])}), got {_shorten(part)}"
    )


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
