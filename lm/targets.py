"""Targets of a batch by stream, each with the states and the head that score it.

Shapes: `B` batch, `L` rows, `K` codebooks, `N` positions with a target, `D` width of the backbone,
`W` width of the states, `V` scored ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .chunked_loss import StreamLoss, chunk_logits, chunked, stream_loss
from .loss import joint_offset
from .sequences import IGNORED

if TYPE_CHECKING:
    from .model import AudioLM


@dataclass(frozen=True)
class StreamTargets:
    """The targets of one stream, and what scores them."""

    states: Tensor  # [N, W]
    labels: Tensor  # [N], or IGNORED
    score: Callable[[Tensor], Tensor]  # [n, W] -> logits [n, V]
    modules: tuple[nn.Module, ...]  # whose weights `score` uses
    num_ids: int  # V

    def logits(self) -> Tensor:
        """Logits of all targets `[N, V]`."""
        return self.score(self.states)

    def loss(self, smoothing: float = 0.0) -> StreamLoss:
        """Cross-entropy, without the logits of all targets at once (`chunked_loss.py`)."""
        labels = self.labels.split(chunk_logits(self.num_ids) // self.num_ids)

        def part(states: Tensor, number: int) -> StreamLoss:
            return stream_loss(self.score(states), labels[number], smoothing)

        return chunked(part, self.states, [len(chunk) for chunk in labels], self.modules)


def stream_targets(
    lm: AudioLM, hidden: Tensor, rows: Tensor, labels: Tensor
) -> dict[str, StreamTargets]:
    """Targets by stream: `text`, `audio_1` .. `audio_K`; most rows of a batch are conditions.

    Args:
        lm: the model.
        hidden: states `[B, L, D]`.
        rows: the next row of each position, `[B, L, 1+K]`.
        labels: of the next rows, `[B, L, 1+K]`.
    """
    if lm.config.pattern == "flat":
        return _joint_targets(lm, hidden, labels)
    is_text = labels[..., 0] != IGNORED
    text: Any = lm.get_output_embeddings()
    streams = {
        "text": StreamTargets(
            hidden[is_text], labels[is_text][:, 0], lm.text_logits, (text,), lm.config.vocab_size
        )
    }
    is_audio = (labels[..., 1:] != IGNORED).any(dim=-1)
    audio_labels = labels[is_audio][:, 1:]
    # Codes of the labels: the input may have noise (data/collator.py).
    codes = torch.where(audio_labels == IGNORED, rows[is_audio][:, 1:], audio_labels)
    states = lm.heads.states(hidden[is_audio], codes)
    for k, (head, x) in enumerate(zip(lm.heads.out, states, strict=True)):
        streams[f"audio_{k + 1}"] = StreamTargets(
            x, audio_labels[:, k], head, (head,), lm.heads.num_codes
        )
    return streams


def _joint_targets(lm: AudioLM, hidden: Tensor, labels: Tensor) -> dict[str, StreamTargets]:
    """Targets of pattern `flat`, whose streams share the vocabulary of `AudioLM.joint_logits`."""
    modules: Any = (lm.get_output_embeddings(), lm.embedding, lm.heads)
    size = joint_offset(lm.config, 1 + lm.config.num_codebooks)
    streams = {}
    for stream in range(labels.shape[-1]):
        here = labels[..., stream] != IGNORED
        streams[f"audio_{stream}" if stream else "text"] = StreamTargets(
            hidden[here],
            labels[here][:, stream] + joint_offset(lm.config, stream),
            lm.joint_logits,
            modules,
            size,
        )
    return streams
