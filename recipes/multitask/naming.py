"""Tokens of sounds once more, each called by nothing but its class.

    python -c "from almtok.recipes.multitask.naming import main; main()" SRC --tokens DIR --out OUT

A few hundred captions say the same thing in many words, and a small model learns them by heart.
Told "Glass." of every sound of glass, it learns what they have in common; captions then are heard
to hold a class, also those that it has not read (README).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from almtok.codec.data.sources import Entry, list_entries
from almtok.lm.data.dataset import TokenDataset
from almtok.lm.data.encoder import Encoded
from almtok.lm.data.recordings import Recording
from almtok.lm.data.rows import TokenRow
from almtok.lm.data.shards import read_info, shard_path, write_shard


def name_sounds(sources: Sequence[str], tokens: Path, out: Path) -> int:
    """Write a shard of the rows whose recording has a class, which becomes their text.

    Args:
        sources: recordings with a column `label` or `class`, `[DOMAIN=]LOCATION[:SPLIT]`.
        tokens: folder of their tokens.
        out: folder to write.

    Returns:
        Number of rows.

    Raises:
        ValueError: no row of the tokens is of a recording that has a class.
    """
    labels = {entry.id: entry.label for entry in list_entries(sources) if entry.label}
    rows = TokenDataset(tokens)
    named = [row for row in (rows[n] for n in range(len(rows))) if row.id in labels]
    if not named:
        raise ValueError(
            f"none of the {len(rows)} rows of {tokens} is of a recording with a class: the sources"
            f" have {len(labels)} such recordings, as column 'label' or 'class'"
        )
    told = [Told(row, "named", _sentence(labels[row.id])) for row in named]
    return write_told(told, tokens, out, plan="named")


def _sentence(label: str) -> str:
    return f"{label[0].upper()}{label[1:]}."


@dataclass(frozen=True)
class Told:
    """Codes that are there, and another text of them."""

    row: TokenRow
    how: str  # the new row is called by it and by the old one
    text: str


def write_told(told: Sequence[Told], tokens: Path, out: Path, *, plan: str) -> int:
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


def _encoded(place: int, told: Told) -> Encoded:
    row = told.row
    entry = Entry(id=f"{told.how}_{row.id}", path=row.id, domain=row.domain, text=told.text)
    codes = np.ascontiguousarray(row.codes.numpy().astype(np.uint16))
    return Encoded(place, Recording(entry, row.split), row.num_samples, codes)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", help="recordings with classes")
    parser.add_argument("--tokens", required=True, type=Path, help="folder of their tokens")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    options = parser.parse_args()
    count = name_sounds(options.sources, options.tokens, options.out)
    print(f"{count} sounds called by their class: {options.out}")
