"""A voice: a short recording of somebody, and what is said in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...codec.tokens import AudioTokens
from ...core.audio import AudioError
from .base import AudioLMPipeline
from .options import DEFAULT, GenerationOptions

LONGEST = 30.0  # seconds; more costs time and teaches nothing


@dataclass(frozen=True)
class Voice:
    """A reference that speech is to sound like.

    With its text, it is the beginning of what is said: the model goes on. Without, or `apart`, it
    is a condition of its own, which only models know that were trained with voices.
    """

    tokens: AudioTokens
    text: str | None = None  # what is said in it
    apart: bool = False


def load_voice(
    bundle: AudioLMPipeline,
    audio: Any,
    text: str | None = None,
    *,
    apart: bool = False,
    controls: GenerationOptions = DEFAULT,
) -> Voice:
    """Make a voice of a reference: a file, samples or tokens.

    Raises:
        ValueError: if it is corrupt, silent, shorter than 0.3 s, too long, or its tokens are of
            another codec; the reason is named.
    """
    try:
        tokens = bundle.tokens(audio, controls=controls, voice=True)
    except AudioError as error:
        raise ValueError(f"the reference for the voice cannot be used: {error}") from error
    most = min(LONGEST, bundle.seconds_of_room(0.4, tokens.frames_per_query))
    if tokens.duration > most:
        raise ValueError(
            f"the reference has {tokens.duration:.1f} s, at most {most:.1f} s are expected: cut it"
        )
    if text is not None:
        bundle.texts.form_of(text, spoken=True, language=controls.language)  # an error now
    return Voice(tokens, text, apart)
