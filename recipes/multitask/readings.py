"""Texts of a corpus, read aloud by a synthesiser: alignment and spelling cost no recordings.

    python -c "from almtok.recipes.multitask.readings import main; main()" SRC --out DIR

Every text is read by several voices; halves of texts are joined to new ones, so that a model cannot
know by heart how a sentence ends. Made from a seed; a second run makes what is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from almtok.codec.data.sources import list_entries
from almtok.codec.files import write_text

from ..mini.voices import VOICES, Voice, find_speaker

RATE = 24_000


@dataclass(frozen=True)
class Reading:
    """One text by one voice."""

    id: str
    text: str
    voice: Voice


def readings(
    texts: Sequence[str], count: int, seed: int, words: int | None = None
) -> Iterator[Reading]:
    """So many readings: each text in turn, and as often the halves of two of them.

    Voices are varied: another speed, pitch and size in every reading.

    Args:
        texts: of the corpus.
        count: of readings.
        seed: of all that is drawn.
        words: read pieces of 1 to so many words instead: in short recordings a model finds out
            soonest which sound belongs to which letters.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(texts))
    for number in range(count):
        text = texts[int(order[number // 2 % len(order)])]
        if words is not None:
            text = _piece(texts[int(order[number % len(order)])], words, rng)
        elif number % 2:
            text = _joined(text, texts[int(rng.integers(len(texts)))], rng)
        voice = VOICES[int(rng.integers(len(VOICES)))]
        varied = dataclasses.replace(
            voice,
            words_per_minute=round(voice.words_per_minute * rng.uniform(0.85, 1.15)),
            pitch=int(np.clip(voice.pitch + rng.integers(-12, 13), 0, 99)),
            tract=voice.tract * rng.uniform(0.96, 1.04),
        )
        name = "reading" if words is None else "piece"
        yield Reading(f"{name}-{number:06d}", text, varied)


def _piece(text: str, most: int, rng: np.random.Generator) -> str:
    """Up to so many words of a text that follow each other."""
    words = text.split()
    count = min(len(words), int(rng.integers(1, most + 1)))
    first = int(rng.integers(len(words) - count + 1))
    return " ".join(words[first : first + count])


def _joined(one: str, two: str, rng: np.random.Generator) -> str:
    """The beginning of a text and the end of another."""
    first, second = one.split(), two.split()
    head = first[: max(1, round(len(first) * rng.uniform(0.3, 0.7)))]
    tail = second[min(len(second) - 1, round(len(second) * rng.uniform(0.3, 0.7))) :]
    return " ".join([*head, *tail])


def make(
    sources: Sequence[str], out: Path, count: int, seed: int, words: int | None = None
) -> Path:
    """Write the readings and their manifest; returns the manifest.

    Raises:
        ValueError: if the sources have no texts.
    """
    texts = sorted({entry.text for entry in list_entries(sources) if entry.text})
    if not texts:
        raise ValueError(f"no text in {', '.join(sources)}: readings need texts")
    _, speak = find_speaker()
    (out / "audio").mkdir(parents=True, exist_ok=True)
    lines = []
    for reading in tqdm(
        readings(texts, count, seed, words), total=count, unit="text", desc="readings"
    ):
        path = out / "audio" / f"{reading.id}.ogg"
        if not path.exists():
            aside = path.with_suffix(".tmp")
            wav = speak(reading.text, reading.voice, RATE)
            soundfile.write(aside, wav, RATE, format="OGG", subtype="OPUS")
            aside.replace(path)
        row = {"id": reading.id, "audio": f"audio/{path.name}", "text": reading.text}
        lines.append({**row, "speaker": reading.voice.name, "domain": "speech", "split": "train"})
    manifest = out / "manifest.jsonl"
    write_text(manifest, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return manifest


def main() -> None:
    """Make readings as the command line asks, see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", help="corpora whose texts are read, as for --data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6000, help="readings (default %(default)s)")
    parser.add_argument("--words", type=int, metavar="N", help="pieces of 1 to N words only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(make(options.sources, options.out, options.count, options.seed, options.words))
