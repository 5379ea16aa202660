"""Make a test set with texts of 1 to 40 words, equally many per range of length.

    python -c "from almtok.recipes.transforms.balance_lengths import main; main()" SRC --out DIR
    almtok lm evaluate --data DIR/manifest.jsonl --out scores

Held-out corpora have few single words and few long texts. Recordings are used whole, cut at word
boundaries into shorter ones, and recordings of one speaker are joined to longer ones. An equal
share of each range of the failure table (tasks/evaluation/failures.py) is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from almtok.codec.phonemes.aligner import Aligner
from almtok.core.audio import Waveform
from almtok.core.data.entries import EntryReader
from almtok.core.data.manifests import list_entries
from almtok.lm.text.normalize import plain
from almtok.tasks.evaluation.failures import LENGTHS

from .common import RATE, command_line, write_manifest
from .cut_words import fade, piece_of

_LONGEST = 40  # words
_SHORTEST = 0.1  # seconds of a piece
_PAUSE = 0.25  # seconds between joined recordings


@dataclass(frozen=True)
class Utterance:
    """A text and a recording of it."""

    text: str
    wav: Waveform  # [S]
    speaker: str

    @property
    def words(self) -> int:
        """Number of words of the text."""
        return len(plain(self.text).split())


def shorter(whole: Utterance, aligner: Aligner, rng: np.random.Generator) -> Iterator[Utterance]:
    """Yield a piece of 1 to 3 words and one of 4 to 8, if the recording is longer than that."""
    words = aligner.words(whole.wav, RATE, whole.text)
    for least, most in LENGTHS[:2]:
        if len(words) <= least:
            continue
        count = int(rng.integers(least, min(most, len(words) - 1) + 1))
        first = int(rng.integers(len(words) - count + 1))
        piece = piece_of(words[first : first + count])
        wav = fade(whole.wav[round(piece.start * RATE) : round(piece.end * RATE)])
        if len(wav) >= _SHORTEST * RATE:  # shorter pieces are errors of the aligner
            yield Utterance(piece.text, wav, whole.speaker)


def longer(utterances: Sequence[Utterance], rng: np.random.Generator) -> Iterator[Utterance]:
    """Yield two to four consecutive recordings of a speaker joined, of 40 words at most."""
    pause = np.zeros(round(_PAUSE * RATE), np.float32)
    for first, utterance in enumerate(utterances):
        row = utterances[first : first + int(rng.integers(2, 5))]
        row = [other for other in row if other.speaker == utterance.speaker]
        if len(row) > 1 and sum(other.words for other in row) <= _LONGEST:
            parts = [part for other in row for part in (other.wav, pause)][:-1]
            yield Utterance(
                " ".join(other.text for other in row), np.concatenate(parts), row[0].speaker
            )


def draw(utterances: Sequence[Utterance], count: int, rng: np.random.Generator) -> list[Utterance]:
    """Draw `count` utterances with different texts, an equal share of each range of length.

    If a range has too few, the others give more.
    """
    once = list({plain(item.text): item for item in reversed(utterances)}.values())[::-1]
    ranges = [(least, min(most, _LONGEST)) for least, most in LENGTHS if least <= _LONGEST]
    by_length = [[item for item in once if least <= item.words <= most] for least, most in ranges]
    drawn: list[Utterance] = []
    # The smallest groups first, so that the others can fill up.
    for left, group in zip(range(len(ranges), 0, -1), sorted(by_length, key=len), strict=True):
        share = min(len(group), round((count - len(drawn)) / left))
        drawn += [group[n] for n in sorted(rng.permutation(len(group))[:share].tolist())]
    return sorted(drawn, key=lambda item: item.words)


def balance_lengths(sources: Sequence[str], out: Path, count: int = 200, seed: int = 0) -> Path:
    """Write the recordings and a manifest of them; return the manifest.

    Args:
        sources: recordings with English texts.
        out: folder to write.
        count: number of texts.
        seed: of all random choices.

    Raises:
        ValueError: the recordings have no texts.
    """
    reader, aligner = EntryReader(), Aligner()
    whole = [
        Utterance(
            entry.text,
            reader.read(entry, RATE),
            entry.speaker,
        )
        for entry in list_entries(sources, transcripts=True)
        if entry.text.strip()
    ]
    if not whole:
        raise ValueError(f"no text in {', '.join(sources)}: the test needs texts")
    rng = np.random.default_rng(seed)
    cut = [piece for item in whole for piece in shorter(item, aligner, rng)]
    rows = []
    (out / "audio").mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(draw([*whole, *cut, *longer(whole, rng)], count, rng)):
        name = f"audio/{number:04d}.flac"
        soundfile.write(out / name, item.wav, RATE, format="FLAC")
        row = {"id": f"text-{number:04d}", "audio": name, "text": item.text}
        rows.append({**row, "speaker": item.speaker, "domain": "speech", "split": "test"})
    return write_manifest(out, rows)


def main() -> None:
    """Run the transform from the command line."""
    parser = command_line(__doc__)
    parser.add_argument("--count", type=int, default=200, help="texts (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    print(balance_lengths(**vars(parser.parse_args())))
