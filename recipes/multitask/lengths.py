"""Texts of 1 to 40 words with recordings of them, as many of each length: where does speech fail?

    python -c "from almtok.recipes.multitask.lengths import main; main()" SRC --out DIR
    almtok lm evaluate --data DIR/manifest.jsonl --out scores

Held-out corpora have few single words and few long texts. So recordings are used whole, cut at
their words into shorter ones (cutting.py), and joined by one speaker into longer ones; of each
length that the table of failures has (tasks/evaluation/failures.py), an equal
share is drawn from a seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from almtok.codec.phonemes.aligner import Aligner
from almtok.core.audio import Waveform, read_audio
from almtok.core.data.reader import EntryReader
from almtok.core.files import write_text
from almtok.lm.data.sources import list_recordings
from almtok.lm.text.normalize import plain
from almtok.tasks.evaluation.failures import LENGTHS

from .cutting import RATE, faded, piece_of

_LONGEST = 40  # words
_SHORTEST = 0.1  # seconds of a piece
_PAUSE = 0.25  # seconds between recordings that are joined


@dataclass(frozen=True)
class Spoken:
    """A text and a recording of it."""

    text: str
    wav: Waveform  # [S]
    speaker: str

    @property
    def words(self) -> int:
        """Of the text."""
        return len(plain(self.text).split())


def shorter(spoken: Spoken, aligner: Aligner, rng: np.random.Generator) -> Iterator[Spoken]:
    """A piece of 1 to 3 words and one of 4 to 8, where the recording has them."""
    words = aligner.words(spoken.wav, RATE, spoken.text)
    for least, most in LENGTHS[:2]:
        if len(words) <= least:
            continue
        count = int(rng.integers(least, min(most, len(words) - 1) + 1))
        first = int(rng.integers(len(words) - count + 1))
        piece = piece_of(words[first : first + count])
        wav = faded(spoken.wav[round(piece.start * RATE) : round(piece.end * RATE)])
        if len(wav) >= _SHORTEST * RATE:  # less is a slip of the aligner, not a word
            yield Spoken(piece.text, wav, spoken.speaker)


def longer(spoken: Sequence[Spoken], rng: np.random.Generator) -> Iterator[Spoken]:
    """Two to four recordings of a speaker in a row, of 17 to 40 words together."""
    pause = np.zeros(round(_PAUSE * RATE), np.float32)
    for first, one in enumerate(spoken):
        row = spoken[first : first + int(rng.integers(2, 5))]
        row = [other for other in row if other.speaker == one.speaker]
        if len(row) > 1 and sum(other.words for other in row) <= _LONGEST:
            parts = [part for other in row for part in (other.wav, pause)][:-1]
            yield Spoken(" ".join(o.text for o in row), np.concatenate(parts), one.speaker)


def chosen(spoken: Sequence[Spoken], count: int, rng: np.random.Generator) -> list[Spoken]:
    """So many, each text once, of each length an equal share as far as there are enough."""
    once = list({plain(one.text): one for one in reversed(spoken)}.values())[::-1]
    ranges = [(least, min(most, _LONGEST)) for least, most in LENGTHS if least <= _LONGEST]
    by_length = [[o for o in once if least <= o.words <= most] for least, most in ranges]
    drawn: list[Spoken] = []
    # The rarest first: what they lack, the others give.
    for left, group in zip(range(len(ranges), 0, -1), sorted(by_length, key=len), strict=True):
        share = min(len(group), round((count - len(drawn)) / left))
        drawn += [group[n] for n in sorted(rng.permutation(len(group))[:share].tolist())]
    return sorted(drawn, key=lambda one: one.words)


def make(sources: Sequence[str], out: Path, count: int = 200, seed: int = 0) -> Path:
    """Write recordings of so many texts and their manifest; returns the manifest.

    Args:
        sources: recordings with English texts.
        out: folder.
        count: of texts.
        seed: of all that is drawn.

    Raises:
        ValueError: if the recordings have no texts.
    """
    reader, aligner = EntryReader(), Aligner()
    whole = [
        Spoken(
            one.entry.text,
            read_audio(reader.open(one.entry), RATE, start=one.start, seconds=one.seconds),
            one.entry.speaker,
        )
        for one in list_recordings(sources)
        if one.entry.text.strip()
    ]
    if not whole:
        raise ValueError(f"no text in {', '.join(sources)}: failures are judged by texts")
    rng = np.random.default_rng(seed)
    cut = [piece for one in whole for piece in shorter(one, aligner, rng)]
    rows = []
    (out / "audio").mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(chosen([*whole, *cut, *longer(whole, rng)], count, rng)):
        name = f"audio/{number:04d}.flac"
        soundfile.write(out / name, one.wav, RATE, format="FLAC")
        row = {"id": f"text-{number:04d}", "audio": name, "text": one.text}
        rows.append({**row, "speaker": one.speaker, "domain": "speech", "split": "test"})
    manifest = out / "manifest.jsonl"
    write_text(manifest, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return manifest


def main() -> None:
    """Make the texts that the command line asks for, see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", help="recordings with texts, as for --data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200, help="texts (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    print(make(o.sources, o.out, o.count, o.seed))
