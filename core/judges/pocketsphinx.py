"""PocketSphinx as a recognizer."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from .base import RATE, JudgedAudio, version_of
from .recognizers import Recognizer

_PEAK = 0.7  # peak level that audio is scaled to


class PocketSphinx(Recognizer):
    """CMU PocketSphinx with the US English model of its package; needs no download."""

    def __init__(self, grammar: str | os.PathLike[str] | None = None) -> None:
        """Load the model.

        Args:
            grammar: JSGF file that restricts it to its sentences (default: free English).

        Raises:
            ModuleNotFoundError: if the package is not installed.
            ValueError: if the grammar cannot be read.
        """
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise ModuleNotFoundError(
                "the independent recognizer is not installed: pip install pocketsphinx, or give "
                "--recognizer none",
                name="almtok.pocketsphinx",
            ) from error
        self.name = "pocketsphinx"
        options = {}
        if grammar is not None:
            content = _read(grammar)
            self.name += f" with a grammar ({hashlib.sha256(content).hexdigest()[:8]})"
            options = {"jsgf": os.fspath(grammar)}
        self.details = version_of("pocketsphinx")
        try:
            self._decoder = Decoder(samprate=RATE, loglevel="FATAL", **options)
        except RuntimeError as error:
            if grammar is None:
                raise
            raise ValueError(
                f"{grammar} is not a JSGF grammar of words that pocketsphinx knows ({error})"
            ) from error

    def transcribe(self, wav: Any, sample_rate: int, language: str = "") -> str:
        """Transcribe samples `[S]`; it knows English only."""
        samples = JudgedAudio(wav, sample_rate).at_rate()
        peak = float(np.abs(samples).max(initial=0.0))
        if not peak:
            return ""
        pcm = np.round(samples * (_PEAK / peak) * 32767).astype("<i2")
        # Reset its noise and mean estimates, or results would depend on earlier audio.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        # Fillers are in brackets, second pronunciations numbered: "[NOISE]", "the(2)".
        words = "" if found is None else re.sub(r"\[.*?\]|<.*?>|\(\d+\)", " ", found.hypstr)
        return " ".join(words.split())


def _read(grammar: str | os.PathLike[str]) -> bytes:
    try:
        return Path(grammar).read_bytes()
    except OSError as error:
        raise ValueError(f"the grammar cannot be read: {error}") from error
