"""AudioLMOutput: what the language model computes.

Shapes: `B` batch, `L` rows, `K` codebooks, `C` codebook size, `V` text vocabulary, `D` width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache
from transformers.utils import ModelOutput

from .config import AudioLMConfig
from .loss import StreamLoss, combine

# Arguments and outputs of causal models of transformers that this one lacks -> what there is.
_INSTEAD = {
    "inputs_embeds": "input_ids: the heads read the codes of the next row",
    "past_key_values": "cache",
    "output_attentions": "the attentions of lm.backbone",
    "cache_position": "position_ids",
    # The Trainer's label smoothing reads it.
    "logits": "text_logits and audio_logits, of two vocabularies: label smoothing must be 0",
}


@dataclass
class AudioLMOutput(ModelOutput):
    """Output of :meth:`AudioLM.forward`.

    Position p of the hidden states and logits predicts row p + 1. There is no single `logits`: text
    and codes have vocabularies of their own.
    """

    loss: Tensor | None = None  # scalar
    losses: dict[str, Tensor] | None = None  # mean cross-entropy: text, audio_1 .. audio_K
    accuracies: dict[str, Tensor] | None = None  # by the same names

    streams: dict[str, StreamLoss] | None = None  # sums by stream, with their gradients
    ctc: StreamLoss | None = None  # sum of the CTC loss, with its gradients
    hidden: Tensor | None = None  # [B, L, D], with labels
    text_logits: Tensor | None = None  # [B, L, V]
    audio_logits: Tensor | None = None  # [B, L, K, C+1]
    cache: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None  # [B, L, D] of the embeddings and each layer

    def __getitem__(self, key: Any) -> Any:
        """A field by its name or number."""
        if key in _INSTEAD and key not in self.keys():
            raise KeyError(f"AudioLM has no {key}, but {_INSTEAD[key]}")
        return super().__getitem__(key)

    @classmethod
    def from_losses(
        cls,
        streams: dict[str, StreamLoss],
        ctc: StreamLoss | None,
        config: AudioLMConfig,
        num_items_in_batch: Tensor | int | None = None,
        **fields: Any,
    ) -> AudioLMOutput:
        """Combine the losses of the streams and of CTC by the weights in `config`."""
        return cls(
            loss=combine(streams, config, num_items_in_batch, ctc),
            losses={name: part.mean.detach() for name, part in streams.items()},
            accuracies={name: part.accuracy for name, part in streams.items()},
            streams=streams,
            ctc=ctc,
            **fields,
        )


def refuse_arguments(given: Mapping[str, object]) -> None:
    """Refuse arguments of :meth:`AudioLM.forward` that are not None.

    Raises:
        TypeError: names them, and what there is instead.
    """
    names = [name for name, value in given.items() if value is not None]
    if not names:
        return
    instead = "".join(f"; use {_INSTEAD[name]}" for name in names if name in _INSTEAD)
    raise TypeError(f"AudioLM.forward takes no {', '.join(names)}{instead}")
