"""Interleaving and retrieval of query tokens, as pure functions.

Layout (paper.md 2.2, A), for w = 2 frames per query:

    encoder   f0 f1 q  f2 f3 q  ...     query i is the last of its block, at position i(w+1) + w
    decoder   m  m  h0 m  m  h1 ...     mask frames before their quantised query

A block is w frames (or masks) and their query. With strictly causal attention the masks of a block
could not attend to their own query, so there the query is the first of the decoder's block.

Shapes: `B` batch, `T` frames, `Q` queries, `w` frames per query, `D` width; `T = Q * w`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def num_queries(num_samples: int, hop_length: int, frames_per_query: int) -> int:
    """Return `Q` for a waveform; the last block is padded (paper.md 2.3, D)."""
    return -(-num_samples // (hop_length * frames_per_query))


def interleave_queries(frames: Tensor, query: Tensor, frames_per_query: int) -> Tensor:
    """Insert the query token after every `w` frames.

    Args:
        frames: `[B, T, D]`, T a multiple of w.
        query: the shared query token, `[D]`.
        frames_per_query: w.

    Returns:
        `[B, Q * (w + 1), D]`.

    Raises:
        ValueError: T is not a multiple of w.
    """
    blocks = _blocks(frames, frames_per_query)  # [B, Q, w, D]
    batch, queries, _, width = blocks.shape
    tokens = query.to(frames.dtype).expand(batch, queries, 1, width)
    return torch.cat([blocks, tokens], dim=2).flatten(1, 2)


def retrieve_queries(sequence: Tensor, frames_per_query: int) -> Tensor:
    """Keep the query positions: `[B, Q * (w + 1), D]` to `[B, Q, D]`."""
    return _blocks(sequence, frames_per_query + 1)[:, :, -1]


def interleave_masks(
    queries: Tensor, mask: Tensor, frames_per_query: int, *, query_first: bool = False
) -> Tensor:
    """Insert `w` copies of the mask token before each quantised query.

    Args:
        queries: `[B, Q, D]`.
        mask: the shared mask token, `[D]`, or one for each position of the window, `[w, D]`.
        frames_per_query: w.
        query_first: put the masks after their query (strictly causal attention).

    Returns:
        `[B, Q * (w + 1), D]`.
    """
    batch, count, width = queries.shape
    masks = mask.to(queries.dtype).expand(batch, count, frames_per_query, width)
    tokens = queries.unsqueeze(2)
    block = [tokens, masks] if query_first else [masks, tokens]
    return torch.cat(block, dim=2).flatten(1, 2)


def retrieve_frames(
    sequence: Tensor, frames_per_query: int, *, query_first: bool = False
) -> Tensor:
    """Keep the mask positions: `[B, Q * (w + 1), D]` to `[B, Q * w, D]`."""
    blocks = _blocks(sequence, frames_per_query + 1)
    kept = blocks[:, :, 1:] if query_first else blocks[:, :, :-1]
    return kept.flatten(1, 2)


def _blocks(sequence: Tensor, size: int) -> Tensor:
    batch, length, width = sequence.shape
    if size < 1 or length % size:
        raise ValueError(f"the sequence length must be a multiple of {size}, got {length}")
    return sequence.reshape(batch, length // size, size, width)
