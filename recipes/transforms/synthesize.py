"""Synthesize speech of the texts of a corpus (espeak-ng), whole or as pieces of a few words.

    python -c "from almtok.recipes.transforms.synthesize import main; main()" SRC --out DIR

Halves of two texts are also joined, so that a model cannot memorize how a sentence ends. A share of
the pieces may be English words drawn by their frequency (`pip install wordfreq`), because a few
hours of recordings have a small vocabulary. This chooses the texts; `almtok synthesize` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from almtok.core.data.manifests import list_entries
from almtok.lm.synthesis.backends import ESPEAK, load_backend
from almtok.lm.synthesis.corpus import MANIFEST, ReadingWriter
from almtok.lm.synthesis.corpus import synthesize as make_readings
from almtok.lm.synthesis.plan import Plan
from almtok.lm.synthesis.voices import Voice

from .common import command_line


def draw_texts(
    texts: Sequence[str], count: int, seed: int, words: int | None = None
) -> Iterator[str]:
    """Draw texts to read: each text in turn, alternating with halves of two texts joined.

    Args:
        texts: of the corpus.
        count: number of texts to draw.
        seed: of all random choices.
        words: if given, draw pieces of 1 to this many words instead: short recordings teach a
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
        yield text


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
        seed: of all random choices.
        workers: processes.

    Raises:
        KeyboardInterrupt: a signal arrived; the same call goes on.
        ValueError: the sources have no texts, or the folder holds other readings.
    """
    entries = list_entries(sources, transcripts=True)
    texts = sorted({text for entry in entries if (text := entry.text.strip())})
    if not texts:
        raise ValueError(f"no text in {', '.join(sources)}: readings need texts")
    drawn = list(draw_texts(texts, count, seed, words))
    if frequent:
        drawn += draw_frequent_words(round(frequent * count), words or 8, seed)
    backend = load_backend(ESPEAK, "en")
    voices = [Voice(name, name) for name in backend.voices()]
    writer = ReadingWriter(backend=backend, plan=Plan(drawn, voices, seed), out=out, format="opus")
    if not make_readings(writer, workers=workers).finished:
        raise KeyboardInterrupt
    return out / MANIFEST


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
