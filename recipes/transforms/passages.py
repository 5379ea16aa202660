r"""Extract passages from books as texts without audio, without any text of the held-out data.

    python -c "from almtok.recipes.transforms.passages import main; main()" BOOK.txt ... \
        --held-out speech=test/ --out texts.txt
    almtok lm train --texts texts.txt --text-share 0.25 ...

A passage is a sentence or a part of one, in lower-case words, as long as a typical transcript. Left
out are sentences with digits or with letters that English does not have (their spelling does not
tell how they are spoken), repetitions, and what shares five consecutive words with a held-out text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from almtok.core.data.manifests import list_entries
from almtok.core.files import write_text
from almtok.lm.text.normalize import clean, plain
from almtok.lm.text.sentences import split_sentences

from .common import command_line

OVERLAP = 5  # consecutive words that a passage must not share with a held-out text
_NOT_ENGLISH = re.compile(r"\d|[^\x00-\x7f]")


@dataclass(frozen=True)
class Passages:
    """Passages of some books."""

    lines: tuple[str, ...]
    held_out: int  # passages left out because they overlap with a held-out text

    @property
    def words(self) -> int:
        """Number of words in all lines."""
        return sum(len(line.split()) for line in self.lines)


def extract_passages(books: Iterable[str], held_out: Iterable[str], most: int = 24) -> Passages:
    """Split books into passages.

    Args:
        books: their texts.
        held_out: texts that must not be learned.
        most: words of a passage.
    """
    forbidden = {run for text in held_out for run in _ngrams(plain(text).split())}
    lines: dict[str, None] = {}
    left_out = 0
    for book in books:
        for words in _pieces(book, most):
            if forbidden.isdisjoint(_ngrams(words)):
                lines[" ".join(words)] = None
            else:
                left_out += 1
    return Passages(tuple(lines), left_out)


def _pieces(book: str, most: int) -> Iterator[list[str]]:
    for sentence in split_sentences(book):
        # Dashes are allowed; other letters beyond ASCII, and digits, are not.
        if _NOT_ENGLISH.search(clean(sentence).replace("\u2014", " ").replace("\u2013", " ")):
            continue
        words = plain(sentence).split()
        for first in range(0, len(words), most):
            if len(piece := words[first : first + most]) > 1:
                yield piece


def _ngrams(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All runs of five words; of a shorter text the text itself."""
    for first in range(max(1, len(words) - OVERLAP + 1)):
        yield tuple(words[first : first + OVERLAP])


def main() -> None:
    """Run the transform from the command line."""
    parser = command_line(__doc__, "books", "text files in UTF-8")
    parser.add_argument(
        "--held-out", nargs="*", default=[], metavar="SRC", help="recordings with texts, see --data"
    )
    parser.add_argument(
        "--words", type=int, default=24, help="most words of a passage (default %(default)s)"
    )
    args = parser.parse_args()
    entries = list_entries(args.held_out, transcripts=True) if args.held_out else []
    held_out = [entry.text for entry in entries]
    books = (Path(path).read_text(encoding="utf-8", errors="replace") for path in args.books)
    passages = extract_passages(books, held_out, args.words)
    if not passages.lines:
        parser.error(f"no passage in {len(args.books)} files: texts must be English")
    write_text(args.out, "".join(f"{line}\n" for line in passages.lines))
    counts = f"{len(passages.lines)} passages, {passages.words} words"
    print(f"{args.out}: {counts}; {passages.held_out} left out")
