"""Scores of captions against one reference each: BLEU and CIDEr, simplified.

Without stemming and with plain words as tokens: they compare systems on one test set, but not with
published figures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ...core.metrics.intervals import Score, bootstrap_interval
from ...lm.text.normalize import plain

_MAX_N = 4  # longest n-gram, as in both papers
_CIDER_SCALE = 10.0

Ngrams = Counter[tuple[str, ...]]


def caption_scores(outputs: Sequence[str], references: Sequence[str]) -> list[Score]:
    """BLEU and CIDEr of captions, with intervals over captions.

    Raises:
        ValueError: for lists of different lengths, or without captions.
    """
    if len(outputs) != len(references) or not outputs:
        raise ValueError(
            f"captions must be as many as the references, at least one, got {len(outputs)} and"
            f" {len(references)}"
        )
    bleus = [bleu(output, ref) for output, ref in zip(outputs, references, strict=True)]
    ciders = bootstrap_interval(cider(outputs, references))
    return [Score("bleu", bootstrap_interval(bleus)), Score("cider", ciders)]


def bleu(output: str, reference: str) -> float:
    """Sentence BLEU in [0, 1], with add-one smoothing for n > 1 (Lin and Och 2004).

    `n` is at most 4 and at most the length of the shorter text.
    """
    words, target = plain(output).split(), plain(reference).split()
    if not words or not target:
        return float(words == target)
    logs = []
    for n in range(1, min(_MAX_N, len(words), len(target)) + 1):
        grams, target_grams = _ngrams(words, n), _ngrams(target, n)
        hits = sum(min(count, target_grams[gram]) for gram, count in grams.items())
        smoothing = 0 if n == 1 else 1
        if not hits + smoothing:
            return 0.0
        logs.append(math.log((hits + smoothing) / (grams.total() + smoothing)))
    brevity = min(0.0, 1 - len(target) / len(words))
    return math.exp(sum(logs) / len(logs) + brevity)


def cider(outputs: Sequence[str], references: Sequence[str]) -> list[float]:
    """CIDEr of each caption (Vedantam et al. 2015): cosine similarity of TF-IDF n-gram vectors.

    Document frequencies are counted in the given references, so a single caption scores 0.
    """
    output_words = [plain(output).split() for output in outputs]
    reference_words = [plain(reference).split() for reference in references]
    totals = np.zeros(len(outputs))
    for n in range(1, _MAX_N + 1):
        targets = [_ngrams(words, n) for words in reference_words]
        documents: Ngrams = Counter(gram for grams in targets for gram in grams)
        for index, (words, target) in enumerate(zip(output_words, targets, strict=True)):
            totals[index] += _cosine(_ngrams(words, n), target, documents, len(targets))
    return [float(total) * _CIDER_SCALE / _MAX_N for total in totals]


def _ngrams(words: Sequence[str], n: int) -> Ngrams:
    return Counter(tuple(words[first : first + n]) for first in range(len(words) - n + 1))


def _cosine(output: Ngrams, target: Ngrams, documents: Ngrams, total: int) -> float:
    def tf_idf(grams: Ngrams) -> dict[tuple[str, ...], float]:
        return {
            gram: count / grams.total() * math.log(total / max(1, documents[gram]))
            for gram, count in grams.items()
        }

    a, b = tf_idf(output), tf_idf(target)
    norms = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(weight * b.get(gram, 0.0) for gram, weight in a.items()) / norms if norms else 0.0
