"""Transcriber: audio of any length to text; and audio to a description.

    audio -codec-> codes -windows that overlap-> texts -joined where they agree-> one text

The audio is encoded once, or in a few views (lm/generation/beam_search.py); windows are
cut from its codes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...codec.tokens import AudioTokens
from ...core.audio import read_audio
from ...lm.audio_input import SILENCE
from ...lm.generation.output import Finish
from ..merge import join_texts
from .base import AudioLMPipeline
from .beams import VIEWS
from .options import DEFAULT, GenerationOptions

WINDOW_SECONDS, OVERLAP_SECONDS = 20.0, 3.0
_ROOM_SHARE = 0.5  # of the model's positions for a window; the rest is for its text
_WORDS_PER_SECOND = 4.0  # that an overlap can hold, at a quick pace


@dataclass(frozen=True)
class Window:
    """A part of an audio and what was heard in it."""

    start: float  # seconds
    stop: float
    text: str
    confidence: float  # geometric mean probability of what was written
    finish: Finish | None  # None: silent, nothing was asked


@dataclass(frozen=True)
class Transcript:
    """An audio as text."""

    text: str
    windows: tuple[Window, ...]
    duration: float  # seconds of audio
    seconds: float  # of computing

    @property
    def rtf(self) -> float:
        """Seconds of computing per second of audio."""
        return self.seconds / self.duration

    @property
    def silent(self) -> bool:
        """Whether there was nothing to hear."""
        return all(window.finish is None for window in self.windows)

    @property
    def confidence(self) -> float:
        """Of the least certain window that is not silent; 1 if all are."""
        return min((w.confidence for w in self.windows if w.finish is not None), default=1.0)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is known to be wrong."""
        return tuple(
            f"{window.start:.1f} to {window.stop:.1f} s: the text did not end ({window.finish})"
            for window in self.windows
            if window.finish not in ("end", None)
        )


@dataclass(frozen=True)
class _Audio:
    """An audio on its way."""

    tokens: AudioTokens
    others: tuple[AudioTokens, ...]  # the same in other views
    spans: tuple[tuple[int, int], ...]  # frames of the windows
    silent: tuple[bool, ...]  # of each window
    seconds: float  # of computing


