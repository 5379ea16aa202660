r"""Tokens of sounds again, in other words than their captions have.

    python -c "from almtok.recipes.multitask.retelling import main; main()" \
        SRC --tokens DIR --out OUT

Who learns a thousand captions by heart knows which recording each means, and nothing of a caption
with one word more: asked for rain at night, it clicked (README). Here each recording is told in
several ways: its caption without small words, without some others, with a place or a time that
changes nothing, or by its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from almtok.core.data.sources import list_entries
from almtok.lm.data.dataset import TokenDataset
from almtok.lm.data.rows import TokenRow

from .telling import AugmentedCorpus, command_line, write_augmented

_SMALL = frozenset("a an the of on in at to by with from and or is are being its it".split())
_BEFORE = (
    "the sound of {}", "a recording of {}", "{} sound effect", "someone recorded {}", "{}, close",
    "you can hear {}", "only {}",
)  # fmt: skip
_AROUND = (
    "in the evening", "at dawn", "in summer", "in a forest", "in a hall", "in a small room",
    "outdoors", "in the city", "on a farm", "by the sea", "in the distance", "close by",
    "a long time ago", "again", "slowly", "in silence", "for a game", "in a film",
)  # fmt: skip


def retell(caption: str, label: str, rng: np.random.Generator) -> str:
    """The caption of a sound in other words.

    Args:
        caption: "A heavy rainstorm."
        label: its class, "rain"; "" if it has none.
        rng: chooses what changes.
    """
    words = caption.strip().rstrip(".").split()
    words[:1] = [word.lower() for word in words[:1]]
    kept = [word for word in words if word.strip(",").lower() not in _SMALL] or words
    if rng.random() < 0.5:
        # Of what says something, some is left out, never all.
        heard = rng.random(len(kept)) > 0.35
        heard[rng.integers(len(kept))] = True
        told = " ".join(word for word, stays in zip(kept, heard, strict=True) if stays)
        if label and label not in told:
            told = f"{label}, {told}" if rng.random() < 0.5 else f"{told} {label}"
    else:
        told = " ".join(words if rng.random() < 0.5 else kept)
    if rng.random() < 0.35:
        told = str(rng.choice(_BEFORE)).format(told)
    if rng.random() < 0.5:
        told = f"{told} {rng.choice(_AROUND)}"
    return f"{told[0].upper()}{told[1:]}."


def retell_sounds(
    sources: Sequence[str], tokens: Path, out: Path, *, times: int = 6, seed: int = 0
) -> int:
    """Write a shard of every row that has a caption, so many times, each told otherwise.

    Args:
        sources: the recordings, for their classes, `[DOMAIN=]LOCATION[:SPLIT]`.
        tokens: folder of their tokens.
        out: folder to write.
        times: wordings of each.
        seed: of the words.

    Returns:
        Number of rows.

    Raises:
        ValueError: no row has a caption, or `times` is below 1.
    """
    if times < 1:
        raise ValueError(f"each caption is told at least once; came times={times}")
    labels = {entry.id: entry.label for entry in list_entries(sources)}
    dataset = TokenDataset(tokens)
    rows: list[TokenRow] = [dataset[n] for n in range(len(dataset))]
    rng = np.random.default_rng(seed)
    told = [
        AugmentedCorpus(row, f"retold{time}", retell(row.text, labels.get(row.id, ""), rng))
        for time in range(times)
        for row in rows
        if row.text.strip(" .")
    ]
    if not told:
        raise ValueError(f"none of the {len(rows)} rows of {tokens} has a caption to retell")
    return write_augmented(told, tokens, out, plan="retold")


def main() -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--times", type=int, default=6, help="wordings of each (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="of the words")
    options = parser.parse_args()
    count = retell_sounds(
        options.sources, options.tokens, options.out, times=options.times, seed=options.seed
    )
    print(f"{count} rows told otherwise: {options.out}")
