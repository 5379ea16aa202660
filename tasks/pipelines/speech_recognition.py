"""SpeechRecognizer: transcripts of audio of any length.

    audio -encode-> tokens -overlapping windows-> texts -joined where they agree-> transcript

An audio is encoded once, or in a few shifted encodings (lm/generation/beam_search.py); windows are
cut from its codes.
"""

from __future__ import annotations

import difflib
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
from ...lm.text.normalize import plain
from ..word_times import TimedWord, in_order
from .arguments import SHIFTED, AdapterNames, adapter_per_request
from .base import AudioLMPipeline, TaskPipeline, as_list
from .options import GenerationOptions
from .outputs import TaskOutput, Transcript, TranscriptWindow
from .word_alignment import TimedWords, align_words, check_timestamps

WINDOW_SECONDS, OVERLAP_SECONDS = 20.0, 3.0
_WINDOW_SHARE = 0.5  # of the model's positions for a window; the rest is for its text
_WORDS_PER_SECOND = 4.0  # upper bound of the words in an overlap: fast speech


@dataclass(frozen=True)
class SpeechRecognizer(TaskPipeline):
    """Transcribes speech.

    Example:
        >>> recognizer = SpeechRecognizer.from_pretrained("checkpoints/mini")  # doctest: +SKIP
        >>> recognizer.transcribe("talk.wav").text  # doctest: +SKIP
    """

    def transcribe(self, audio: Any, **kwargs: Any) -> Transcript:
        """Transcribe one audio; see :meth:`transcribe_all`."""
        return self.transcribe_all([audio], **kwargs)[0]

    def transcribe_all(
        self,
        audio: Sequence[Any],
        *,
        window_seconds: float = WINDOW_SECONDS,
        overlap_seconds: float = OVERLAP_SECONDS,
        seed: int = 0,
        timestamps: bool = False,
        adapter: AdapterNames = None,
        progress: Callable[[int], Any] | None = None,
    ) -> list[Transcript]:
        """Transcribe audio; silent windows are skipped.

        Args:
            audio: paths, samples or tokens, of any length; one path is one audio.
            window_seconds: length of a window; shorter if the model has no room for it.
            overlap_seconds: overlap of neighbouring windows.
            seed: of sampling; the n-th window that is not silent has `seed + n`.
            timestamps: find the times of the words (`words` of the transcripts).
            adapter: name of a loaded adapter for all audio, or for each; None: the active one.
            progress: called with the number of finished windows.

        Raises:
            ValueError: for audio that cannot be used, an overlap not shorter than a window, or
                timestamps by a model that was not trained with CTC.
        """
        if timestamps:
            check_timestamps(self.pipeline)
        if not 0 <= overlap_seconds < window_seconds:
            raise ValueError(
                f"overlap_seconds must be in [0, window_seconds), got {overlap_seconds} and "
                f"window_seconds {window_seconds}"
            )
        audio = as_list(audio)
        encoded = [
            encode_windows(
                self.pipeline, item, "asr", window_seconds, overlap_seconds, self.options
            )
            for item in audio
        ]
        cuts = {
            (number, window): item.cut(self.pipeline, window)
            for number, item in enumerate(encoded)
            for window in range(len(item.spans))
            if not item.silent[window]
        }
        names = adapter_per_request(adapter, len(audio))
        outputs = self._run(cuts, seed, names, progress)
        words = self._words(cuts, outputs, names) if timestamps else None
        places = [[(number, w) for w in range(len(e.spans))] for number, e in enumerate(encoded)]
        return [
            item.transcript(
                self.pipeline,
                [outputs.get(place) for place in own],
                None if words is None else [words.get(place, ()) for place in own],
            )
            for item, own in zip(encoded, places, strict=True)
        ]

    def _words(
        self,
        cuts: dict[tuple[int, int], list[AudioTokens]],
        outputs: dict[tuple[int, int], TaskOutput],
        adapters: Sequence[str | None],
    ) -> dict[tuple[int, int], TimedWords]:
        """Words of windows, with their times in the window."""
        words = align_words(
            self.pipeline,
            [encodings[0] for encodings in cuts.values()],
            [outputs[place].text or "" for place in cuts],
            options=self.options,
            adapter=[adapters[number] for number, _ in cuts],
        )
        return dict(zip(cuts, words, strict=True))

    def _run(
        self,
        cuts: dict[tuple[int, int], list[AudioTokens]],
        seed: int,
        adapters: Sequence[str | None],
        progress: Callable[[int], Any] | None,
    ) -> dict[tuple[int, int], TaskOutput]:
        """Transcribe windows; those of a batch have the same number of encodings."""
        seeds = {place: seed + number for number, place in enumerate(cuts)}
        outputs: dict[tuple[int, int], TaskOutput] = {}
        for count in sorted({len(encodings) for encodings in cuts.values()}):
            places = [place for place, encodings in cuts.items() if len(encodings) == count]
            found = self.pipeline.run(
                "asr",
                [{"audio": cuts[place][0], SHIFTED: cuts[place][1:]} for place in places],
                seeds=[seeds[place] for place in places],
                seconds=[cuts[place][0].duration for place in places],
                options=self.options,
                adapter=[adapters[number] for number, _ in places],
                progress=_after(len(outputs), progress),
            )
            outputs |= dict(zip(places, found, strict=True))
        return outputs


