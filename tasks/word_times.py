"""Times of words: from the frames of a forced alignment to words and sentences in seconds.

Shapes: `N` words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..lm.text.sentences import split_sentences

# CTC marks the start of a word late and its end early. Measured with the shipped model on the
# validation splits of its two English readers, and checked on the test splits (docs/tasks.md).
ONSET_DELAY = 0.11  # seconds from the start of a word to its first frame
END_MARGIN = 0.10  # seconds from the end of its last frame to the end of a word before a pause
PAUSE = 0.2  # seconds without a frame of a word between two words that are taken for a pause
SENTENCE_PAUSE = 1.0  # seconds between two words that end a sentence without punctuation
_SHORTEST = 0.02  # seconds of a word


@dataclass(frozen=True)
class TimedWord:
    """A word of a text, as it is written, with its place in the audio.

    Attributes:
        text: the word with its punctuation.
        start: seconds.
        end: seconds.
        confidence: geometric mean of the CTC probabilities of its pieces, 0 to 1; 0 if the text
            could not be aligned and its words were spread evenly over the audio.
    """

    text: str
    start: float
    end: float
    confidence: float

    def shifted(self, seconds: float) -> TimedWord:
        """The word later by some seconds."""
        return replace(self, start=self.start + seconds, end=self.end + seconds)


@dataclass(frozen=True)
class TimedSentence:
    """A sentence, or words between two long pauses."""

    words: tuple[TimedWord, ...]

    @property
    def text(self) -> str:
        """The words, joined by spaces."""
        return " ".join(word.text for word in self.words)

    @property
    def start(self) -> float:
        """Seconds."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Seconds."""
        return self.words[-1].end


def word_bounds(
    frames: Sequence[tuple[int, int]], frame_rate: float, duration: float
) -> list[tuple[float, float]]:
    """Start and end of each word in seconds.

    A word ends where the next one starts, or soon after its last frame if a pause follows.

    Args:
        frames: of each word, the first and the one after the last, in order.
        frame_rate: in Hz.
        duration: seconds of the audio.
    """
    if not frames:
        return []
    first, stop = np.asarray(frames, dtype=np.float64).T / frame_rate
    ranks, shortest = np.arange(len(frames)), min(_SHORTEST, duration / len(frames))
    starts = np.maximum(first - ONSET_DELAY, 0) - ranks * shortest
    starts = np.maximum.accumulate(starts) + ranks * shortest
    starts = np.minimum(starts, duration - (len(frames) - ranks) * shortest)
    limits = np.append(starts[1:], duration)
    is_pause = np.append(first[1:] - stop[:-1] >= PAUSE, True)
    ends = np.where(is_pause, np.minimum(stop + END_MARGIN, limits), limits)
    return list(zip(starts.tolist(), np.maximum(ends, starts).tolist(), strict=True))


def spread_evenly(texts: Sequence[str], duration: float) -> list[TimedWord]:
    """Words over a duration, each as long as its share of the characters; confidence 0."""
    lengths = np.cumsum([0, *(len(text) for text in texts)])
    places = (lengths / max(1, lengths[-1]) * duration).tolist()
    return [
        TimedWord(text, start, end, 0.0)
        for text, start, end in zip(texts, places, places[1:], strict=False)
    ]


def in_order(words: Iterable[TimedWord], duration: float) -> tuple[TimedWord, ...]:
    """The words with times that never go back and never exceed the duration."""
    ordered, place = [], 0.0
    for word in words:
        start = min(max(word.start, place), duration)
        place = min(max(word.end, start), duration)
        ordered.append(replace(word, start=start, end=place))
    return tuple(ordered)


def sentences(words: Sequence[TimedWord], *, pause: float = SENTENCE_PAUSE) -> list[TimedSentence]:
    """Split words into sentences: at the punctuation, and at long pauses.

    Args:
        words: in order.
        pause: seconds between two words that end a sentence without punctuation.
    """
    ends, count = set(), 0
    for sentence in split_sentences(" ".join(word.text for word in words)):
        count += len(sentence.split())
        ends.add(count)
    found: list[TimedSentence] = []
    begin = tokens = 0
    for number, word in enumerate(words, start=1):
        tokens += len(word.text.split())
        is_last = number == len(words)
        if is_last or tokens in ends or words[number].start - word.end >= pause:
            found.append(TimedSentence(tuple(words[begin:number])))
            begin = number
    return found


def words_to_json(words: Sequence[TimedWord]) -> dict[str, Any]:
    """Words and sentences with their times in seconds, for JSON."""
    return {
        "words": [
            {
                "word": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in words
        ],
        "segments": [
            {
                "id": number,
                "text": sentence.text,
                "start": round(sentence.start, 3),
                "end": round(sentence.end, 3),
            }
            for number, sentence in enumerate(sentences(words))
        ],
    }
