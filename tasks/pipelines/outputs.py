"""Sound that was made, with all that is known about how."""

from __future__ import annotations

import os
from dataclasses import dataclass

from torch import Tensor

from ...codec.tokens import AudioTokens
from ...core.audio import write_audio
from ...lm.generation.output import Finish, GeneratedRow
from ..evaluation.diff import Diff
from .self_check import SelfCheckResult


@dataclass(frozen=True)
class Sound:
    """Audio of any task."""

    wav: Tensor  # [S] float32
    sample_rate: int  # Hz
    tokens: AudioTokens
    finish: Finish  # why it ended; "end": by itself
    seconds: float  # of computing

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.wav.numel() / self.sample_rate

    @property
    def rtf(self) -> float:
        """Seconds of computing per second of audio."""
        return self.seconds / self.duration if self.wav.numel() else float("inf")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it; the suffix (.wav .flac .ogg .opus .mp3) says how."""
        write_audio(path, self.wav, self.sample_rate)


@dataclass(frozen=True)
class SpokenPart:
    """A sentence or so of a longer text."""

    text: str
    tokens: AudioTokens
    row: GeneratedRow
    tries: int
    reread: SelfCheckResult | None  # where it was checked

    @property
    def problems(self) -> tuple[str, ...]:
        """What is known to be wrong with it, in words."""
        found = []
        if self.row.finish != "end":
            found.append(f"did not end by itself ({self.row.finish})")
        elif self.row.held_back:
            found.append("wanted to end before its least length")
        if self.reread is not None and not self.reread.good:
            found.append(f"{self.reread.diff.errors} words are heard otherwise")
        return tuple(found)


@dataclass(frozen=True)
class Speech(Sound):
    """A text as speech."""

    text: str
    parts: tuple[SpokenPart, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is known to be wrong, by part."""
        return tuple(
            f"part {number} ({part.text[:40]!r}): {problem}"
            for number, part in enumerate(self.parts, start=1)
            for problem in part.problems
        )

    @property
    def confidence(self) -> float | None:
        """Of the least certain part; None if it was not checked."""
        known = [part.reread.confidence for part in self.parts if part.reread is not None]
        return min(known, default=None)

    @property
    def diff(self) -> Diff | None:
        """Text against what was heard, word by word; None if it was not checked."""
        known = [part.reread.diff.words for part in self.parts if part.reread is not None]
        return Diff(tuple(word for words in known for word in words)) if known else None
