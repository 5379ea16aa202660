"""Voices: names of a model, mixtures of them, and drawn mixtures as new speakers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Shares of two or three voices; none is smaller, so that each is heard.
_SMALLEST_SHARE = 0.2
_STREAM = 0x6D6978  # separates the draws of mixtures from other draws


@dataclass(frozen=True)
class Voice:
    """A speaker.

    Attributes:
        name: Of the speaker in the manifest.
        recipe: What the model is asked for: a name, or ``NAME:SHARE+NAME:SHARE``.
    """

    name: str
    recipe: str


def parse_recipe(recipe: str) -> list[tuple[str, float]]:
    """Parse ``NAME`` or ``NAME:SHARE+NAME:SHARE`` into names and shares with the sum 1.

    Example:
        >>> parse_recipe("af_heart:3+bm_george:1")
        [('af_heart', 0.75), ('bm_george', 0.25)]

    Raises:
        ValueError: A share is not a positive number.
    """
    parts = []
    for part in recipe.split("+"):
        name, colon, share = part.partition(":")
        try:
            weight = float(share) if colon else 1.0
        except ValueError:
            weight = 0.0
        if not name or not 0 < weight < float("inf"):
            raise ValueError(
                f"a voice must be NAME or NAME:SHARE+NAME:SHARE with shares above 0, got {recipe!r}"
            )
        parts.append((name, weight))
    total = sum(weight for _, weight in parts)
    return [(name, weight / total) for name, weight in parts]


def check_names(recipe: str, known: Sequence[str]) -> None:
    """Check that a model has the voices of a recipe.

    Raises:
        ValueError: It does not; the message names similar voices.
    """
    for name, _ in parse_recipe(recipe):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            some = near or list(known[:8])
            more = f" and {len(known) - len(some)} more" if len(known) > len(some) else ""
            raise ValueError(f"unknown voice {name!r}; there are {', '.join(some)}{more}")


def parse_numbers(text: str) -> range:
    """Parse the numbers of mixtures: ``50`` is 1 to 50, ``51-60`` is 51 to 60.

    Raises:
        ValueError: It is neither.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)", text.strip())
    numbers = range(int(match[1] or 1), int(match[2]) + 1) if match else range(0)
    if not numbers or numbers[0] < 1:
        raise ValueError(f"mixtures must be a number above 0 or a range like 51-60, got {text!r}")
    return numbers


def draw_mixture(number: int, names: Sequence[str]) -> Voice:
    """Draw a mixture of two or three voices; the same number and names give the same mixture.

    Args:
        number: Of the mixture; it is called ``mix-0001`` for 1.
        names: Voices to mix, at least two.

    Raises:
        ValueError: There are fewer than two voices.
    """
    if len(names) < 2:
        raise ValueError(f"mixtures need at least two voices, got {', '.join(names) or 'none'}")
    rng = np.random.default_rng([_STREAM, number])
    count = min(len(names), int(rng.integers(2, 4)))
    chosen = rng.choice(len(names), size=count, replace=False)
    free = 1 - count * _SMALLEST_SHARE
    shares = [
        round(float(share), 2) for share in _SMALLEST_SHARE + free * rng.dirichlet([1] * count)
    ]
    shares[-1] = round(1 - sum(shares[:-1]), 2)
    parts = (f"{names[i]}:{share:g}" for i, share in zip(chosen, shares, strict=True))
    return Voice(f"mix-{number:04d}", "+".join(parts))
