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

from .chunked_loss import StreamLoss
from .config import AudioLMConfig
from .loss import combine

# Arguments and outputs of causal models of transformers that this one lacks -> what there is.
_INSTEAD = {
    "output_attentions": "the attentions of lm.backbone",
    "cache_position": "position_ids",
    # The Trainer's label smoothing reads it.
    "logits": "text_logits and audio_logits, of two vocabularies: label_smoothing_factor must be 0;"
    " lm.config.label_smoothing does it",
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


def check_rows(
    config: AudioLMConfig,
    input_ids: Tensor | None,
    labels: Tensor | None,
    inputs_embeds: Tensor | None,
    return_logits: bool,
) -> int:
    """Check the inputs of :meth:`AudioLM.forward`.

    Returns:
        The number of rows L.

    Raises:
        ValueError: a shape is wrong, or rows are missing where their embeddings do not suffice.
    """
    streams = 1 + config.num_codebooks
    if input_ids is not None:
        shape = tuple(input_ids.shape)
        if len(shape) != 3 or shape[-1] != streams:
            raise ValueError(f"input_ids must be rows [B, L, {streams}], got {list(shape)}")
    else:
        depth = return_logits and config.pattern == "depth"
        ctc = labels is not None and config.ctc_weight > 0
        if inputs_embeds is None or depth or ctc or config.bidirectional_conditions:
            raise ValueError(f"input_ids must be rows [B, L, {streams}], got None")
        shape = (*inputs_embeds.shape[:2], streams)
    expected = (*shape[:2], config.hidden_size)
    if inputs_embeds is not None and inputs_embeds.shape != expected:
        raise ValueError(f"inputs_embeds must be {list(expected)}, got {list(inputs_embeds.shape)}")
    if labels is not None and labels.shape != shape:
        raise ValueError(
            f"labels must have the shape of input_ids, {list(shape)}, got {list(labels.shape)}"
        )
    return shape[1]