@dataclass(frozen=True)
class SpeechRecognizer:
    """Writes down what it hears."""

    bundle: AudioLMPipeline
    controls: GenerationOptions = DEFAULT

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> SpeechRecognizer:
        """Load a bundle's folder; options as of :meth:`Bundle.from_pretrained`."""
        return cls(AudioLMPipeline.from_pretrained(folder, **options))

    def transcribe(self, audio: Any, **options: Any) -> Transcript:
        """Transcribe one audio; see :meth:`transcribe_all`."""
        return self.transcribe_all([audio], **options)[0]

    def transcribe_all(
        self,
        audio: Sequence[Any],
        *,
        window_seconds: float = WINDOW_SECONDS,
        overlap_seconds: float = OVERLAP_SECONDS,
        seed: int = 0,
        progress: Callable[[int], Any] | None = None,
    ) -> list[Transcript]:
        """Transcribe audio.

        Args:
            audio: files, samples or tokens, of any length.
            window_seconds: heard at once; less if the model has no room for it.
            overlap_seconds: that a window has in common with the next.
            seed: of sampling, where the controls ask for any.
            progress: told how many windows are done.

        Raises:
            ValueError: for audio that cannot be used, and an overlap that is no part of a window.
        """
        if not 0 <= overlap_seconds < window_seconds:
            raise ValueError(
                f"expected 0 <= overlap_seconds < window_seconds; came {overlap_seconds} and "
                f"{window_seconds}"
            )
        ready = [self._prepare(one, window_seconds, overlap_seconds, "asr") for one in audio]
        cuts = {
            (number, place): self._cut(one, place)
            for number, one in enumerate(ready)
            for place in range(len(one.spans))
            if not one.silent[place]
        }
        seeds = {where: seed + number for number, where in enumerate(cuts)}
        heard: dict[tuple[int, int], Any] = {}
        for count in sorted({len(views) for views in cuts.values()}):  # in a batch all have as many
            places = [where for where, views in cuts.items() if len(views) == count]
            made = self.bundle.run(
                "asr",
                [{"audio": cuts[where][0], VIEWS: cuts[where][1:]} for where in places],
                seeds=[seeds[where] for where in places],
                seconds=[cuts[where][0].duration for where in places],
                controls=self.controls,
                progress=_after(len(heard), progress),
            )
            heard |= dict(zip(places, made, strict=True))
        return [self._transcript(number, one, heard) for number, one in enumerate(ready)]

    def describe(self, audio: Any, *, music: bool = False, seed: int = 0) -> Transcript:
        """Describe a sound, or music, by what is heard in its beginning (at most one window)."""
        return self.describe_all([audio], music=music, seed=seed)[0]

    def describe_all(
        self, audio: Sequence[Any], *, music: bool = False, seed: int = 0
    ) -> list[Transcript]:
        """The same for many, all with the same seed."""
        task = "music_caption" if music else "audio_caption"
        ready = [_only_first(self._prepare(one, WINDOW_SECONDS, 0.0, task)) for one in audio]
        numbers = [number for number, one in enumerate(ready) if not one.silent[0]]
        made = self.bundle.run(
            task,
            [{"audio": self.bundle.cut(ready[n].tokens, *ready[n].spans[0])} for n in numbers],
            seeds=[seed] * len(numbers),
            controls=self.controls,
        )
        heard = {(number, 0): one for number, one in zip(numbers, made, strict=True)}
        return [self._transcript(number, one, heard) for number, one in enumerate(ready)]

    # ------------------------------------------------------------------ inner works

    def _prepare(
        self, audio: Any, window_seconds: float, overlap_seconds: float, task: str
    ) -> _Audio:
        start = time.perf_counter()
        wav = None
        if isinstance(audio, str | os.PathLike | bytes):
            wav = read_audio(audio, self.bundle.sample_rate)
            audio = wav
        tokens, *others = self.bundle.views(audio, task, controls=self.controls)
        w = tokens.frames_per_query
        rate = self.bundle.frame_rate(w)
        most = min(window_seconds, self.bundle.seconds_of_room(_ROOM_SHARE, w))
        window = max(1, int(most * rate))
        overlap = min(int(overlap_seconds * rate), window // 2)
        spans = _spans(tokens.codes.shape[1], window, overlap)
        samples = self.bundle.codec.config.hop_length * w
        silent = tuple(
            wav is not None and _is_silent(wav[first * samples : last * samples])
            for first, last in spans
        )
        return _Audio(tokens, tuple(others), spans, silent, time.perf_counter() - start)

    def _cut(self, audio: _Audio, place: int) -> list[AudioTokens]:
        """A window in all views; they may go on a little longer at the end."""
        start, stop = audio.spans[place]
        last = place == len(audio.spans) - 1
        return [
            self.bundle.cut(audio.tokens, start, stop),
            *(self.bundle.cut(one, start, stop + last) for one in audio.others),
        ]

    def _transcript(
        self, number: int, audio: _Audio, heard: dict[tuple[int, int], Any]
    ) -> Transcript:
        rate = self.bundle.frame_rate(audio.tokens.frames_per_query)
        windows = []
        seconds, text, last = audio.seconds, "", 0
        for place, (start, stop) in enumerate(audio.spans):
            made = heard.get((number, place))
            words = "" if made is None else made.text
            seconds += 0.0 if made is None else made.seconds
            overlap = math.ceil(max(0, last - start) / rate * _WORDS_PER_SECOND)
            text, last = join_texts(text, words, most_overlap=overlap), stop
            windows.append(
                Window(
                    start / rate,
                    min(stop / rate, audio.tokens.duration),
                    words,
                    1.0 if made is None else made.row.confidence,
                    None if made is None else made.row.finish,
                )
            )
        return Transcript(text, tuple(windows), audio.tokens.duration, seconds)


def _only_first(audio: _Audio) -> _Audio:
    return replace(audio, spans=audio.spans[:1], silent=audio.silent[:1])


def _after(done: int, progress: Callable[[int], Any] | None) -> Callable[[int], Any] | None:
    """The same progress, with what was done before."""
    return None if progress is None else lambda count: progress(done + count)


def _is_silent(wav: np.ndarray[Any, Any]) -> bool:
    return not wav.size or float(np.abs(wav).max()) < SILENCE


def _spans(frames: int, window: int, overlap: int) -> tuple[tuple[int, int], ...]:
    """Windows over so many frames, of about the same length, each with some of the one before."""
    if frames <= window:
        return ((0, frames),)
    count = math.ceil((frames - overlap) / (window - overlap))
    starts = np.linspace(0, frames - window, count).round().astype(int).tolist()
    return tuple((start, start + window) for start in starts)
