"""Independent speech recognizers, to evaluate generated speech.

Always report their error rate on recordings too.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..results_log import ResultsLog
from .base import Judge, JudgedAudio


class Recognizer(Judge):
    """A speech recognizer.

    Attributes:
        spelling: pairs of a British and an American spelling, for the normaliser of its texts.
    """

    role = "recognizer"
    spelling: tuple[tuple[str, str], ...] = ()

    @abstractmethod
    def transcribe(self, wav: Any, sample_rate: int, language: str = "") -> str:
        """Transcribe samples `[S]`; "" for silence."""

    def transcribe_all(self, clips: Sequence[JudgedAudio]) -> list[str]:
        """Transcribe several clips."""
        return [self.transcribe(clip.wav, clip.sample_rate, clip.language) for clip in clips]

    def judge_all(self, clips: Sequence[JudgedAudio]) -> list[dict[str, Any]]:
        """Return the transcripts, as `heard`."""
        return [{"heard": text} for text in self.transcribe_all(clips)]


class CachedRecognizer(Recognizer):
    """A recognizer whose transcripts are stored in a folder and reused for the same waveform."""

    def __init__(self, recognizer: Recognizer, folder: str | os.PathLike[str]) -> None:
        self.name, self.details = recognizer.name, recognizer.details
        self.spelling = recognizer.spelling
        self._recognizer = recognizer
        file = "_".join(re.findall(r"\w+", recognizer.name))
        self._log = ResultsLog(Path(folder) / f"heard_{file}.jsonl")

    def transcribe(self, wav: Any, sample_rate: int, language: str = "") -> str:
        """Transcribe samples `[S]`."""
        return self.transcribe_all([JudgedAudio(wav, sample_rate, language)])[0]

    def transcribe_all(self, clips: Sequence[JudgedAudio]) -> list[str]:
        """Transcribe the clips that were not transcribed before."""
        clips = [
            JudgedAudio(np.ascontiguousarray(one.wav, np.float32), one.sample_rate, one.language)
            for one in clips
        ]
        names = [hashlib.sha256(clip.wav.tobytes()).hexdigest()[:20] for clip in clips]
        keys = [f"{clip.sample_rate} {clip.language}".strip() for clip in clips]
        places = list(zip(names, keys, strict=True))
        found = {place: entry["heard"] for place in places if (entry := self._log.get(*place))}
        new = {p: clip for p, clip in zip(places, clips, strict=True) if p not in found}
        heard = self._recognizer.transcribe_all(list(new.values())) if new else []
        for place, text in zip(new, heard, strict=True):
            self._log.add(*place, {"heard": text})
            found[place] = text
        return [found[place] for place in places]
