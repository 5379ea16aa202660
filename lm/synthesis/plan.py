"""Readings as a function of a seed and their number, so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .voices import Voice

# Voices, speeds and seeds that a text is tried with before it is left out.
MOST_ATTEMPTS = 3


@dataclass(frozen=True)
class Reading:
    """A text, and who reads it how."""

    id: str
    text: str
    voice: Voice
    speed: float
    seed: int


@dataclass(frozen=True)
class Plan:
    """All readings of a corpus, endlessly many.

    Attributes:
        texts: What is read: each once in an order of its own, then all again in another one.
        voices: Who reads.
        seed: Of all random choices.
        speed: Slowest and fastest speed; 1 is the usual one of a voice.
    """

    texts: Sequence[str]
    voices: Sequence[Voice]
    seed: int = 0
    speed: tuple[float, float] = (0.85, 1.15)

    def __post_init__(self) -> None:
        low, high = self.speed
        if not 0.25 <= low <= high <= 4:
            raise ValueError(f"speeds must satisfy 0.25 <= LOW <= HIGH <= 4, got {low} and {high}")
        if self.seed < 0:
            raise ValueError(f"the seed must be at least 0, got {self.seed}")
        if not self.texts or not self.voices:
            raise ValueError("a plan needs at least one text and one voice")

    def reading(self, number: int, attempt: int = 0) -> Reading:
        """Return a reading by its number; another attempt has the same text."""
        turn, place = divmod(number, len(self.texts))
        rng = np.random.default_rng([self.seed, number, attempt])
        return Reading(
            id=f"reading-{self.seed}-{number:07d}",
            text=self.texts[int(_order(len(self.texts), self.seed, turn)[place])],
            voice=self.voices[int(rng.integers(len(self.voices)))],
            speed=round(float(rng.uniform(*self.speed)), 3),
            seed=int(rng.integers(1 << 31)),
        )

    def digest(self) -> str:
        """Hash of everything that the readings depend on."""
        values: dict[str, Any] = asdict(self)
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@lru_cache(maxsize=2)
def _order(count: int, seed: int, turn: int) -> np.ndarray:
    return np.random.default_rng([seed, turn, count]).permutation(count)
