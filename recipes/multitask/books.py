r"""Books -> passages to learn texts from, none of which a test could have told.

    python -c "from almtok.recipes.multitask.books import main; main()" BOOK.txt ... \
        --held-out speech=test/ --out texts.txt
    almtok lm train --texts texts.txt --text-share 0.25 ...

A passage is a sentence or a part of one, in lower-case words, as long as what is transcribed at
once. Left out is what has digits or letters that English has not (the model would not see how they
are spoken), what comes twice, and what shares five words in a row with a held-out text.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from almtok.core.files import write_text
from almtok.lm.data.sources import list_recordings
from almtok.lm.text.normalize import clean, plain
from almtok.lm.text.sentences import split_sentences

SHARED = 5  # words in a row that two texts must not share
_STRANGE = re.compile(r"\d|[^\x00-\x7f]")


@dataclass(frozen=True)
class Passages:
    """What was made of books."""

    lines: tuple[str, ...]
    held_out: int  # passages left out because a held-out text has words of theirs

    @property
    def words(self) -> int:
        """In all lines."""
        return sum(len(line.split()) for line in self.lines)


def passages(books: Iterable[str], held_out: Iterable[str], most: int = 24) -> Passages:
    """Passages of books.

    Args:
        books: their texts.
        held_out: texts that nothing may be learned of.
        most: words of a passage.
    """
    taboo = {run for text in held_out for run in _runs(plain(text).split())}
    lines: dict[str, None] = {}
    left_out = 0
    for book in books:
        for words in _pieces(book, most):
            if taboo.isdisjoint(_runs(words)):
                lines[" ".join(words)] = None
            else:
                left_out += 1
    return Passages(tuple(lines), left_out)


def _pieces(book: str, most: int) -> Iterator[list[str]]:
    for sentence in split_sentences(book):
        # Typographic quotes are English; other letters and digits are spoken one does not see how.
        if _STRANGE.search(clean(sentence).replace("\u2014", " ").replace("\u2013", " ")):
            continue
        words = plain(sentence).split()
        for first in range(0, len(words), most):
            if len(piece := words[first : first + most]) > 1:
                yield piece


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All runs of so many words; of a shorter text the text itself."""
    for first in range(max(1, len(words) - SHARED + 1)):
        yield tuple(words[first : first + SHARED])


def main() -> None:
    """Make passages as the command line asks, see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("books", nargs="+", type=Path, help="text files in UTF-8")
    add(
        "--held-out", nargs="*", default=[], metavar="SRC", help="recordings with texts, see --data"
    )
    add("--words", type=int, default=24, help="most words of a passage (default %(default)s)")
    add("--out", type=Path, required=True)
    o = parser.parse_args()
    held_out = [one.entry.text for one in list_recordings(o.held_out)] if o.held_out else []
    books = (path.read_text(encoding="utf-8", errors="replace") for path in o.books)
    made = passages(books, held_out, o.words)
    if not made.lines:
        parser.error(f"no passage in {len(o.books)} files: expected English text")
    write_text(o.out, "".join(f"{line}\n" for line in made.lines))
    print(f"{o.out}: {len(made.lines)} passages, {made.words} words; {made.held_out} left out")
