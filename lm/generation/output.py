"""Output of `AudioLM.generate`.

Shapes: `K` codebooks, `Q` frames of codes, `T` text ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .prompts import Kind

# Why a target ended. "end": by its end token; "max_length": by the caller's limit; "max_positions":
# by that of the backbone; "repetition": it repeated itself (stopping_criteria.py);
# "stopping_criteria": by the caller's.
Finish = Literal["end", "max_length", "max_positions", "repetition", "stopping_criteria"]

PADDING = -1  # of shorter rows in `sequences`


@dataclass(frozen=True)
class GeneratedRow:
    """One row of a batch: generated codes or text, with statistics."""

    kind: Kind
    codes: Tensor | None  # [K, Q] int64 of an audio target, including its prefix
    ids: Tensor | None  # [T] int64 of a text target, including its prefix, without the end
    prefix: int  # frames or ids of the prefix
    finish: Finish
    held_back: int  # steps at which the end was most likely but not allowed by the minimum length
    log_probability: float  # of all choices, by the (guided) model at temperature 1
    num_choices: int  # generated codes, ids and ends
    steps: int  # of the backbone, without the prompt
    seed: int
    frames_per_query: int  # w of the codes

    @property
    def ended(self) -> bool:
        """Whether the row ended by its end token, not delayed by the minimum length."""
        return self.finish == "end" and not self.held_back

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of all choices, 0 to 1."""
        return math.exp(self.log_probability / max(1, self.num_choices))

    @property
    def content(self) -> Tensor:
        """Codes `[K, Q - prefix]` or ids `[T - prefix]` after the prefix."""
        values = self.codes if self.codes is not None else self.ids
        assert values is not None
        return values[..., self.prefix :]


class Generation(dict[str, Tensor]):
    """All rows of a batch, in the order of the prompts.

    It is also the dict that `generate` of transformers returns, with `sequences`, if all targets
    are of one kind.
    """

    def __init__(
        self,
        rows: tuple[GeneratedRow, ...],
        prefill_seconds: float,
        seconds: float,
        text_padding: int = PADDING,
    ) -> None:
        self.rows = rows
        self.prefill_seconds = prefill_seconds
        self.seconds = seconds  # of all steps after the prompts
        kinds = {row.kind for row in rows}
        if kinds == {"audio"}:
            self["sequences"] = _padded([row.codes for row in rows], PADDING)
        elif kinds == {"text"}:
            self["sequences"] = _padded([row.ids for row in rows], text_padding)

    @property
    def sequences(self) -> Tensor:
        """Texts `[B, T]` or codes `[B, K, Q]`, padded on the right.

        Texts are padded with the backbone's padding (or end), codes with :data:`PADDING`.

        Raises:
            ValueError: if the batch has texts and audio.
        """
        if "sequences" not in self:
            raise ValueError("sequences must be of texts or of audio, got both: take the rows")
        return super().__getitem__("sequences")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Any:
        """A row by its number, or `sequences`."""
        return super().__getitem__(key) if isinstance(key, str) else self.rows[key]

    def __iter__(self) -> Iterator[GeneratedRow]:  # type: ignore[override]
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


def _padded(values: list[Any], padding: int) -> Tensor:
    """Stack tensors `[.., N]` of different N."""
    longest = max(value.shape[-1] for value in values)
    return torch.stack(
        [F.pad(value, (0, longest - value.shape[-1]), value=padding) for value in values]
    )