@dataclass(frozen=True)
class WindowedAudio:
    """An encoded audio and its windows.

    Attributes:
        tokens: the audio.
        shifted: its other encodings.
        spans: first and last frame (exclusive) of each window.
        silent: whether each window is silent; tokens, tensors and samples of several channels are
            never taken for silent.
        seconds: compute time.
    """

    tokens: AudioTokens
    shifted: tuple[AudioTokens, ...]
    spans: tuple[tuple[int, int], ...]
    silent: tuple[bool, ...]
    seconds: float

    def first(self, count: int = 1) -> WindowedAudio:
        """The same audio with its first windows only."""
        return replace(self, spans=self.spans[:count], silent=self.silent[:count])

    def cut(self, pipeline: AudioLMPipeline, window: int) -> list[AudioTokens]:
        """A window in all encodings; shifted ones may have one more frame at the end."""
        start, stop = self.spans[window]
        last = window == len(self.spans) - 1
        return [
            pipeline.cut(self.tokens, start, stop),
            *(pipeline.cut(encoding, start, stop + last) for encoding in self.shifted),
        ]

    def overlap_words(self, pipeline: AudioLMPipeline, window: int) -> int:
        """Most words in the overlap of a window with the one before it."""
        if not window:
            return 0
        frames = max(0, self.spans[window - 1][1] - self.spans[window][0])
        rate = pipeline.frame_rate(self.tokens.frames_per_query)
        return math.ceil(frames / rate * _WORDS_PER_SECOND)

    def transcript(
        self,
        pipeline: AudioLMPipeline,
        outputs: Sequence[TaskOutput | None],
        words: Sequence[TimedWords] | None = None,
    ) -> Transcript:
        """Join the texts of the windows.

        Args:
            pipeline: the model.
            outputs: of the windows; None stands for a silent one.
            words: of the windows, with times; None: the transcript has none.
        """
        rate = pipeline.frame_rate(self.tokens.frames_per_query)
        windows = []
        seconds, text = self.seconds, ""
        timed: list[TimedWord] = []
        for number, ((start, stop), output) in enumerate(zip(self.spans, outputs, strict=True)):
            said = "" if output is None else output.text or ""
            seconds += 0.0 if output is None else output.seconds
            overlap = self.overlap_words(pipeline, number)
            text = join_texts(text, said, max_overlap=overlap)
            if words is not None:
                own = [word.shifted(start / rate) for word in words[number]]
                before = [word.text for word in timed]
                left, right = join_places(before, [word.text for word in own], overlap)
                timed = timed[:left] + own[right:]
            windows.append(
                TranscriptWindow(
                    start / rate,
                    min(stop / rate, self.tokens.duration),
                    said,
                    1.0 if output is None else output.row.confidence,
                    None if output is None else output.row.finish,
                )
            )
        duration = self.tokens.duration
        ordered = None if words is None else in_order(timed, duration)
        return Transcript(text, tuple(windows), duration, seconds, ordered)


