"""Judges by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..choices import AUTO
from .base import Judge
from .mos import PREDICTORS
from .recognizers import Recognizer
from .speakers import Resemblyzer, SpeakerEncoder, XVector

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


def load_speaker_encoder(name: str, *, device: Any = AUTO) -> SpeakerEncoder | None:
    """Load a speaker encoder by name; None for "none".

    Args:
        name: ``resemblyzer``, a folder or hub id of an x-vector model, or ``none``.
        device: of an x-vector model.

    Raises:
        ValueError: for a model that cannot be loaded.
        ModuleNotFoundError: if a package is not installed.
    """
    if name == "none":
        return None
    return Resemblyzer() if name == "resemblyzer" else XVector(name, device=device)


def load_mos(names: Sequence[str]) -> list[Judge]:
    """Load predictors of opinion scores by name.

    Raises:
        ValueError: for an unknown name.
        ModuleNotFoundError: if a package is not installed.
    """
    for name in names:
        if name not in PREDICTORS:
            raise ValueError(f"MOS predictor must be one of {', '.join(PREDICTORS)}, got {name!r}")
    return [PREDICTORS[name]() for name in dict.fromkeys(names)]
