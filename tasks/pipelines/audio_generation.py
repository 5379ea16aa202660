"""Maker: sound and music from descriptions, and audio that goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..evaluation.likelihood import likelihoods
from .base import AudioLMPipeline, TaskOutput
from .options import DEFAULT, GenerationOptions
from .outputs import Sound

# What hears whether a description fits what was made of it.
_HEARS = {"text_to_audio": "audio_caption", "text_to_music": "music_caption"}
_NEXT_SEED = 1_000_003  # from one candidate to the next: far from the seeds of other prompts


@dataclass(frozen=True)
class AudioGenerator:
    """Makes sound."""

    bundle: AudioLMPipeline
    controls: GenerationOptions = DEFAULT

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> AudioGenerator:
        """Load a bundle's folder; options as of :meth:`Bundle.from_pretrained`."""
        return cls(AudioLMPipeline.from_pretrained(folder, **options))

    def sound(self, prompt: str, *, seconds: float | None = None, seed: int = 0) -> Sound:
        """A sound by its description.

        Args:
            prompt: "a dog barks twice".
            seconds: at most; the model may end before.
            seed: same seed, same sound.
        """
        return self.make("text_to_audio", [{"text": prompt}], seconds=seconds, seeds=[seed])[0]

    def music(self, prompt: str, *, seconds: float | None = None, seed: int = 0) -> Sound:
        """Music by its description; arguments as of :meth:`sound`."""
        return self.make("text_to_music", [{"text": prompt}], seconds=seconds, seeds=[seed])[0]

    def go_on(self, audio: Any, *, seconds: float | None = None, seed: int = 0) -> Sound:
        """An audio (file, samples, tokens) and how it goes on.

        Args:
            audio: the beginning; it is part of the result, as the codec says it.
            seconds: at most so much more.
            seed: same seed, same sound.
        """
        start = time.perf_counter()
        tokens = self.bundle.tokens(audio, controls=self.controls)
        most = self.bundle.seconds_of_room(0.75, tokens.frames_per_query)
        if tokens.duration > most:
            raise ValueError(
                f"the audio has {tokens.duration:.1f} s, and this model has room for {most:.1f} s "
                f"to go on from: cut its beginning off"
            )
        encoding = time.perf_counter() - start
        rows = [{"audio": tokens}]
        (sound,) = self.make("continuation", rows, seconds=seconds, seeds=[seed])
        return Sound(
            sound.wav, sound.sample_rate, sound.tokens, sound.finish, sound.seconds + encoding
        )

    def make(
        self,
        task: str,
        rows: Sequence[dict[str, Any]],
        *,
        seconds: float | Sequence[float | None] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[Sound]:
        """Audio of any task, for many prompts; `seconds` for all, or one for each.

        With `best_of` in the controls, sounds and music are made so often for each prompt, first
        with its own seed, and the one is kept whose description the model finds likeliest.
        """
        seeds = list(range(len(rows))) if seeds is None else list(seeds)
        lengths = list(seconds) if isinstance(seconds, Sequence) else [seconds] * len(rows)
        many = self.controls.best_of if task in _HEARS else 1
        made = self.bundle.run(
            task,
            [row for row in rows for _ in range(many)],
            seeds=[(seed + k * _NEXT_SEED) % 2**31 for seed in seeds for k in range(many)],
            seconds=[length for length in lengths for _ in range(many)],
            controls=self.controls,
        )
        if many > 1:
            texts = [row["text"] for row in rows]
            made = self._best(made, texts, _HEARS[task])
        return [self._sound(one) for one in made]

    def _best(
        self, made: Sequence[TaskOutput], texts: Sequence[str], task: str
    ) -> list[TaskOutput]:
        """Of the candidates for each text, one after another, the one that it describes best."""
        start = time.perf_counter()
        many = self.controls.best_of
        tokens = [one.tokens for one in made if one.tokens is not None]
        if self.controls.check_by == "sound":
            tokens = [self.bundle.heard(one) for one in tokens]
        wanted = [text for text in texts for _ in range(many)]
        size = self.controls.batch_size
        fits = likelihoods(self.bundle, tokens, wanted, task, batch_size=size)
        hearing = (time.perf_counter() - start) / len(texts)
        best = []
        for first in range(0, len(made), many):
            candidates = range(first, first + many)
            chosen = max(candidates, key=lambda number: fits[number].log_probability)
            seconds = hearing + sum(made[number].seconds for number in candidates)
            best.append(replace(made[chosen], seconds=seconds))
        return best

    def _sound(self, made: TaskOutput) -> Sound:
        assert made.tokens is not None  # audio of at least one frame
        start = time.perf_counter()
        wav = self.bundle.decode(made.tokens)
        seconds = made.seconds + time.perf_counter() - start
        return Sound(wav, self.bundle.sample_rate, made.tokens, made.row.finish, seconds)
