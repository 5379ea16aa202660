"""What generation returns, and why each row of it ended.

Letters: `K` codebooks, `Q` frames of codes, `T` text ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .prompts import Kind

# "end": by the model's own end token; "max_length": the caller's limit; "max_positions": the
# backbone's; "repetition": a guard saw the row go round in circles.
Finish = Literal["end", "max_length", "max_positions", "repetition"]


@dataclass(frozen=True)
class GeneratedRow:
    """One row of a batch: codes or text, and how it came about."""

    kind: Kind
    codes: Tensor | None  # [K, Q] int64 of an audio target, its given beginning included
    ids: Tensor | None  # [T] int64 of a text target, its given beginning included, without end
    prefix: int  # frames or ids of the given beginning
    finish: Finish
    held_back: int  # steps at which the end was likeliest, and too early by the minimum length
    log_probability: float  # of all that was chosen, by the (guided) model at temperature 1
    num_choices: int  # codes, ids and ends chosen
    steps: int  # of the backbone, the prompt not counted
    seed: int
    frames_per_query: int  # rate of the codes

    @property
    def ended(self) -> bool:
        """Whether the model ended the row itself, when it wanted to."""
        return self.finish == "end" and not self.held_back

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of what was chosen, 0 to 1."""
        return math.exp(self.log_probability / max(1, self.num_choices))

    @property
    def content(self) -> Tensor:
        """What is new: codes `[K, Q - prefix]` or ids `[T - prefix]`."""
        whole = self.codes if self.codes is not None else self.ids
        assert whole is not None
        return whole[..., self.prefix :]


@dataclass(frozen=True)
class Generation:
    """All rows of a batch, in the order of the prompts."""

    rows: tuple[GeneratedRow, ...]
    prefill_seconds: float
    seconds: float  # all steps after the prompts

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> GeneratedRow:
        return self.rows[row]

    def __iter__(self) -> Iterator[GeneratedRow]:
        return iter(self.rows)

    @property
    def codes(self) -> list[Tensor]:
        """Codes `[K, Q]` of every row.

        Raises:
            ValueError: if a row is text.
        """
        return [_present(row.codes, "codes", row.kind) for row in self.rows]

    @property
    def ids(self) -> list[Tensor]:
        """Text ids `[T]` of every row.

        Raises:
            ValueError: if a row is audio.
        """
        return [_present(row.ids, "text ids", row.kind) for row in self.rows]


def _present(value: Tensor | None, name: str, kind: Kind) -> Tensor:
    if value is None:
        raise ValueError(f"this row has no {name}: its target is {kind}")
    return value
