r"""Give token shards of sounds other captions: the class name, or the caption rephrased.

    python -c "from almtok.recipes.transforms.captions import main_class_names as m; m()" \
        SRC --tokens DIR --out OUT
    python -c "from almtok.recipes.transforms.captions import main_rephrased as m; m()" \
        SRC --tokens DIR --out OUT

A small model memorizes a thousand captions and then does not understand a caption with one more
word. A class name as caption ("Glass.") says what sounds of one class have in common; rephrased
captions omit words or add a place or a time that does not change the sound. Codes are copied.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from almtok.core.data.entries import AudioEntry
from almtok.core.data.manifests import list_entries
from almtok.lm.data.dataset import TokenDataset
from almtok.lm.data.rows import TokenRow
from almtok.lm.data.shards import EncodedClip, read_info, shard_path, write_shard

from .common import command_line

_FUNCTION_WORDS = frozenset(
    "a an the of on in at to by with from and or is are being its it".split()
)
_FRAMES = (
    "the sound of {}", "a recording of {}", "{} sound effect", "someone recorded {}", "{}, close",
    "you can hear {}", "only {}",
)  # fmt: skip
_CONTEXTS = (
    "in the evening", "at dawn", "in summer", "in a forest", "in a hall", "in a small room",
    "outdoors", "in the city", "on a farm", "by the sea", "in the distance", "close by",
    "a long time ago", "again", "slowly", "in silence", "for a game", "in a film",
)  # fmt: skip


def class_names(sources: Sequence[str], tokens: Path, out: Path) -> int:
    """Write the rows whose recording has a class, with the class name as caption.

    Args:
        sources: recordings with a column `label` or `class`, `[DOMAIN=]LOCATION[:SPLIT]`.
        tokens: folder of their token shards.
        out: folder to write.

    Returns:
        Number of rows.

    Raises:
        ValueError: no row belongs to a recording with a class.
    """
    labels = {entry.id: entry.label for entry in list_entries(sources) if entry.label}
    rows = _read_rows(tokens)
    named = [row for row in rows if row.id in labels]
    if not named:
        raise ValueError(
            f"none of the {len(rows)} rows of {tokens} is of a recording with a class: the sources"
            f" have {len(labels)} such recordings, as column 'label' or 'class'"
        )
    captions = [(row, "named", _sentence(labels[row.id])) for row in named]
    return _write_rows(captions, tokens, out, plan="named")


def rephrased(
    sources: Sequence[str], tokens: Path, out: Path, *, times: int = 6, seed: int = 0
) -> int:
    """Write every row that has a caption `times` times, each with another wording.

    Args:
        sources: the recordings, for their classes, `[DOMAIN=]LOCATION[:SPLIT]`.
        tokens: folder of their token shards.
        out: folder to write.
        times: wordings per caption.
        seed: of the wordings.

    Returns:
        Number of rows.

    Raises:
        ValueError: no row has a caption, or `times` is below 1.
    """
    if times < 1:
        raise ValueError(f"times must be at least 1, got {times}")
    labels = {entry.id: entry.label for entry in list_entries(sources)}
    rows = _read_rows(tokens)
    rng = np.random.default_rng(seed)
    captions = [
        (row, f"retold{time}", rephrase(row.text, labels.get(row.id, ""), rng))
        for time in range(times)
        for row in rows
        if row.text.strip(" .")
    ]
    if not captions:
        raise ValueError(f"none of the {len(rows)} rows of {tokens} has a caption to rephrase")
    return _write_rows(captions, tokens, out, plan="retold")


def rephrase(caption: str, label: str, rng: np.random.Generator) -> str:
    """Return the caption of a sound with another wording.

    Args:
        caption: such as "A heavy rainstorm."
        label: class of the sound, such as "rain"; "" if it has none.
        rng: source of all random choices.
    """
    words = caption.strip().rstrip(".").split()
    words[:1] = [word.lower() for word in words[:1]]
    content = [word for word in words if word.strip(",").lower() not in _FUNCTION_WORDS] or words
    if rng.random() < 0.5:
        # Some content words are omitted, never all.
        kept = rng.random(len(content)) > 0.35
        kept[rng.integers(len(content))] = True
        text = " ".join(word for word, stays in zip(content, kept, strict=True) if stays)
        if label and label not in text:
            text = f"{label}, {text}" if rng.random() < 0.5 else f"{text} {label}"
    else:
        text = " ".join(words if rng.random() < 0.5 else content)
    if rng.random() < 0.35:
        text = str(rng.choice(_FRAMES)).format(text)
    if rng.random() < 0.5:
        text = f"{text} {rng.choice(_CONTEXTS)}"
    return _sentence(text)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _read_rows(tokens: Path) -> list[TokenRow]:
    dataset = TokenDataset(tokens)
    return [dataset[n] for n in range(len(dataset))]


def _write_rows(
    captions: Sequence[tuple[TokenRow, str, str]], tokens: Path, out: Path, *, plan: str
) -> int:
    """Write (row, prefix of the new id, new caption) as one shard; return the number of rows."""
    info = read_info(shard_path(tokens, 0))
    info = dataclasses.replace(
        info, plan=f"{plan}{info.plan}"[:16], number=0, first=0, last=len(captions), skipped=()
    )
    out.mkdir(parents=True, exist_ok=True)
    encoded = []
    for place, (row, prefix, text) in enumerate(captions):
        name = f"{prefix}_{row.id}"
        entry = AudioEntry(name, row.id, domain=row.domain, text=text, split=row.split)
        codes = np.ascontiguousarray(row.codes.numpy().astype(np.uint16))
        encoded.append(EncodedClip(place, entry, row.num_samples, codes))
    write_shard(out, info, encoded, captions[0][0].frames_per_query)
    return len(captions)


def _parser() -> argparse.ArgumentParser:
    parser = command_line(__doc__, help="the recordings, for their classes")
    parser.add_argument("--tokens", required=True, type=Path, help="folder of their token shards")
    return parser


def main_class_names() -> None:
    """Run :func:`class_names` from the command line."""
    options = _parser().parse_args()
    print(f"{class_names(**vars(options))} sounds with their class as caption: {options.out}")


def main_rephrased() -> None:
    """Run :func:`rephrased` from the command line."""
    parser = _parser()
    parser.add_argument("--times", type=int, default=6, help="wordings per caption (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="of the wordings")
    options = parser.parse_args()
    print(f"{rephrased(**vars(options))} rows with a rephrased caption: {options.out}")
