"""Judges by name."""

from __future__ import annotations

import os
from typing import Any

from ..choices import AUTO
from .recognizers import Recognizer

RECOGNIZERS = "pocketsphinx, whisper:FOLDER, whisper:HUB_ID, none"


def load_recognizer(
    name: str, grammar: str | os.PathLike[str] | None = None, *, device: Any = AUTO
) -> Recognizer | None:
    """Load a recognizer by name; None for "none".

    Args:
        name: ``pocketsphinx``, ``whisper:PLACE`` with a folder or hub id, or ``none``.
        grammar: JSGF file, for pocketsphinx only.
        device: of Whisper.

    Raises:
        ValueError: for an unknown name, a model that cannot be loaded, or a grammar for another
            recognizer.
        ModuleNotFoundError: if it is not installed.
    """
    kind, _, place = name.partition(":")
    if grammar is not None and name != "pocketsphinx":
        raise ValueError(f"a grammar ({grammar}) needs a recognizer, pocketsphinx; got {name!r}")
    if name == "none":
        return None
    if name == "pocketsphinx":
        from .pocketsphinx import PocketSphinx

        return PocketSphinx(grammar)
    if kind != "whisper" or not place:
        raise ValueError(f"unknown recognizer {name!r}, must be one of {RECOGNIZERS}")
    from .whisper import Whisper

    return Whisper(place, device=device)
