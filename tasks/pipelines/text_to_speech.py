"""Speaker: texts of any length to speech, in one voice, checked if wanted.

    text -split-> parts -tts, each after the one before-> codes -[heard, again]-> waveform

Several texts go through together: all their first parts in one batch, then all second ones.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...codec.tokens import AudioTokens
from ...lm.generation.output import Finish
from ...lm.generation.streaming import AudioChunk, stream
from ...lm.text.sentences import split_text
from ..base import get_task
from .base import BEGIN, BEGIN_TEXT, AudioLMPipeline, Fields, TaskOutput
from .options import DEFAULT, GenerationOptions
from .outputs import Speech, SpokenPart
from .self_check import SelfCheckResult, self_check
from .voice import Voice, load_voice

TRIES = 3  # of a part that is checked
_LEAST_CHARS = 20
_ROOM_SHARE = 0.25  # of the model's positions for one part, and as much for what it goes on from
_CONTEXT_SECONDS = 15.0  # that a part goes on from: models are trained on clips not much longer


@dataclass
class _Work:
    """A text on its way."""

    text: str
    pieces: list[str]
    voice: Voice | None
    seed: int
    parts: dict[int, SpokenPart] = field(default_factory=dict)  # by place
    seconds: float = 0.0

    def ready(self, carry: bool) -> list[tuple[_Work, int]]:
        """Parts that can be said now: the next, or all where none goes on from another."""
        left = [(self, place) for place in range(len(self.pieces)) if place not in self.parts]
        return left[:1] if carry else left


@dataclass(frozen=True)
class TextToSpeech:
    """Speaks."""

    bundle: AudioLMPipeline
    controls: GenerationOptions = DEFAULT

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> TextToSpeech:
        """Load a bundle's folder; options as of :meth:`Bundle.from_pretrained`."""
        return cls(AudioLMPipeline.from_pretrained(folder, **options))

    def voice(self, audio: Any, text: str | None = None, *, apart: bool = False) -> Voice:
        """A voice to speak in, of a short reference and its transcript; see :class:`Voice`."""
        return load_voice(self.bundle, audio, text, apart=apart, controls=self.controls)

    def speak(self, text: str, **options: Any) -> Speech:
        """Speak one text; see :meth:`speak_all`."""
        return self.speak_all([text], **options)[0]

    def speak_all(
        self,
        texts: Sequence[str],
        *,
        voice: Voice | Sequence[Voice | None] | None = None,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        check: bool = False,
        tries: int = TRIES,
        carry: bool = True,
        progress: Callable[[int], Any] | None = None,
    ) -> list[Speech]:
        """Speak texts.

        Args:
            texts: of any length.
            voice: one for all, or one for each; None leaves it to the model.
            seed: text i has `seed + i`: the same seed says the same, alone or among others.
            seeds: one for each text, instead.
            check: read every part back, and speak it again where words are wrong.
            tries: at most so many for each part, if checked.
            carry: each part goes on from the codes and the text of the one before it (as far as
                the model has room), so that the voice stays.
            progress: told how many more parts are done.

        Raises:
            ValueError: for an empty text, one of which nothing can be said, a voice of another
                codec or rate.
        """
        if tries < 1:
            raise ValueError(f"tries must be at least 1; came {tries}")
        voices = [voice] * len(texts) if isinstance(voice, Voice | None) else list(voice)
        seeds = [seed + number for number in range(len(texts))] if seeds is None else list(seeds)
        work = [
            _Work(text, self.split(text, one), one, number)
            for text, one, number in zip(texts, voices, seeds, strict=True)
        ]
        while items := [item for one in work for item in one.ready(carry)]:
            self._say(items, carry, tries if check else 1, check)
            if progress is not None:
                progress(len(items))
        return [self._speech(one) for one in work]

    def split(self, text: str, voice: Voice | None = None) -> list[str]:
        """The parts of a text that are spoken one by one.

        Raises:
            ValueError: if nothing of the text can be said.
        """
        w = self.bundle.window(self.controls, voice.tokens if voice else None)
        room = self.bundle.seconds_of_room(_ROOM_SHARE, w)
        chars = int(room / get_task("tts").pace.usual)
        most = min(self.controls.max_chars, max(_LEAST_CHARS, chars))
        pieces = split_text(text, max_chars=most, min_chars=min(30, most // 2))
        if sayable := [piece for piece in pieces if self._sayable(piece)]:
            return sayable
        self.bundle.texts.form_of(text, spoken=True, language=self.controls.language)  # says why
        raise ValueError(f"nothing of {text[:40]!r} can be said")

    def stream(
        self,
        text: str,
        *,
        voice: Voice | None = None,
        seed: int = 0,
        carry: bool = True,
        chunk_frames: int = 1,
    ) -> Iterator[AudioChunk]:
        """Speak one text and hand its sound out while it is made, part after part.

        Says what :meth:`speak` says with the same seed. A part is decoded after what it goes on
        from, so its seam may sound a little different.
        """
        work = _Work(text, self.split(text, voice), voice, seed)
        for place, piece in enumerate(work.pieces):
            fields = self._fields(work, place, carry)
            arguments = self.bundle.prompt("tts", [fields], controls=self.controls)
            seeds = [_seed(work.seed, place, 0)]
            chunks = stream(
                self.bundle.lm, self.bundle.codec, **arguments, seeds=seeds,
                chunk_frames=chunk_frames,
            )  # fmt: skip
            known = 0 if fields.get(BEGIN) is None else fields[BEGIN].codes.shape[1]
            for chunk in chunks:
                chunk = _new_frames(chunk, known)
                if chunk.result is not None:
                    made = self.bundle.made(chunk.result, 0.0, new_only=bool(known))
                    tokens = _tokens(made)
                    work.parts[place] = SpokenPart(piece, tokens, made.row, 1, None)
                yield chunk

    # ------------------------------------------------------------------ inner works

    def _sayable(self, piece: str) -> bool:
        try:
            self.bundle.texts.ids(piece, spoken=True, said=True, language=self.controls.language)
        except ValueError:
            return False
        return True

    def _say(self, items: list[tuple[_Work, int]], carry: bool, tries: int, check: bool) -> None:
        """Say parts of texts; again, while words are wrong and tries are left."""
        waiting = items
        for attempt in range(tries):
            start = time.perf_counter()
            rows = [self._fields(work, place, carry) for work, place in waiting]
            seeds = [_seed(work.seed, place, attempt) for work, place in waiting]
            made = self.bundle.run("tts", rows, seeds=seeds, controls=self.controls)
            heard = self._reread(waiting, made) if check else [None] * len(made)
            share = (time.perf_counter() - start) / len(waiting)
            for (work, place), one, hearing in zip(waiting, made, heard, strict=True):
                work.seconds += share
                part = SpokenPart(work.pieces[place], _tokens(one), one.row, attempt + 1, hearing)
                if place not in work.parts or _badness(part) < _badness(work.parts[place]):
                    work.parts[place] = part
            waiting = [
                (work, place)
                for work, place in waiting
                if _badness(work.parts[place])[:2] != (False, 0)
            ]
            if not waiting:
                break

    def _reread(
        self, items: list[tuple[_Work, int]], made: list[TaskOutput]
    ) -> Sequence[SelfCheckResult]:
        texts = [work.pieces[place] for work, place in items]
        return self_check(
            self.bundle, [_tokens(one) for one in made], texts, controls=self.controls
        )

    def _fields(self, work: _Work, place: int, carry: bool) -> Fields:
        """What a part goes on from: the voice, then the part before it.

        It is given as the beginning of the very audio that is made, with its words before the new
        ones: every model of this task can go on, also one that has never seen a voice prompt.
        """
        text, voice = work.pieces[place], work.voice
        if voice is not None and (voice.text is None or voice.apart):
            return {"voice_text": voice.text, "voice": voice.tokens, "text": text}
        context = [] if voice is None else [(voice.text, voice.tokens)]
        if carry and place:
            last = work.parts[place - 1]
            most = min(
                _CONTEXT_SECONDS,
                self.bundle.seconds_of_room(_ROOM_SHARE, last.tokens.frames_per_query),
            )
            seconds = sum(tokens.duration for _, tokens in context) + last.tokens.duration
            if seconds <= most:
                context.append((last.text, last.tokens))
        if not context:
            return {"text": text}
        said = " ".join(words for words, _ in context if words is not None)
        return {
            BEGIN: self.bundle.join([tokens for _, tokens in context]),
            BEGIN_TEXT: said,
            "text": text,
        }

    def _speech(self, work: _Work) -> Speech:
        start = time.perf_counter()
        parts = tuple(part for _, part in sorted(work.parts.items()))
        tokens = self.bundle.join([part.tokens for part in parts])
        wav = self.bundle.decode(tokens)
        seconds = work.seconds + time.perf_counter() - start
        finish: Finish = next((p.row.finish for p in parts if p.row.finish != "end"), "end")
        return Speech(wav, self.bundle.sample_rate, tokens, finish, seconds, work.text, parts)


def _new_frames(chunk: AudioChunk, known: int) -> AudioChunk:
    """A chunk without frames that were given: patterns with delays say the last of them again."""
    old = max(0, known - chunk.start)
    if not old or not chunk.codes.shape[1]:
        return chunk
    old = min(old, chunk.codes.shape[1])
    samples = chunk.waveform.shape[-1] // chunk.codes.shape[1] * old
    return dataclasses.replace(
        chunk,
        codes=chunk.codes[:, old:],
        waveform=chunk.waveform[..., samples:],
        start=chunk.start + old,
    )


def _badness(part: SpokenPart) -> tuple[bool, int, float]:
    """Less is better: whole, then with fewer wrong words, then more certain."""
    heard = part.reread
    errors = 0 if heard is None else heard.diff.errors
    return part.row.finish != "end", errors, 0.0 if heard is None else -heard.confidence


def _tokens(made: TaskOutput) -> AudioTokens:
    assert made.tokens is not None  # at least one frame is asked for
    return made.tokens


def _seed(seed: int, part: int, attempt: int) -> int:
    """The caller's seed for the first try of the first part; others follow from it."""
    if not part and not attempt:
        return seed
    state = np.random.SeedSequence([seed % 2**63, part, attempt]).generate_state(2, np.uint32)
    return int(state[0]) << 31 | int(state[1]) >> 1
