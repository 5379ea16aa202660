"""Noise on what a model reads in training, never on what it has to say.

A model of few texts learns them by heart: given how a transcript begins, it goes on without
listening. Where some of the ids before are wrong, only the audio says what comes; where some of the
codes are wrong, no single one may be trusted; where they are wrong for a while, the words around
have to say what was there (ours, D; word dropout and SpecAugment, Park et al. 2019, are their kin).

Letters: `L` rows, `K` codebooks.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import AudioLMConfig
from ..sequences import IGNORED, Sequence
from ..vocabulary import Vocabulary


def with_noise(
    sequence: Sequence,
    config: AudioLMConfig | Vocabulary,
    *,
    eos_id: int,
    share: float,
    seed: int,
    span: int = 1,
) -> Sequence:
    """The sequence with a share of its written ids, and of its rows of codes, drawn at random.

    Labels, ends, all that steers (tasks, rates, openings) and texts that are given stay: a word
    that is not there cannot be said.

    Args:
        sequence: rows `[L, 1+K]`.
        config: of the model, or its vocabulary.
        eos_id: the tokenizer's end token, which stays.
        share: of the rows.
        seed: of which, and of what stands there instead.
        span: most rows in a row of codes that are heard; of those to be said each is on its own.
    """
    if not share:
        return sequence
    rng, vocabulary = np.random.default_rng(seed), Vocabulary.of(config)
    rows, labels = sequence.input_ids.numpy().copy(), sequence.labels.numpy()
    chosen = rng.random(len(rows)) < share
    written = labels[:, 0] != IGNORED
    text = chosen & written & (rows[:, 0] < vocabulary.num_text) & (rows[:, 0] != eos_id)
    rows[text, 0] = rng.integers(vocabulary.num_text, size=int(text.sum()))
    heard = rows[:, 1:]  # [L, K], a view
    if span > 1:
        to_say = (labels[:, 1:] != IGNORED).any(axis=1)
        spans = _spans(np.random.default_rng([seed, 1]), len(rows), share, span)
        chosen = np.where(to_say, chosen, spans)
    codes = chosen[:, None] & (heard < vocabulary.audio_end)  # no end, no empty place
    heard[codes] = rng.integers(vocabulary.num_codes, size=int(codes.sum()))
    return dataclasses.replace(sequence, input_ids=torch.from_numpy(rows))


def _spans(rng: np.random.Generator, count: int, share: float, span: int) -> NDArray[np.bool_]:
    """Which of so many rows lie in spans of 1 to `span`; about that share of them, `[L]`."""
    rate = -np.log1p(-share) / ((1 + span) / 2)  # of beginnings; spans may overlap
    begins = np.flatnonzero(rng.random(count) < rate)
    ends = begins + rng.integers(1, span + 1, size=len(begins))
    edges = np.zeros(count + span + 1, np.int64)
    np.add.at(edges, begins, 1)
    np.add.at(edges, ends, -1)
    return np.asarray(edges.cumsum()[:count] > 0)
