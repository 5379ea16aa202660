"""Texts of no recording, as rows for a mixture: what is likely to be said is learned from these.

A corpus of a few hours has tens of thousands of words, and a language model that is to write what
it hears needs millions. So a transcript is learned without its recording, just as condition dropout
withholds it now and then: the same rows, the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..sequences import Example, TextSegment
from ..text.encoder import TextEncoder
from .rows import Pick, TokenRow
from .shards import ShardInfo


class Passages:
    """Lines of text files, with the face of a :class:`TokenDataset`."""

    def __init__(
        self, files: Sequence[str], info: ShardInfo, frames_per_query: int, *, language: str = ""
    ):
        """Read the files.

        Args:
            files: plain text in UTF-8, a passage a line: as long as what is transcribed at once.
            info: of the tokens that they are mixed with.
            frames_per_query: of those.
            language: of the texts.

        Raises:
            ValueError: a file is missing or no text, or there is no line in any.
        """
        self._lines = [line for name in files for line in _lines(Path(name))]
        if not self._lines:
            raise ValueError(f"no line of text in {', '.join(files)}")
        self._info, self._rate, self._language = info, frames_per_query, language

    @property
    def fingerprint(self) -> str:
        """Of the codec of the tokens beside them."""
        return self._info.fingerprint

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int | Pick) -> TokenRow:
        place = index.index if isinstance(index, Pick) else int(index)
        return TokenRow(
            id=f"passage-{place}",
            codes=torch.zeros(self._info.num_codebooks, 0, dtype=torch.int64),
            frames_per_query=self._rate,
            num_samples=0,
            sample_rate=self._info.sample_rate,
            fingerprint=self._info.fingerprint,
            text=self._lines[place],
            language=self._language,
            domain="speech",
            split="train",
        )

    labels = __getitem__

    def companion(self, index: int, generator: Any) -> None:
        """There is no other recording of nobody."""
        return None


def overlaps_none(task: str, row: TokenRow, texts: TextEncoder) -> Example:
    """The example of a passage: a transcript alone.

    Raises:
        ValueError: nothing of it can be said.
    """
    ids = texts.ids(row.text, spoken=True, language=row.language or None)
    return Example(task, (TextSegment(ids),), row.frames_per_query)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"no file {path}: --texts takes text files, a passage a line") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
