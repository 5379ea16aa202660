"""Independent speech recognizers, to evaluate generated speech.

Always report their error rate on recordings too.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...core.audio import resample
from ...core.results_log import ResultsLog

NAMES = ("pocketsphinx",)
_RATE = 16_000  # Hz of its acoustic model
_PEAK = 0.7  # peak level that audio is scaled to


class Recognizer(Protocol):
    """A speech recognizer."""

    name: str

    def transcribe(self, wav: Any, sample_rate: int) -> str:
        """Transcribe samples `[S]` to lower-case words; "" for silence."""


class PocketSphinx:
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
        try:
            self._decoder = Decoder(samprate=_RATE, loglevel="FATAL", **options)
        except RuntimeError as error:
            if grammar is None:
                raise
            raise ValueError(
                f"{grammar} is not a JSGF grammar of words that pocketsphinx knows ({error})"
            ) from error

    def transcribe(self, wav: Any, sample_rate: int) -> str:
        """Transcribe samples `[S]`."""
        samples = resample(np.asarray(wav, np.float32).ravel(), sample_rate, _RATE)
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


class CachedRecognizer:
    """A recognizer whose transcripts are stored in a folder and reused for the same waveform."""

    def __init__(self, recognizer: Recognizer, folder: str | os.PathLike[str]) -> None:
        self.name = recognizer.name
        self._recognizer = recognizer
        file = "_".join(re.findall(r"\w+", recognizer.name))
        self._log = ResultsLog(Path(folder) / f"heard_{file}.jsonl")

    def transcribe(self, wav: Any, sample_rate: int) -> str:
        """Transcribe samples `[S]`."""
        samples = np.ascontiguousarray(wav, np.float32)
        name = hashlib.sha256(samples.tobytes()).hexdigest()[:20]
        entry = self._log.get(name, str(sample_rate))
        if entry is None:
            transcript = self._recognizer.transcribe(samples, sample_rate)
            self._log.add(name, str(sample_rate), {"heard": transcript})
            return transcript
        return str(entry["heard"])


def _read(grammar: str | os.PathLike[str]) -> bytes:
    try:
        return Path(grammar).read_bytes()
    except OSError as error:
        raise ValueError(f"the grammar cannot be read: {error}") from error


def load_recognizer(name: str, grammar: str | os.PathLike[str] | None = None) -> Recognizer | None:
    """Load a recognizer by name; None for "none".

    Raises:
        ValueError: for an unknown name, or a grammar without a recognizer.
        ModuleNotFoundError: if it is not installed.
    """
    if name == "none":
        if grammar is not None:
            raise ValueError(f"a grammar ({grammar}) needs a recognizer, got 'none'")
        return None
    if name not in NAMES:
        raise ValueError(f"unknown recognizer {name!r}, must be one of {', '.join(NAMES)}, none")
    return PocketSphinx(grammar)
