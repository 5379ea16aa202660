"""Noise on what a model reads in training, never on what it has to say.

A model of few texts learns them by heart: given how a transcript begins, it goes on without
listening. Where some of the ids before are wrong, only the audio says what comes; where some of the
codes are wrong, no single one may be trusted (ours, D; word dropout and SpecAugment are their kin).

Letters: `L` rows, `K` codebooks.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from .config import AudioLMConfig
from .sequences import IGNORED, Sequence
from .vocabulary import Vocabulary


def with_noise(
    sequence: Sequence,
    config: AudioLMConfig | Vocabulary,
    *,
    eos_id: int,
    share: float,
    seed: int,
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
    codes = chosen[:, None] & (heard < vocabulary.audio_end)  # no end, no empty place
    heard[codes] = rng.integers(vocabulary.num_codes, size=int(codes.sum()))
    return dataclasses.replace(sequence, input_ids=torch.from_numpy(rows))
