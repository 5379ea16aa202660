"""Transcripts of windows that overlap -> one text: joined where their words agree."""

from __future__ import annotations

import difflib

from ..lm.text.normalize import plain


def join_texts(left: str, right: str, *, most_overlap: int) -> str:
    """Join two transcripts of neighbouring windows.

    The longest run of words that the end of the one and the beginning of the other share is where
    they are joined: before it the left one counts (its words there have more context), after it
    the right one. Words at the very edge of a window are often half heard; so they are dropped.
    Without a word in common both are kept whole: rather a word twice than lost.

    Args:
        left: what comes first.
        right: what follows.
        most_overlap: words that the overlap can hold at most.

    Example:
        >>> join_texts("the cat sat on the ma", "sad on the mat and slept", most_overlap=4)
        'the cat sat on the mat and slept'
    """
    first, second = left.split(), right.split()
    if not first or not second or most_overlap < 1:
        return " ".join(first + second)
    begin = max(0, len(first) - most_overlap)
    tail = [_key(word) for word in first[begin:]]
    head = [_key(word) for word in second[:most_overlap]]
    match = difflib.SequenceMatcher(None, tail, head, autojunk=False).find_longest_match()
    if not match.size or not any(tail[match.a : match.a + match.size]):
        return " ".join(first + second)
    stop = begin + match.a + match.size
    return " ".join(first[:stop] + second[match.b + match.size :])


def _key(word: str) -> str:
    return plain(word)
