"""Scores of captions against one reference each: BLEU and CIDEr, simplified.

Without stemming and with plain words as tokens: they compare systems on one test set, but not with
published figures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.metrics.intervals import bootstrap_interval
from ...lm.text.normalize import plain

_MOST = 4  # longest n-gram, as in both papers
_CIDER_SCALE = 10.0

Grams = Counter[tuple[str, ...]]


def caption_scores(outputs: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """`bleu` and `cider` of captions, as intervals of the captions' own scores.

    Raises:
        ValueError: for lists of different lengths, or without captions.
    """
    if len(outputs) != len(references) or not outputs:
        raise ValueError(f"{len(outputs)} captions and {len(references)} references came")
    bleus = [bleu(output, ref) for output, ref in zip(outputs, references, strict=True)]
    return {
        "bleu": bootstrap_interval(bleus),
        "cider": bootstrap_interval(cider(outputs, references)),
    }


def bleu(output: str, reference: str) -> float:
    """Sentence BLEU in [0, 1], with add-one smoothing for n > 1 (Lin and Och 2004).

    `n` is at most 4 and at most the length of the shorter text.
    """
    came, wanted = plain(output).split(), plain(reference).split()
    if not came or not wanted:
        return float(came == wanted)
    logs = []
    for n in range(1, min(_MOST, len(came), len(wanted)) + 1):
        found, known = _grams(came, n), _grams(wanted, n)
        hits = sum(min(count, known[gram]) for gram, count in found.items())
        extra = 0 if n == 1 else 1
        if not hits + extra:
            return 0.0
        logs.append(math.log((hits + extra) / (found.total() + extra)))
    brevity = min(0.0, 1 - len(wanted) / len(came))
    return math.exp(sum(logs) / len(logs) + brevity)


def cider(outputs: Sequence[str], references: Sequence[str]) -> list[float]:
    """CIDEr of each caption (Vedantam et al. 2015): cosine similarity of TF-IDF n-gram vectors.

    Document frequencies are counted in the given references, so a single caption scores 0.
    """
    came = [plain(output).split() for output in outputs]
    wanted = [plain(reference).split() for reference in references]
    totals = np.zeros(len(came))
    for n in range(1, _MOST + 1):
        known = [_grams(words, n) for words in wanted]
        documents: Grams = Counter(gram for grams in known for gram in grams)
        for place, (words, grams) in enumerate(zip(came, known, strict=True)):
            totals[place] += _cosine(_grams(words, n), grams, documents, len(wanted))
    return [float(total) * _CIDER_SCALE / _MOST for total in totals]


def _grams(words: Sequence[str], n: int) -> Grams:
    return Counter(tuple(words[first : first + n]) for first in range(len(words) - n + 1))


def _cosine(came: Grams, wanted: Grams, documents: Grams, total: int) -> float:
    def weighed(grams: Grams) -> dict[tuple[str, ...], float]:
        return {
            gram: count / grams.total() * math.log(total / max(1, documents[gram]))
            for gram, count in grams.items()
        }

    a, b = weighed(came), weighed(wanted)
    norms = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(weight * b.get(gram, 0.0) for gram, weight in a.items()) / norms if norms else 0.0
