"""Voices: speakers that a language model knows by name.

A voice is one control token before the text of TTS, so that a batch is one speaker. Rows of other
speakers have no such token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from .config import AudioLMConfig
from .layouts import TaskLayout
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .model import AudioLM

_NAMED = 8  # voices in an error message


def default_voice(config: AudioLMConfig) -> str | None:
    """The voice of TTS without a name or a reference; None of a model without voices."""
    return config.voices[0] if config.voices else None


def check_voice(config: AudioLMConfig, name: str) -> None:
    """Check that a model has a voice.

    Raises:
        ValueError: it has not; the message lists some that it has.
    """
    if name not in config.voices:
        raise ValueError(unknown_voice(name, config.voices))


def unknown_voice(name: object, voices: Sequence[str]) -> str:
    """Error message for a voice that a model does not have."""
    hint = "; a recording to imitate is a reference" if "." in str(name) else ""
    if not voices:
        return f"voice must not be given: this model has no voices by name, got {name!r}{hint}"
    more = f" and {len(voices) - _NAMED} more" if len(voices) > _NAMED else ""
    return f"voice must be one of {', '.join(voices[:_NAMED])}{more}, got {name!r}{hint}"


def check_cloning(config: AudioLMConfig) -> None:
    """Check that a model imitates recordings.

    Raises:
        ValueError: its configuration says that it does not.
    """
    if config.supports_cloning:
        return
    known = f"; its voices are {', '.join(config.voices[:_NAMED])}" if config.voices else ""
    raise ValueError(
        f"this model does not imitate the voice of a recording (supports_cloning is false in its "
        f"config.json){known}"
    )


def voice_facts(config: AudioLMConfig) -> list[str]:
    """A line of the model card of a model with voices."""
    if not config.voices:
        return []
    first, *others = config.voices
    rest = f", {', '.join(others)}" if others else ""
    cloning = "" if config.supports_cloning else "; voices of recordings are not imitated"
    return [f"voices: {first} (default){rest}{cloning}"]


def speaker_slot(layout: TaskLayout, config: AudioLMConfig, given: Iterable[str]) -> str | None:
    """The slot of a prompt that the default voice fills; None without one.

    Args:
        layout: of the task.
        config: of the model.
        given: names of the fields of the prompt; with a voice reference there is no default.
    """
    names = set(given)
    if not config.voices or any(slot.voice and slot.name in names for slot in layout.slots):
        return None
    free = (slot.name for slot in layout.slots if slot.kind == "speaker")
    return next((name for name in free if name not in names), None)


@torch.no_grad()
def add_voices(lm: AudioLM, names: Iterable[str]) -> None:
    """Give a model further voices, after those that it has.

    Args:
        lm: changed in place. Embeddings of new voices are drawn from torch's default generator.
        names: of all voices; those that it has already keep their embeddings.
    """
    table = lm.embedding.controls
    new = [name for name in names if name not in lm.config.voices]
    lm.config.voices = [*lm.config.voices, *new]
    lm.embedding.vocabulary = Vocabulary(lm.config)
    if not new:
        return
    grown = nn.Embedding(len(table.weight) + len(new), table.embedding_dim).to(table.weight)
    grown.weight.normal_(std=lm.config.initializer_range)
    grown.weight[: len(table.weight)] = table.weight
    lm.embedding.controls = grown
