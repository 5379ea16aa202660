"""Forced alignment of the words and phones of a known text with its recording.

Uses pocketsphinx (`pip install almtok[eval]`): English, words of the CMU dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.audio import Waveform, resample

_RATE, _FRAMES_PER_SECOND = 16_000, 100


@dataclass(frozen=True)
class Word:
    """A word with its time span."""

    text: str
    start: float  # seconds
    end: float
    room: tuple[float, float]  # seconds of silence before and after the word


@dataclass(frozen=True)
class Phone:
    """A phone with its time span."""

    name: str  # as in the CMU dictionary, or SIL
    start: float  # seconds
    end: float


class Aligner:
    """Aligns the words and phones of a text with its recording."""

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise ImportError("alignment needs pocketsphinx: pip install pocketsphinx") from error
        self._decoder = Decoder(samprate=_RATE, loglevel="FATAL")

    def words(self, wav: Waveform, sample_rate: int, text: str) -> list[Word]:
        """Every word of the text with its time span in samples `[S]`, or [] without an alignment.

        Texts with digits or words outside the dictionary have no alignment.
        """
        words = self._dictionary_words(text)
        if not words or not self._align(_pcm(wav, sample_rate), words):
            return []
        return self._aligned_words(words)

    def phones(self, wav: Waveform, sample_rate: int, text: str) -> list[Phone]:
        """Every phone of the text with its time span in `[S]`, or [] without an alignment."""
        words, pcm = self._dictionary_words(text), _pcm(wav, sample_rate)
        if not words or not self._align(pcm, words) or not self._aligned_words(words):
            return []
        self._decoder.set_alignment()
        if not self._decode(pcm):
            return []
        return [
            Phone(phone.name, phone.start / 100, (phone.start + phone.duration) / 100)
            for word in self._decoder.get_alignment() or ()
            for phone in word
        ]

    def _dictionary_words(self, text: str) -> list[str]:
        """Words of a text, or [] if one is not in the dictionary or there are digits."""
        words = re.sub(r"[^a-z' ]+", " ", text.lower()).split()
        complete = all(self._decoder.lookup_word(word) is not None for word in words)
        return words if complete and not re.search(r"\d", text) else []

    def _align(self, pcm: bytes, words: Sequence[str]) -> bool:
        self._decoder.set_align_text(" ".join(words))
        return self._decode(pcm)

    def _decode(self, pcm: bytes) -> bool:
        """Decode a recording; return whether it could be aligned with the text."""
        # Reset the noise and cepstral means of the previous recording.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        try:
            self._decoder.end_utt()
        except RuntimeError:  # the end of the text was not reached
            return False
        return True

    def _aligned_words(self, words: Sequence[str]) -> list[Word]:
        """The words with their time spans, or [] if the aligner found others."""
        segments = [
            (re.sub(r"\(\d+\)$", "", segment.word), segment.start_frame, segment.end_frame + 1)
            for segment in self._decoder.seg() or ()
        ]
        aligned = with_room(segments)
        return aligned if [word.text for word in aligned] == list(words) else []


def _pcm(wav: Waveform, sample_rate: int) -> bytes:
    samples = np.clip(resample(wav, sample_rate, _RATE), -1, 1)
    return bytes((samples * 32767).astype("<i2").tobytes())


def with_room(segments: Sequence[tuple[str, int, int]]) -> list[Word]:
    """Words of aligned segments; fillers ("<sil>", "[NOISE]") become the silence beside words.

    Args:
        segments: word, first frame, and frame after the last, of each segment.
    """

    def silence(index: int) -> float:
        if not 0 <= index < len(segments) or segments[index][0][0] not in "<[":
            return 0.0
        return (segments[index][2] - segments[index][1]) / _FRAMES_PER_SECOND

    return [
        Word(
            word,
            start / _FRAMES_PER_SECOND,
            end / _FRAMES_PER_SECOND,
            (silence(index - 1), silence(index + 1)),
        )
        for index, (word, start, end) in enumerate(segments)
        if word[0] not in "<["
    ]
