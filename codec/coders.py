"""The query encoder and decoder: Transformers over interleaved sequences (:mod:`.queries`).

encoder   frames [B, T, D] -interleave-> [B, T + Q, D] -Transformer-> -retrieve-> queries [B, Q, D]
decoder   queries [B, Q, D] -interleave masks-> [B, T + Q, D] -> -retrieve-> frames [B, T, D]

With `pooling="mean"` there are no query and mask tokens: the Transformers process frames, a query
is the mean of its window, and the decoder repeats it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.linear import Linear
from .batch_normalizer import BatchNormalizer
from .cache import AttentionCache
from .config import ALMTokenizerConfig
from .queries import interleave_masks, interleave_queries, retrieve_frames, retrieve_queries
from .transformer import Transformer

State = list[AttentionCache]
_NUM_WAVES = 16


class WindowPositionEmbedding(nn.Module):
    """Embedding of the distance to the query for each position of a window of any length w.

    The w masks of a window are copies of one token, and rotary embeddings affect attention scores
    only. With distinct inputs the first training steps are much more effective (ours, D).
    """

    def __init__(self, width: int):
        super().__init__()
        self.projection = nn.Linear(2 * _NUM_WAVES, width)
        nn.init.normal_(self.projection.weight, std=0.1)

    def forward(self, frames_per_query: int) -> Tensor:
        """Return `[w, D]`; the last row is next to the query."""
        weight = self.projection.weight
        steps = torch.arange(frames_per_query, 0, -1, device=weight.device, dtype=torch.float32)
        scales = torch.logspace(0, 1.5, _NUM_WAVES, device=weight.device)  # periods 6 to 200 steps
        angles = steps[:, None] / scales
        return self.projection(torch.cat([angles.sin(), angles.cos()], dim=1).to(weight.dtype))


class QueryEncoder(nn.Module):
    """Frames to queries; each query attends to its own window and the preceding positions."""

    query: nn.Parameter | None  # None: a query is the mean of its window

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        width = config.encoder_width
        self.query = _token(config, width)
        self.input = Linear(config.hidden_size, width)
        self.places = WindowPositionEmbedding(width) if config.window_positions else None
        self.transformer = _transformer(config, width, config.encoder_layers)
        self.output = Linear(width, config.hidden_size)
        self.norm = (
            BatchNormalizer(config.hidden_size) if config.normalize_queries else nn.Identity()
        )

    def forward(self, frames: Tensor, frames_per_query: int) -> Tensor:
        """Map frames `[B, T, D]`, T a multiple of w, to queries `[B, T / w, D]`."""
        sequence = self._interleave(frames, frames_per_query)
        sequence = self.transformer(sequence, _block_size(self.query, frames_per_query))
        return self._project(sequence, frames_per_query)

    def step(
        self, frames: Tensor, frames_per_query: int, state: State | None
    ) -> tuple[Tensor, State]:
        """Process the next whole windows of a stream, like :meth:`forward`."""
        sequence = self._interleave(frames, frames_per_query)
        block = _block_size(self.query, frames_per_query)
        sequence, state = self.transformer.step(sequence, block, state)
        return self._project(sequence, frames_per_query), state

    def encode_frames(self, frames: Tensor, frames_per_query: int) -> Tensor:
        """Encode frames without queries (masked prediction, paper.md 5.1): `[B, T, D]`."""
        return self.output(self.transformer(self.input(frames), frames_per_query))

    def _interleave(self, frames: Tensor, frames_per_query: int) -> Tensor:
        windows = self.input(frames).unflatten(1, (-1, frames_per_query))  # [B, Q, w, D]
        if self.places is not None:
            windows = windows + self.places(frames_per_query)
        if self.query is None:
            return windows.flatten(1, 2)
        return interleave_queries(windows.flatten(1, 2), self.query, frames_per_query)

    def _project(self, sequence: Tensor, frames_per_query: int) -> Tensor:
        if self.query is None:
            queries = sequence.unflatten(1, (-1, frames_per_query)).mean(dim=2)
        else:
            queries = retrieve_queries(sequence, frames_per_query)
        return self.norm(self.output(queries))


class QueryDecoder(nn.Module):
    """Quantised queries to frames; masks attend to their own query and the preceding positions."""

    mask: nn.Parameter | None  # None: the frames of a window are copies of its query

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        width = config.decoder_width
        self.mask = _token(config, width)
        self.input = Linear(config.hidden_size, width)
        self.places = WindowPositionEmbedding(width) if config.window_positions else None
        self.transformer = _transformer(config, width, config.decoder_layers)
        self.output = Linear(width, config.hidden_size)
        # Strictly causal masks could not attend to their own query behind them (paper.md 2.2).
        self.query_first = config.attention_mode == "causal"

    def forward(self, queries: Tensor, frames_per_query: int) -> Tensor:
        """Map queries `[B, Q, D]` to frames `[B, Q * w, D]`."""
        sequence = self._interleave(queries, frames_per_query)
        sequence = self.transformer(sequence, _block_size(self.mask, frames_per_query))
        return self._retrieve(sequence, frames_per_query)

    def step(
        self, queries: Tensor, frames_per_query: int, state: State | None
    ) -> tuple[Tensor, State]:
        """Process the next queries of a stream, like :meth:`forward`."""
        sequence = self._interleave(queries, frames_per_query)
        block = _block_size(self.mask, frames_per_query)
        sequence, state = self.transformer.step(sequence, block, state)
        return self._retrieve(sequence, frames_per_query), state

    def _interleave(self, queries: Tensor, frames_per_query: int) -> Tensor:
        if self.mask is None:
            copies = self.input(queries)[:, :, None].expand(-1, -1, frames_per_query, -1)
            if self.places is not None:
                copies = copies + self.places(frames_per_query)
            return copies.flatten(1, 2)
        masks: Tensor = self.mask  # [D]
        if self.places is not None:
            masks = masks + self.places(frames_per_query)  # [w, D]
        return interleave_masks(
            self.input(queries), masks, frames_per_query, query_first=self.query_first
        )

    def _retrieve(self, sequence: Tensor, frames_per_query: int) -> Tensor:
        if self.mask is not None:
            sequence = retrieve_frames(sequence, frames_per_query, query_first=self.query_first)
        return self.output(sequence)


def _token(config: ALMTokenizerConfig, width: int) -> nn.Parameter | None:
    """The shared query or mask token `[D]`; None with mean pooling."""
    token = torch.randn(width) * config.initializer_range
    return nn.Parameter(token) if config.pooling == "queries" else None


def _block_size(token: Tensor | None, frames_per_query: int) -> int:
    """Positions of a window in the sequence of the Transformer."""
    return frames_per_query + (token is not None)


def _transformer(config: ALMTokenizerConfig, width: int, num_layers: int) -> Transformer:
    return Transformer(
        width=width,
        num_layers=num_layers,
        num_heads=config.num_attention_heads,
        ffn_size=config.ffn_ratio * width,
        window=config.attention_window,
        mode=config.attention_mode,
        layer_scale=config.layer_scale,
        rope_theta=config.rope_theta,
    )
