"""Texts of a corpus, read aloud by a synthesiser: alignment and spelling cost no recordings.

    python -c "from almtok.recipes.multitask.readings import main; main()" SRC --out DIR

Every text is read by several voices; halves of texts are joined to new ones, so that a model cannot
know by heart how a sentence ends. A share of pieces may be words drawn by how frequent they are in
English (`pip install wordfreq`): a few hours of recordings have too few. Made from a seed; a second
run makes what is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from almtok.core.files import write_text
from almtok.lm.data.sources import list_recordings

from ..mini.voices import VOICES, Speak, Voice, find_speaker

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


def words_by_frequency(count: int, words: int, seed: int, known: int = 12_000) -> list[str]:
    """So many texts of 1 to ``words`` English words, drawn by the square root of their frequency.

    Raises:
        ImportError: with the command that installs wordfreq.
    """
    try:
        from wordfreq import top_n_list, word_frequency
    except ImportError as error:
        raise ImportError("frequent words come from wordfreq: pip install wordfreq") from error
    # Letters only: the model would not see how a number or an abbreviation is spoken.
    lexicon = [word for word in top_n_list("en", known) if word.isascii() and word.isalpha()]
    lexicon = [word for word in lexicon if len(word) > 2 or word in _SHORT]
    weights = np.sqrt([word_frequency(word, "en") for word in lexicon])
    rng = np.random.default_rng([seed, 1])
    lengths = rng.integers(1, words + 1, size=count)
    drawn = rng.choice(len(lexicon), size=int(lengths.sum()), p=weights / weights.sum())
    ends = np.cumsum(lengths)
    return [" ".join(lexicon[i] for i in part) for part in np.split(drawn, ends[:-1])]


_SHORT = frozenset(
    "a am an as at be by do go he hi i if in is it me my no of oh on or so to up us we".split()
)


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
    sources: Sequence[str],
    out: Path,
    count: int,
    seed: int,
    words: int | None = None,
    frequent: float = 0.0,
    workers: int = 1,
) -> Path:
    """Write the readings and their manifest; returns the manifest.

    Args:
        sources: corpora whose texts are read.
        out: folder.
        count: of readings.
        seed: of all that is drawn; part of the names if it is not 0, so that several runs mix.
        words: pieces of 1 to so many words, None for whole texts.
        frequent: so many readings beside them, as a share of ``count``, of frequent words.
        workers: processes.

    Raises:
        ValueError: if the sources have no texts.
    """
    texts = sorted({text for one in list_recordings(sources) if (text := one.entry.text.strip())})
    if not texts:
        raise ValueError(f"no text in {', '.join(sources)}: readings need texts")
    plan = list(readings(texts, count, seed, words))
    if frequent:
        drawn = words_by_frequency(round(frequent * count), words or 8, seed)
        plan += [
            dataclasses.replace(one, id=one.id.replace("reading", "words"), text=text)
            for one, text in zip(readings(texts, len(drawn), seed + 1), drawn, strict=True)
        ]
    if seed:
        plan = [dataclasses.replace(one, id=f"{one.id}-{seed}") for one in plan]
    (out / "audio").mkdir(parents=True, exist_ok=True)
    todo = [(one, out / "audio" / f"{one.id}.ogg") for one in plan]
    with _written(todo, workers) as done:
        for _ in tqdm(done, total=len(todo), unit="text", desc="readings"):
            pass
    rows = [
        {
            "id": one.id,
            "audio": f"audio/{path.name}",
            "text": one.text,
            "speaker": one.voice.name,
            "domain": "speech",
            "split": "train",
        }
        for one, path in todo
    ]
    manifest = out / "manifest.jsonl"
    write_text(manifest, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return manifest


@contextmanager
def _written(todo: Sequence[tuple[Reading, Path]], workers: int) -> Iterator[Iterator[None]]:
    """Files as they are written; in processes, for espeak-ng keeps one state for all threads."""
    if workers <= 1:
        speak = find_speaker()[1]
        yield map(functools.partial(_write_one, speak), todo)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _start_speaker) as pool:
        yield pool.imap_unordered(_write_here, todo, chunksize=16)


def _start_speaker() -> None:
    """Load the synthesiser once in a process."""
    _of_process.append(find_speaker()[1])


def _write_here(job: tuple[Reading, Path]) -> None:
    _write_one(_of_process[0], job)


_of_process: list[Speak] = []


def _write_one(speak: Speak, job: tuple[Reading, Path]) -> None:
    """Read one text into its file, unless it is there."""
    reading, path = job
    if path.exists():
        return
    aside = path.with_suffix(".tmp")
    wav = speak(reading.text, reading.voice, RATE)
    soundfile.write(aside, wav, RATE, format="OGG", subtype="OPUS")
    aside.replace(path)


def main() -> None:
    """Make readings as the command line asks, see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", help="corpora whose texts are read, as for --data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6000, help="readings (default %(default)s)")
    parser.add_argument("--words", type=int, metavar="N", help="pieces of 1 to N words only")
    parser.add_argument(
        "--frequent",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="so many more, as a share of --count, of frequent English words",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
    o = parser.parse_args()
    print(make(o.sources, o.out, o.count, o.seed, o.words, o.frequent, o.workers))
