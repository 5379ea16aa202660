"""Maker: sound and music from descriptions, and audio that goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .bundle import Bundle, Made
from .controls import DEFAULT, Controls
from .sound import Sound


@dataclass(frozen=True)
class Maker:
    """Makes sound."""

    bundle: Bundle
    controls: Controls = DEFAULT

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> Maker:
        """Load a bundle's folder; options as of :meth:`Bundle.from_pretrained`."""
        return cls(Bundle.from_pretrained(folder, **options))

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
        """Audio of any task, for many prompts; `seconds` for all, or one for each."""
        made = self.bundle.run(task, rows, seeds=seeds, seconds=seconds, controls=self.controls)
        return [self._sound(one) for one in made]

    def _sound(self, made: Made) -> Sound:
        assert made.tokens is not None  # audio of at least one frame
        start = time.perf_counter()
        wav = self.bundle.decode(made.tokens)
        seconds = made.seconds + time.perf_counter() - start
        return Sound(wav, self.bundle.sample_rate, made.tokens, made.row.finish, seconds)
