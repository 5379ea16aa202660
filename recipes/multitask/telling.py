"""Codes that are there, written once more with another text."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from almtok.core.data.sources import Entry
from almtok.lm.data.encoder import Encoded
from almtok.lm.data.recordings import Recording
from almtok.lm.data.rows import TokenRow
from almtok.lm.data.shards import read_info, shard_path, write_shard


@dataclass(frozen=True)
class AugmentedCorpus:
    """A row and its other text."""

    row: TokenRow
    how: str  # the new row is called by it and by the old one
    text: str


def write_augmented(told: Sequence[AugmentedCorpus], tokens: Path, out: Path, *, plan: str) -> int:
    """Write rows of a folder of tokens once more, with other texts, as one shard.

    Args:
        told: what is written, in this order.
        tokens: folder that the rows are from.
        out: folder to write.
        plan: how the new folder's plan begins.

    Returns:
        Number of rows.
    """
    info = read_info(shard_path(tokens, 0))
    blank = dataclasses.replace(
        info, plan=f"{plan}{info.plan}"[:16], number=0, first=0, last=len(told), skipped=()
    )
    out.mkdir(parents=True, exist_ok=True)
    encoded = [_encoded(place, one) for place, one in enumerate(told)]
    write_shard(out, blank, encoded, told[0].row.frames_per_query)
    return len(told)


def command_line(doc: str | None) -> argparse.ArgumentParser:
    """Options of a program that tells recordings otherwise, described by its docstring."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", help="the recordings, for their classes")
    parser.add_argument("--tokens", required=True, type=Path, help="folder of their tokens")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    return parser


def _encoded(place: int, told: AugmentedCorpus) -> Encoded:
    row = told.row
    entry = Entry(id=f"{told.how}_{row.id}", path=row.id, domain=row.domain, text=told.text)
    codes = np.ascontiguousarray(row.codes.numpy().astype(np.uint16))
    return Encoded(place, Recording(entry, row.split), row.num_samples, codes)