def encode_windows(
    pipeline: AudioLMPipeline,
    audio: Any,
    task: str,
    window_seconds: float,
    overlap_seconds: float,
    options: GenerationOptions,
) -> WindowedAudio:
    """Encode audio and lay overlapping windows over it.

    Args:
        pipeline: its codec encodes, its model limits the length of a window.
        audio: a path, bytes, samples at the rate of the codec, or tokens.
        task: decides the number of encodings.
        window_seconds: longest window.
        overlap_seconds: of neighbouring windows, at most half a window.
        options: of generation.

    Raises:
        ValueError: for audio that cannot be used.
    """
    start = time.perf_counter()
    wav = None
    if isinstance(audio, str | os.PathLike | bytes):
        wav = read_audio(audio, pipeline.sample_rate)
        audio = wav
    elif isinstance(audio, np.ndarray) and audio.ndim == 1:
        wav = audio
    tokens, *shifted = pipeline.shifted_encodings(audio, task, options=options)
    w = tokens.frames_per_query
    rate = pipeline.frame_rate(w)
    longest = min(window_seconds, pipeline.capacity_seconds(_WINDOW_SHARE, w))
    window = max(1, int(longest * rate))
    overlap = min(int(overlap_seconds * rate), window // 2)
    spans = window_spans(tokens.codes.shape[1], window, overlap)
    samples = pipeline.codec.config.hop_length * w
    silent = tuple(
        wav is not None and _is_silent(wav[first * samples : last * samples])
        for first, last in spans
    )
    return WindowedAudio(tokens, tuple(shifted), spans, silent, time.perf_counter() - start)


def window_spans(frames: int, window: int, overlap: int) -> tuple[tuple[int, int], ...]:
    """Windows of one length over `frames`, evenly spaced, overlapping by at least `overlap`."""
    if frames <= window:
        return ((0, frames),)
    count = math.ceil((frames - overlap) / (window - overlap))
    starts = np.linspace(0, frames - window, count).round().astype(int).tolist()
    return tuple((start, start + window) for start in starts)


def join_texts(left: str, right: str, *, max_overlap: int) -> str:
    """Join the transcripts of two overlapping windows.

    They are joined at the longest run of words that the end of the left and the beginning of the
    right one have in common. Before it the words of the left text are kept, after it those of the
    right: words at the edge of a window, often cut, are dropped. Without a common word both texts
    are kept whole, so that no word is lost.

    Args:
        left: transcript of the first window.
        right: transcript of the second window.
        max_overlap: number of words that the overlap can hold.

    Example:
        >>> join_texts("the cat sat on the ma", "sad on the mat and slept", max_overlap=4)
        'the cat sat on the mat and slept'
    """
    first, second = left.split(), right.split()
    stop, begin = join_places(first, second, max_overlap)
    return " ".join(first[:stop] + second[begin:])


def join_places(left: Sequence[str], right: Sequence[str], max_overlap: int) -> tuple[int, int]:
    """Where :func:`join_texts` joins: words of the left text to keep, and of the right to drop."""
    if not left or not right or max_overlap < 1:
        return len(left), 0
    begin = max(0, len(left) - max_overlap)
    tail = [plain(word) for word in left[begin:]]
    head = [plain(word) for word in right[:max_overlap]]
    match = difflib.SequenceMatcher(None, tail, head, autojunk=False).find_longest_match()
    if not match.size or not any(tail[match.a : match.a + match.size]):
        return len(left), 0
    return begin + match.a + match.size, match.b + match.size


def _after(done: int, progress: Callable[[int], Any] | None) -> Callable[[int], Any] | None:
    """The same callback, with `done` added to its number."""
    return None if progress is None else lambda count: progress(done + count)


def _is_silent(wav: np.ndarray[Any, Any]) -> bool:
    return not wav.size or float(np.abs(wav).max()) < SILENCE
