"""The query encoder and decoder: Transformers over interleaved sequences (:mod:`.queries`).

encoder   frames [B, T, D] -interleave-> [B, T + Q, D] -Transformer-> -retrieve-> queries [B, Q, D]
decoder   queries [B, Q, D] -interleave masks-> [B, T + Q, D] -> -retrieve-> frames [B, T, D]
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

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        width = config.encoder_width
        self.query = nn.Parameter(torch.randn(width) * config.initializer_range)
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
        sequence = self.transformer(sequence, frames_per_query + 1)
        return self._project(retrieve_queries(sequence, frames_per_query))

    def step(
        self, frames: Tensor, frames_per_query: int, state: State | None
    ) -> tuple[Tensor, State]:
        """Process the next whole windows of a stream, like :meth:`forward`."""
        sequence = self._interleave(frames, frames_per_query)
        sequence, state = self.transformer.step(sequence, frames_per_query + 1, state)
        return self._project(retrieve_queries(sequence, frames_per_query)), state

    def encode_frames(self, frames: Tensor, frames_per_query: int) -> Tensor:
        """Encode frames without queries (masked prediction, paper.md 5.1): `[B, T, D]`."""
        return self.output(self.transformer(self.input(frames), frames_per_query))

    def _interleave(self, frames: Tensor, frames_per_query: int) -> Tensor:
        windows = self.input(frames).unflatten(1, (-1, frames_per_query))  # [B, Q, w, D]
        if self.places is not None:
            windows = windows + self.places(frames_per_query)
        return interleave_queries(windows.flatten(1, 2), self.query, frames_per_query)

    def _project(self, queries: Tensor) -> Tensor:
        return self.norm(self.output(queries))


class QueryDecoder(nn.Module):
    """Quantised queries to frames; masks attend to their own query and the preceding positions."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        width = config.decoder_width
        self.mask = nn.Parameter(torch.randn(width) * config.initializer_range)
        self.input = Linear(config.hidden_size, width)
        self.places = WindowPositionEmbedding(width) if config.window_positions else None
        self.transformer = _transformer(config, width, config.decoder_layers)
        self.output = Linear(width, config.hidden_size)
        # Strictly causal masks could not attend to their own query behind them (paper.md 2.2).
        self.query_first = config.attention_mode == "causal"

    def forward(self, queries: Tensor, frames_per_query: int) -> Tensor:
        """Map queries `[B, Q, D]` to frames `[B, Q * w, D]`."""
        sequence = self._interleave(queries, frames_per_query)
        sequence = self.transformer(sequence, frames_per_query + 1)
        return self._retrieve(sequence, frames_per_query)

    def step(
        self, queries: Tensor, frames_per_query: int, state: State | None
    ) -> tuple[Tensor, State]:
        """Process the next queries of a stream, like :meth:`forward`."""
        sequence = self._interleave(queries, frames_per_query)
        sequence, state = self.transformer.step(sequence, frames_per_query + 1, state)
        return self._retrieve(sequence, frames_per_query), state

    def _interleave(self, queries: Tensor, frames_per_query: int) -> Tensor:
        masks = self.mask  # [D]
        if self.places is not None:
            masks = masks + self.places(frames_per_query)  # [w, D]
        return interleave_masks(
            self.input(queries), masks, frames_per_query, query_first=self.query_first
        )

    def _retrieve(self, sequence: Tensor, frames_per_query: int) -> Tensor:
        frames = retrieve_frames(sequence, frames_per_query, query_first=self.query_first)
        return self.output(frames)


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
