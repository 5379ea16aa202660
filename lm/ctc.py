"""A second teacher for transcribing: the rows of the audio must spell its text by themselves.

A model that has few recordings goes on writing likely texts for long, without listening: to attend
to the right frame pays only once frames are understood. CTC (Graves et al. 2006) needs no
attention: it asks the hidden states of the audio's rows for the text, in order, by the backbone's
own text head. So there is no new weight, and a trained model is used as ever. As in hybrid CTC and
attention models (Kim et al. 2017); ours (D) for this kind of model.

Letters: `B` batch, `L` rows, `K` codebooks, `D` width, `N` utterances, `T` frames, `V` text ids.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .config import AudioLMConfig
from .loss import StreamLoss
from .sequences import IGNORED
from .vocabulary import Vocabulary

TRANSCRIBING = "asr"  # the task whose text says what is heard, in its order
_DEVICES = ("cpu", "cuda")  # that know CTC; for others, such as MPS, the CPU does it


def ctc_loss(
    hidden: Tensor,
    input_ids: Tensor,
    labels: Tensor,
    config: AudioLMConfig,
    text_logits: Callable[[Tensor], Tensor],
) -> StreamLoss:
    """CTC of the transcripts in a batch; texts longer than their audio count nothing.

    Args:
        hidden: states `[B, L, D]` after each row.
        input_ids: rows `[B, L, 1+K]`, padded on the right.
        labels: `[B, L, 1+K]`.
        config: of the model; its pad token is the blank, no text holds it.
        text_logits: `[.., D]` to `[.., V]`.

    Raises:
        ValueError: the backbone has no pad token of its own.
    """
    blank = blank_id(config)
    told = labels[..., 0] != IGNORED  # [B, L]
    heard = audio_positions(input_ids, labels, config)
    zero = hidden.new_zeros((), dtype=torch.float32)
    numbers = heard.any(dim=1).nonzero()[:, 0].tolist()
    if not numbers:
        return StreamLoss(zero, zero.long(), zero.long())
    states = [hidden[n][heard[n]] for n in numbers]  # [T, D] each
    texts = [labels[n, :, 0][told[n]][:-1] for n in numbers]  # without the end
    lengths = torch.tensor([len(text) for text in texts])
    frames = torch.tensor([len(state) for state in states])
    logits = text_logits(pad_sequence(states)).float()  # [T, N, V]
    log_probs, spelled = logits.log_softmax(dim=-1), torch.cat(texts)
    if log_probs.device.type not in _DEVICES:
        log_probs, spelled = log_probs.cpu(), spelled.cpu()
    total = F.ctc_loss(
        log_probs, spelled, frames, lengths, blank=blank, reduction="none", zero_infinity=True
    ).to(logits.device)
    count = lengths.to(total.device)[total.detach() > 0].sum()
    return StreamLoss(total.sum(), count, count.new_zeros(()))


def audio_positions(input_ids: Tensor, labels: Tensor, config: AudioLMConfig) -> Tensor:
    """Rows `[B, L]` of the audio that a transcript is asked of.

    Args:
        input_ids: `[B, L, 1+K]`.
        labels: `[B, L, 1+K]`; without a text to write nothing is asked.
        config: of the model.
    """
    if TRANSCRIBING not in config.tasks:
        return torch.zeros_like(input_ids[..., 0], dtype=torch.bool)
    asked = input_ids[:, 0, 0] == Vocabulary(config).task(TRANSCRIBING)
    asked = asked & (labels[..., 0] != IGNORED).any(dim=1)
    heard = (input_ids[..., 1] < config.codebook_size) & (labels[..., 1] == IGNORED)
    return heard & asked[:, None]


def blank_id(config: AudioLMConfig) -> int:
    """The id that spells nothing: the backbone's pad token.

    Raises:
        ValueError: the backbone has no pad token of its own.
    """
    backbone = config.backbone
    assert backbone is not None
    pad = backbone.get_text_config().pad_token_id  # type: ignore[union-attr]
    if pad is None or pad == backbone.get_text_config().eos_token_id:  # type: ignore[union-attr]
        raise ValueError(
            f"ctc_weight needs a pad token that ends no text, as the blank; this backbone has {pad}"
        )
    return int(pad)
