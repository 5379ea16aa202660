"""Synthesize speech of the texts of a corpus (espeak-ng), whole or as pieces of a few words.

    python -c "from almtok.recipes.transforms.synthesize import main; main()" SRC --out DIR

Every text is read by several voices. Halves of two texts are also joined, so that a model cannot
memorize how a sentence ends. A share of the pieces may be English words drawn by their frequency
(`pip install wordfreq`), because a few hours of recordings have a small vocabulary. The result
depends on the seed only; a second run makes missing files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from almtok.core.data.manifests import list_entries

from ..mini.voices import VOICES, Speak, Voice, find_speaker
from .common import RATE, command_line, map_in_processes, write_manifest


@dataclass(frozen=True)
class Reading:
    """A text and the voice that reads it."""

    id: str
    text: str
    voice: Voice


def draw_readings(
    texts: Sequence[str], count: int, seed: int, words: int | None = None
) -> Iterator[Reading]:
    """Draw readings: each text in turn, alternating with halves of two texts joined.

    Speed, pitch and vocal tract length of the voice vary from reading to reading.

    Args:
        texts: of the corpus.
        count: number of readings.
        seed: of all random choices.
        words: if given, read pieces of 1 to this many words instead: short recordings teach a
            model fastest which sound belongs to which letters.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(texts))
    for number in range(count):
        text = texts[int(order[number // 2 % len(order)])]
        if words is not None:
            text = _piece(texts[int(order[number % len(order)])], words, rng)
        elif number % 2:
            text = _join(text, texts[int(rng.integers(len(texts)))], rng)
        voice = VOICES[int(rng.integers(len(VOICES)))]
        varied = dataclasses.replace(
            voice,
            words_per_minute=round(voice.words_per_minute * rng.uniform(0.85, 1.15)),
            pitch=int(np.clip(voice.pitch + rng.integers(-12, 13), 0, 99)),
            tract=voice.tract * rng.uniform(0.96, 1.04),
        )
        name = "reading" if words is None else "piece"
        yield Reading(f"{name}-{number:06d}", text, varied)


def draw_frequent_words(count: int, words: int, seed: int, vocabulary: int = 12_000) -> list[str]:
    """Draw `count` texts of 1 to `words` English words, by the square root of their frequency.

    Raises:
        ImportError: wordfreq is not installed; the message names the command.
    """
    try:
        from wordfreq import top_n_list, word_frequency
    except ImportError as error:
        raise ImportError("frequent words come from wordfreq: pip install wordfreq") from error
    # Letters only: the spelling of numbers and abbreviations does not tell how they are spoken.
    lexicon = [word for word in top_n_list("en", vocabulary) if word.isascii() and word.isalpha()]
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
    """Draw up to `most` consecutive words of a text."""
    words = text.split()
    count = min(len(words), int(rng.integers(1, most + 1)))
    first = int(rng.integers(len(words) - count + 1))
    return " ".join(words[first : first + count])


def _join(first_text: str, second_text: str, rng: np.random.Generator) -> str:
    """Join the beginning of one text and the end of another."""
    first, second = first_text.split(), second_text.split()
    head = first[: max(1, round(len(first) * rng.uniform(0.3, 0.7)))]
    tail = second[min(len(second) - 1, round(len(second) * rng.uniform(0.3, 0.7))) :]
    return " ".join([*head, *tail])


def synthesize(
    sources: Sequence[str],
    out: Path,
    *,
    count: int = 6000,
    words: int | None = None,
    frequent: float = 0.0,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Write the readings and a manifest of them; return the manifest.

    Args:
        sources: corpora whose texts are read.
        out: folder to write.
        count: number of readings.
        words: pieces of 1 to this many words, None for whole texts.
        frequent: readings of frequent English words in addition, as a share of `count`.
        seed: of all random choices. It is part of file names if it is not 0, so that runs with
            several seeds can share a folder.
        workers: processes.

    Raises:
        ValueError: the sources have no texts.
    """
    entries = list_entries(sources, transcripts=True)
    texts = sorted({text for entry in entries if (text := entry.text.strip())})
    if not texts:
        raise ValueError(f"no text in {', '.join(sources)}: readings need texts")
    plan = list(draw_readings(texts, count, seed, words))
    if frequent:
        drawn = draw_frequent_words(round(frequent * count), words or 8, seed)
        plan += [
            dataclasses.replace(reading, id=reading.id.replace("reading", "words"), text=text)
            for reading, text in zip(draw_readings(texts, len(drawn), seed + 1), drawn, strict=True)
        ]
    if seed:
        plan = [dataclasses.replace(reading, id=f"{reading.id}-{seed}") for reading in plan]
    (out / "audio").mkdir(parents=True, exist_ok=True)
    jobs = [(reading, out / "audio" / f"{reading.id}.ogg") for reading in plan]
    # In processes rather than threads: espeak-ng has one state per process.
    for _ in map_in_processes(
        _load, _write, jobs, workers=workers, description="synthesize", unit="text"
    ):
        pass
    rows = [
        {
            "id": reading.id,
            "audio": f"audio/{path.name}",
            "text": reading.text,
            "speaker": reading.voice.name,
            "domain": "speech",
            "split": "train",
        }
        for reading, path in jobs
    ]
    return write_manifest(out, rows)


def _load() -> Speak:
    return find_speaker()[1]


def _write(speak: Speak, job: tuple[Reading, Path]) -> None:
    """Write the audio of one reading, unless it exists."""
    reading, path = job
    if path.exists():
        return
    aside = path.with_suffix(".tmp")
    wav = speak(reading.text, reading.voice, RATE)
    soundfile.write(aside, wav, RATE, format="OGG", subtype="OPUS")
    aside.replace(path)


def main() -> None:
    """Run the transform from the command line."""
    parser = command_line(__doc__, help="corpora whose texts are read, as for --data")
    add = parser.add_argument
    add("--count", type=int, default=6000, help="readings (default %(default)s)")
    add("--words", type=int, metavar="N", help="pieces of 1 to N words only")
    add(
        "--frequent",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="readings of frequent English words in addition, as a share of --count",
    )
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=1, help="processes (default %(default)s)")
    print(synthesize(**vars(parser.parse_args())))
