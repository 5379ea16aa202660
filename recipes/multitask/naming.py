"""Tokens of sounds once more, each called by nothing but its class.

    python -c "from almtok.recipes.multitask.naming import main; main()" SRC --tokens DIR --out OUT

A few hundred captions say the same thing in many words, and a small model learns them by heart.
Told "Glass." of every sound of glass, it learns what they have in common; captions then are heard
to hold a class, also those that it has not read (README).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from almtok.core.data.sources import list_entries
from almtok.lm.data.dataset import TokenDataset

from .telling import AugmentedCorpus, command_line, write_augmented


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
    told = [AugmentedCorpus(row, "named", _sentence(labels[row.id])) for row in named]
    return write_augmented(told, tokens, out, plan="named")


def _sentence(label: str) -> str:
    return f"{label[0].upper()}{label[1:]}."


def main() -> None:
    """The command line."""
    options = command_line(__doc__).parse_args()
    count = name_sounds(options.sources, options.tokens, options.out)
    print(f"{count} sounds called by their class: {options.out}")
