"""TextToSpeech: speech of texts of any length, in a given voice, with an optional self-check.

    text -split-> parts -generate, each after the previous one-> tokens -[self-check]-> waveform

Several texts are processed together: their first parts in one batch, then their second parts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.audio import AudioError
from ...lm.generation.output import Finish
from ...lm.generation.streaming import AudioChunk, stream
from ...lm.text.normalize import NothingToSay
from ...lm.text.sentences import split_text
from ...lm.voices import check_voice
from ..base import get_task
from .arguments import (
    PREFIX,
    AdapterNames,
    adapter_per_request,
    check_one_per_request,
    in_adapter_groups,
)
from .base import TaskPipeline, as_list
from .outputs import SelfCheckResult, Speech, SpokenPart, TaskOutput
from .self_check import self_check
from .speech_job import PART_SHARE, SpeechJob, Voice
from .word_alignment import check_timestamps, speech_words

TRIES = 3  # attempts for a part with a self-check
_MIN_CHARS = 20
_MAX_VOICE_SECONDS = 30.0
_VOICE_SHARE = 0.4  # of the model's positions for a voice reference


@dataclass(frozen=True)
class TextToSpeech(TaskPipeline):
    """Speaks texts.

    Example:
        >>> tts = TextToSpeech.from_pretrained("checkpoints/mini")  # doctest: +SKIP
        >>> tts.speak("Good morning!", check=True).save("morning.wav")  # doctest: +SKIP
    """

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the voices of the model; the first one is the default."""
        return tuple(self.pipeline.lm.config.voices)

    def voice(self, audio: Any, text: str | None = None, *, apart: bool = False) -> Voice:
        """Make a voice of a reference recording.

        Args:
            audio: a path, samples or tokens; 3 to 10 s are good, at most 30 s are accepted.
            text: transcript of the recording; makes the voice much closer.
            apart: see :class:`Voice`.

        Raises:
            ValueError: for audio that is corrupt, silent, shorter than 0.3 s or too long, tokens of
                another codec, a text that cannot be spoken, or a model that does not imitate
                recordings (`supports_cloning` of its configuration).
        """
        try:
            tokens = self.pipeline.tokens(audio, options=self.options, voice=True)
        except AudioError as error:
            raise ValueError(f"the voice reference cannot be used: {error}") from error
        room = self.pipeline.capacity_seconds(_VOICE_SHARE, tokens.frames_per_query)
        longest = min(_MAX_VOICE_SECONDS, room)
        if tokens.duration > longest:
            raise ValueError(
                f"the voice reference has {tokens.duration:.1f} s, at most {longest:.1f} s are "
                f"expected: cut it"
            )
        if text is not None:  # raises here rather than in the middle of a batch
            self.pipeline.text_encoder.apply_form(
                text, transcript=True, language=self.options.language
            )
        return Voice(tokens, text, apart)

    def speak(self, text: str, **kwargs: Any) -> Speech:
        """Speak one text; see :meth:`speak_all`."""
        return self.speak_all([text], **kwargs)[0]

    def speak_all(
        self,
        texts: str | Sequence[str],
        *,
        voice: str | Voice | Sequence[str | Voice | None] | None = None,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        check: bool = False,
        tries: int = TRIES,
        carry: bool = True,
        timestamps: bool = False,
        adapter: AdapterNames = None,
        progress: Callable[[int], Any] | None = None,
    ) -> list[Speech]:
        """Speak texts.

        Args:
            texts: of any length; a string is one text.
            voice: a name of :attr:`voices` or a voice reference, for all texts or for each; None is
                the default voice. A model without voices chooses one for each text.
            seed: text i is sampled with `seed + i`; its result does not depend on other texts.
            seeds: instead, a seed for each text.
            check: transcribe every part with the model's ASR, and generate it again with another
                seed while words are wrong.
            tries: most attempts for each part with `check`.
            carry: let each part continue the codes and text of the previous one, as far as the
                model has room, so that the voice stays the same.
            timestamps: find the times of the words (`words` of the speech).
            adapter: name of a loaded adapter for all texts, or for each; None: the active one.
            progress: called with the number of further finished parts.

        Raises:
            ValueError: for a text that is empty or cannot be read in its language, a language that
                the model does not speak, a voice that it does not have, or one of another codec or
                frame rate; or for timestamps by a model that was not trained with CTC.
        """
        if timestamps:
            check_timestamps(self.pipeline)
        if tries < 1:
            raise ValueError(f"tries must be at least 1, got {tries}")
        texts = as_list(texts)
        voices = [voice] * len(texts) if isinstance(voice, str | Voice | None) else list(voice)
        seeds = [seed + number for number in range(len(texts))] if seeds is None else list(seeds)
        check_one_per_request("voice", voices, len(texts))
        check_one_per_request("seeds", seeds, len(texts))
        names = adapter_per_request(adapter, len(texts))
        jobs = [
            self.job(text, voice_, seed_, name)
            for text, voice_, seed_, name in zip(texts, voices, seeds, names, strict=True)
        ]
        while parts := [part for job in jobs for part in job.ready(carry)]:
            self._generate(parts, carry, tries if check else 1, check)
            if progress is not None:
                progress(len(parts))
        speeches = [self._speech(job) for job in jobs]
        return self._with_words(speeches, names) if timestamps else speeches

    def split(self, text: str, voice: str | Voice | None = None) -> list[str]:
        """Split a text into the parts that are generated one by one.

        Parts without a word are left out.

        Raises:
            ValueError: if the text is empty, or any part of it cannot be spoken.
        """
        if not isinstance(text, str):
            raise ValueError(f"a text must be a string, got {text!r:.80}")
        self.pipeline.text_encoder.check_language(self.options.language)
        tokens = voice.tokens if isinstance(voice, Voice) else None
        w = self.pipeline.frames_per_query(self.options, tokens)
        room = self.pipeline.capacity_seconds(PART_SHARE, w)
        chars = int(room / get_task("tts").pace.usual)
        longest = min(self.options.max_chars, max(_MIN_CHARS, chars))
        pieces = split_text(text, max_chars=longest, min_chars=min(30, longest // 2))
        if speakable := [piece for piece in pieces if self._speakable(piece)]:
            return speakable
        raise NothingToSay(
            f"nothing of {text[:40]!r} can be said" if text.strip() else "the text is empty"
        )

    def stream(
        self,
        text: str,
        *,
        voice: str | Voice | None = None,
        seed: int = 0,
        carry: bool = True,
        adapter: str | None = None,
        chunk_frames: int = 1,
    ) -> Iterator[AudioChunk]:
        """Speak one text and yield its audio while it is generated.

        The codes are those of :meth:`speak` with the same seed. A part is decoded after its
        context, so the waveform may differ slightly where parts meet.

        Args:
            text: of any length.
            voice: as in :meth:`speak_all`.
            seed: of sampling.
            carry: as in :meth:`speak_all`.
            adapter: name of a loaded adapter; None: the active one.
            chunk_frames: frames of codes in a chunk.
        """
        job = self.job(text, voice, seed, adapter)
        for number in range(len(job.pieces)):
            fields = job.fields(self.pipeline, number, carry)
            arguments = self.pipeline.prompt("tts", [fields], options=self.options)
            chunks = stream(
                self.pipeline.lm,
                self.pipeline.codec,
                **arguments,
                seeds=[job.seed_of(number)],
                adapter_names=adapter,
                chunk_frames=chunk_frames,
            )
            prefix_frames = 0 if fields.get(PREFIX) is None else fields[PREFIX].codes.shape[1]
            for chunk in chunks:
                chunk = chunk.without_prefix(prefix_frames)
                if chunk.result is not None:
                    output = self.pipeline.to_output(
                        chunk.result, 0.0, without_prefix=bool(prefix_frames)
                    )
                    job.add(number, output)
                yield chunk

    def job(
        self, text: str, voice: str | Voice | None = None, seed: int = 0, adapter: str | None = None
    ) -> SpeechJob:
        """Split a text into the parts of a job that generates them; arguments as of `stream`.

        Raises:
            ValueError: as :meth:`speak_all`.
        """
        if isinstance(voice, str):
            check_voice(self.pipeline.lm.config, voice)
        pieces = self.split(text, voice)
        if isinstance(voice, Voice):
            return SpeechJob(text, pieces, voice, "", seed, adapter)
        return SpeechJob(text, pieces, None, voice, seed, adapter)

    # ------------------------------------------------------------------ internals

    def _speakable(self, piece: str) -> bool:
        encoder = self.pipeline.text_encoder
        try:
            encoder.encode(piece, transcript=True, phonemize=True, language=self.options.language)
        except NothingToSay:
            return False
        return True

    def _generate(
        self, parts: list[tuple[SpeechJob, int]], carry: bool, tries: int, check: bool
    ) -> None:
        """Generate parts; again while the self-check finds errors and tries are left."""
        waiting = parts
        for attempt in range(tries):
            start = time.perf_counter()
            outputs = self.pipeline.run(
                "tts",
                [job.fields(self.pipeline, number, carry) for job, number in waiting],
                seeds=[job.seed_of(number, attempt) for job, number in waiting],
                options=self.options,
                adapter=[job.adapter for job, _ in waiting],
            )
            checks = self._check(waiting, outputs) if check else [None] * len(outputs)
            share = (time.perf_counter() - start) / len(waiting)
            for (job, number), output, result in zip(waiting, outputs, checks, strict=True):
                job.seconds += share
                part = SpokenPart(
                    job.pieces[number], output.audio_tokens, output.row, attempt + 1, result
                )
                if number not in job.parts or _badness(part) < _badness(job.parts[number]):
                    job.parts[number] = part
            waiting = [
                (job, number)
                for job, number in waiting
                if _badness(job.parts[number])[:2] != (False, 0)
            ]
            if not waiting:
                break

    def _check(
        self, parts: list[tuple[SpeechJob, int]], outputs: list[TaskOutput]
    ) -> Sequence[SelfCheckResult]:
        def checked(own: list[int]) -> list[SelfCheckResult]:
            audio = [outputs[place].audio_tokens for place in own]
            texts = [parts[place][0].pieces[parts[place][1]] for place in own]
            return self_check(self.pipeline, audio, texts, options=self.options)

        adapters = [job.adapter for job, _ in parts]
        return in_adapter_groups(self.pipeline.lm, adapters, checked)

    def _speech(self, job: SpeechJob) -> Speech:
        start = time.perf_counter()
        parts = tuple(part for _, part in sorted(job.parts.items()))
        tokens = self.pipeline.join([part.tokens for part in parts])
        wav = self.pipeline.decode(tokens)
        seconds = job.seconds + time.perf_counter() - start
        finish: Finish = next((p.row.finish for p in parts if p.row.finish != "end"), "end")
        return Speech(wav, self.pipeline.sample_rate, tokens, finish, seconds, job.text, parts)

    def _with_words(self, speeches: list[Speech], names: list[str | None]) -> list[Speech]:
        """Speeches with the times of their words."""
        start = time.perf_counter()
        words = speech_words(self.pipeline, speeches, options=self.options, adapter=names)
        share = (time.perf_counter() - start) / max(1, len(speeches))
        return [
            dataclasses.replace(speech, words=own, seconds=speech.seconds + share)
            for speech, own in zip(speeches, words, strict=True)
        ]


def _badness(part: SpokenPart) -> tuple[bool, int, float]:
    """Sort key, lower is better: unfinished, word errors, negative confidence."""
    result = part.check
    errors = 0 if result is None else result.diff.errors
    return part.row.finish != "end", errors, 0.0 if result is None else -result.confidence
