"""Cross-entropy of text and codes, by stream and combined.

The loss is the mean over all targets, weighted by stream (the first codebook has a larger weight,
paper.md 8, C; the weights of the codebooks average to one). With the pattern `flat` all streams
share one vocabulary, so that an exported model needs no streams.

Shapes: `N` positions with a target, `V` text vocabulary, `K` codebooks, `C` codebook size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import AudioLMConfig
from .sequences import IGNORED
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class StreamLoss:
    """Cross-entropy of one stream over its targets."""

    total: Tensor  # scalar, sum over the targets
    count: Tensor  # scalar int64, number of targets
    hits: Tensor  # scalar int64, targets with the highest logit

    def __add__(self, other: StreamLoss) -> StreamLoss:
        return StreamLoss(
            self.total + other.total, self.count + other.count, self.hits + other.hits
        )

    @property
    def mean(self) -> Tensor:
        """Mean over the targets; zero without targets."""
        return self.total / self.count.clamp_min(1)

    @property
    def accuracy(self) -> Tensor:
        """Share of the targets with the highest logit."""
        return self.hits / self.count.clamp_min(1)


def stream_loss(logits: Tensor, labels: Tensor) -> StreamLoss:
    """Cross-entropy of logits `[N, C+1]` and labels `[N]` in float32; ignores `IGNORED`."""
    logits = logits.float()
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    is_target = labels != IGNORED
    hits = ((logits.argmax(dim=-1) == labels) & is_target).sum()
    return StreamLoss(total, is_target.sum(), hits)


def flat_streams(
    logits: Tensor, labels: Tensor, config: AudioLMConfig
) -> dict[str, tuple[Tensor, Tensor]]:
    """Joint logits `[N, V + controls + K * (C+1)]` and labels `[N, 1+K]`, by stream.

    The vocabulary is `AudioLM.joint_logits`': text, controls, then the codes of each codebook.
    """
    parts = {}
    for stream in range(labels.shape[1]):
        here = labels[:, stream] != IGNORED
        offset = joint_offset(config, stream)
        name = f"audio_{stream}" if stream else "text"
        parts[name] = logits[here], labels[here][:, stream] + offset
    return parts


def joint_offset(config: AudioLMConfig, stream: int) -> int:
    """First id of a stream (0 is text, k the k-th codebook) in the joint vocabulary."""
    if stream == 0:
        return 0
    first = config.vocab_size + Vocabulary(config).num_controls
    return first + (stream - 1) * (config.codebook_size + 1)


def audio_weights(config: AudioLMConfig) -> list[float]:
    """Weights of the codebooks; they average to one."""
    count = config.num_codebooks
    raw = [config.first_codebook_weight] + [1.0] * (count - 1)
    return [count * weight / sum(raw) for weight in raw]


def combine(
    parts: dict[str, StreamLoss],
    config: AudioLMConfig,
    num_targets: Tensor | int | None = None,
    ctc: StreamLoss | None = None,
) -> Tensor:
    """Combine `text`, `audio_1` .. `audio_K` into one loss.

    Args:
        parts: by stream.
        config: for the weights.
        num_targets: divisor, if several batches make one step (gradient accumulation, several
            processes); by default the number of targets in `parts`.
        ctc: CTC loss of transcripts, which is added; it does not count as a target.
    """
    weights = {f"audio_{k + 1}": weight for k, weight in enumerate(audio_weights(config))}
    weights["text"] = config.text_weight
    total = torch.stack([weights[name] * part.total for name, part in parts.items()]).sum()
    if num_targets is None:
        num_targets = torch.stack([part.count for part in parts.values()]).sum().clamp_min(1)
    if ctc is not None:
        total = total + config.ctc_weight * ctc.total
    return total / num_targets
