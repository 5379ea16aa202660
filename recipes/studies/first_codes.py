r"""What the first code of a frame says: of which phone it is, and how many entries are in use.

    python -c "from almtok.recipes.studies.first_codes import main; main()" \
        runs/studies/whole/model runs/studies/no-prior/model --data speech=voices/ --out priors.md

Phones are those of pocketsphinx, aligned to the texts. A table from code to phone is made of half
of the clips and tried on the other half, and the other way round, so that nothing is told by heart.

Letters: `Q` columns of codes, `w` frames per column.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from almtok.codec.phonemes.aligner import Aligner
from almtok.codec.phonemes.config import PHONES, SILENCE
from almtok.codec.phonemes.labels import frame_labels
from almtok.core.audio import AudioError, read_audio
from almtok.core.choices import add_device
from almtok.core.data.reader import EntryReader
from almtok.core.data.sources import list_entries
from almtok.core.files import write_text

Pairs = list[tuple[int, int]]  # first code of a column, phone of most of its frames


@dataclass(frozen=True)
class FirstCodes:
    """One codec's first layer."""

    codec: str
    used: float  # share of the entries
    perplexity: float
    named: float  # share of held-out columns of speech whose phone the code tells
    silent: float  # share that were silence, which are not counted


def first_codes(codec: Any, name: str, clips: Sequence[tuple[Any, Any]]) -> FirstCodes:
    """Judge one codec.

    Args:
        codec: An ALMTokenizer.
        name: In the table.
        clips: Samples `[S]` at its rate, and the phone of each of its frames.
    """
    halves: tuple[Pairs, Pairs] = ([], [])
    count, silent = Counter[int](), 0
    for number, (wav, phones) in enumerate(clips):
        tokens = codec.tokenize(torch.from_numpy(wav), codec.sample_rate)
        for code, phone in _columns(tokens.codes[0].tolist(), phones, tokens.frames_per_query):
            count[code] += 1
            if phone == SILENCE:
                silent += 1
            else:
                halves[number % 2].append((code, phone))
    total = sum(count.values())
    entropy = -sum(n / total * math.log(n / total) for n in count.values())
    one, two = halves
    named = _named(one, two) + _named(two, one)
    return FirstCodes(
        name,
        used=len(count) / codec.codebook_size,
        perplexity=math.exp(entropy),
        named=named / max(1, len(one) + len(two)),
        silent=silent / total,
    )


def _columns(codes: Sequence[int], phones: Any, w: int) -> Iterable[tuple[int, int]]:
    """Each whole column with the phone of most of its frames."""
    for place, code in enumerate(codes):
        inside = phones[place * w : (place + 1) * w]
        if len(inside) == w:
            yield code, int(np.bincount(inside).argmax())


def _named(known: Pairs, asked: Pairs) -> int:
    """How many phones are told by a table from code to its most frequent phone."""
    table: dict[int, Counter[int]] = {}
    for code, phone in known:
        table.setdefault(code, Counter())[phone] += 1
    usual = Counter(phone for _, phone in known).most_common(1)
    other = usual[0][0] if usual else -1
    told = {code: phones.most_common(1)[0][0] for code, phones in table.items()}
    return sum(told.get(code, other) == phone for code, phone in asked)


def aligned(sources: Sequence[str], sample_rate: int, hop_length: int) -> list[tuple[Any, Any]]:
    """Samples and the phone of each frame of all recordings that can be aligned.

    Raises:
        ValueError: none can.
    """
    aligner, reader, found = Aligner(), EntryReader(), []
    for entry in tqdm([one for one in list_entries(sources) if one.text], desc="align"):
        try:
            wav = read_audio(reader.open(entry), sample_rate)
        except AudioError:
            continue
        if phones := aligner.phones(wav, sample_rate, entry.text):
            count = len(wav) // hop_length
            found.append((wav, frame_labels(phones, count, sample_rate / hop_length)))
    if not found:
        raise ValueError(f"no speech with English texts in {', '.join(sources)}")
    return found


def table(rows: Sequence[FirstCodes]) -> str:
    """Markdown."""
    head = [
        "first codes of",
        "entries in use",
        "perplexity",
        f"phones named (of {len(PHONES) - 2})",
    ]
    cells = [
        [one.codec, f"{100 * one.used:.0f} %", f"{one.perplexity:.0f}", f"{100 * one.named:.1f} %"]
        for one in rows
    ]
    lines = [head, ["---", "---:", "---:", "---:"], *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main(given: Sequence[str] | None = None) -> None:
    """Write the table of the codecs on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("codecs", nargs="+", type=Path, metavar="CODEC", help="folders")
    parser.add_argument("--data", nargs="+", required=True, metavar="SRC", help="speech with texts")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    add_device(parser)
    o = parser.parse_args(given)
    from almtok import ALMTokenizer
    from almtok.core.runtime import find_device

    rows, clips = [], None
    for place in o.codecs:
        codec = ALMTokenizer.from_pretrained(place).eval().to(find_device(o.device))
        if clips is None:
            clips = aligned(o.data, codec.sample_rate, codec.config.hop_length)
        name = place.parent.name if place.name == "model" else place.name
        rows.append(first_codes(codec, name, clips))
    write_text(o.out, table(rows))
    print(o.out.read_text())
