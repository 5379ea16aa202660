"""Results of the pipelines: generated audio and speech, transcripts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from torch import Tensor

from ...codec.tokens import AudioTokens
from ...core.audio import write_audio
from ...core.report.notebook import card
from ...lm.generation.output import Finish, GeneratedRow
from ..evaluation.diff import Diff
from ..word_times import TimedSentence, TimedWord, sentences


@dataclass(frozen=True)
class TaskOutput:
    """The target that a task generated.

    Attributes:
        row: the output of `AudioLM.generate`.
        tokens: of an audio target, else None.
        text: of a text target, else None.
        seconds: compute time; of a batch, its share.
    """

    row: GeneratedRow
    tokens: AudioTokens | None
    text: str | None
    seconds: float

    @property
    def audio_tokens(self) -> AudioTokens:
        """Tokens of an audio target."""
        assert self.tokens is not None  # every audio target has at least one frame
        return self.tokens

    def _repr_html_(self) -> str:
        """Text and map of the codes, for notebooks; the codec is needed to play them."""
        facts = [f"computed in {self.seconds:.2f} s", f"finish: {self.row.finish}"]
        if self.tokens is None:
            return card(facts=facts, text=self.text)
        codes = self.tokens.codes.cpu().numpy()
        return card(facts=[*self.tokens.facts, *facts], text=self.text, codes=codes)


@dataclass(frozen=True)
class GeneratedAudio:
    """Audio that a pipeline generated.

    Attributes:
        wav: samples `[S]`, float32.
        sample_rate: Hz.
        tokens: the codes of the audio.
        finish: why generation ended; "end" if the model ended it.
        seconds: compute time, of all tries.
        level_dbfs: RMS of the loudest 50 ms of sound or music; None if it was not measured.
        tries: how often it was drawn, because it was nearly silent.
        silent: whether it is nearly silent nevertheless.
    """

    wav: Tensor
    sample_rate: int
    tokens: AudioTokens
    finish: Finish
    seconds: float
    level_dbfs: float | None = field(default=None, kw_only=True)
    tries: int = field(default=1, kw_only=True)
    silent: bool = field(default=False, kw_only=True)

    @property
    def problems(self) -> tuple[str, ...]:
        """Detected problems, as messages."""
        if not self.silent:
            return ()
        return (f"nearly silent ({self.level_dbfs:.0f} dBFS) after {self.tries} tries",)

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.wav.numel() / self.sample_rate

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of computing per second of audio."""
        return self.seconds / self.duration if self.wav.numel() else float("inf")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an audio file in the format of the suffix (.wav .flac .ogg .opus .mp3)."""
        write_audio(path, self.wav, self.sample_rate)

    def _repr_html_(self) -> str:
        """Player, text and map of the codes, for notebooks."""
        return card(
            facts=[*self.tokens.facts, f"computed in {self.seconds:.2f} s (RTF {self.rtf:.2f})"],
            text=getattr(self, "text", None),
            codes=self.tokens.codes.cpu().numpy(),
            wav=self.wav.cpu().numpy(),
            sample_rate=self.sample_rate,
            problems=self.problems,
        )


@dataclass(frozen=True)
class SelfCheckResult:
    """The model's own transcript of speech, compared with the text.

    Attributes:
        transcript: what the model's ASR recognized.
        diff: alignment of the text, in its spoken form, with the transcript.
        confidence: geometric mean probability of the text's ids, given the audio.
        finish: why the transcript ended.
    """

    transcript: str
    diff: Diff
    confidence: float
    finish: Finish

    @property
    def correct(self) -> bool:
        """Whether every word was recognized."""
        return not self.diff.errors


@dataclass(frozen=True)
class SpokenPart:
    """One part of a longer text, about a sentence.

    Attributes:
        text: the part.
        tokens: its audio.
        row: the output of `AudioLM.generate`.
        tries: attempts until this one, at least 1.
        check: result of the self-check, None if there was none.
    """

    text: str
    tokens: AudioTokens
    row: GeneratedRow
    tries: int
    check: SelfCheckResult | None

    @property
    def problems(self) -> tuple[str, ...]:
        """Detected problems, as messages."""
        found = []
        if self.row.finish != "end":
            found.append(f"did not end by itself ({self.row.finish})")
        elif self.row.held_back:
            found.append("tried to end before its minimum length")
        if self.check is not None and not self.check.correct:
            found.append(f"{self.check.diff.errors} word errors in the self-check")
        return tuple(found)


@dataclass(frozen=True)
class Speech(GeneratedAudio):
    """Speech of a text, and its parts in order.

    Attributes:
        text: what is said.
        parts: in order.
        words: the words of the text with their times; None without `timestamps`.
    """

    text: str
    parts: tuple[SpokenPart, ...]
    words: tuple[TimedWord, ...] | None = field(default=None, kw_only=True)

    @property
    def segments(self) -> tuple[TimedSentence, ...] | None:
        """The sentences with their times; None without `timestamps`."""
        return None if self.words is None else tuple(sentences(self.words))

    @property
    def problems(self) -> tuple[str, ...]:
        """Detected problems of all parts, as messages."""
        return tuple(
            f"part {number} ({part.text[:40]!r}): {problem}"
            for number, part in enumerate(self.parts, start=1)
            for problem in part.problems
        )

    @property
    def confidence(self) -> float | None:
        """Lowest confidence of the parts; None without a self-check."""
        return min((part.check.confidence for part in self.parts if part.check), default=None)

    @property
    def diff(self) -> Diff | None:
        """Alignment of the text with its transcript; None without a self-check."""
        diffs = [part.check.diff.words for part in self.parts if part.check is not None]
        return Diff(tuple(word for words in diffs for word in words)) if diffs else None


@dataclass(frozen=True)
class TranscriptWindow:
    """A window of an audio and its text.

    Attributes:
        start: seconds.
        stop: seconds.
        text: of the window.
        confidence: geometric mean probability of the text's ids.
        finish: why the text ended; None if the window is silent and was skipped.
    """

    start: float
    stop: float
    text: str
    confidence: float
    finish: Finish | None


@dataclass(frozen=True)
class Transcript:
    """Text of an audio: a transcript, or a caption, which has one window.

    Attributes:
        text: the joined text of all windows.
        windows: in order.
        duration: seconds of audio.
        seconds: compute time.
        words: the words of the text with their times; None without `timestamps`.
    """

    text: str
    windows: tuple[TranscriptWindow, ...]
    duration: float
    seconds: float
    words: tuple[TimedWord, ...] | None = None

    @property
    def segments(self) -> tuple[TimedSentence, ...] | None:
        """Sentences, or words between long pauses, with times; None without `timestamps`."""
        return None if self.words is None else tuple(sentences(self.words))

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of computing per second of audio."""
        return self.seconds / self.duration

    @property
    def silent(self) -> bool:
        """Whether all windows are silent."""
        return all(window.finish is None for window in self.windows)

    @property
    def confidence(self) -> float:
        """Lowest confidence of the windows that are not silent; 1 if all are."""
        return min((w.confidence for w in self.windows if w.finish is not None), default=1.0)

    @property
    def problems(self) -> tuple[str, ...]:
        """Detected problems, as messages."""
        return tuple(
            f"{window.start:.1f} to {window.stop:.1f} s: the text did not end ({window.finish})"
            for window in self.windows
            if window.finish not in ("end", None)
        )
