"""Auxiliary CTC loss of speech recognition, on the hidden states of the audio rows.

Trained on few recordings, a model generates likely texts for long without attending to the audio:
attention pays only once frames are understood. CTC (Graves et al. 2006) needs no attention: the
hidden states of the audio rows predict the text in order, by the text head of the backbone. So it
adds no weights, and inference does not change: the blank is the pad token, or, of a backbone
without one (LLaMA), the embedding of the last spare control token. As in hybrid CTC and attention
models (Kim et al. 2017); ours (D) for this kind of model.

Shapes: `B` batch, `L` rows, `K` codebooks, `D` width, `N` utterances, `T` frames, `V` text ids.
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

ASR_TASK = "asr"  # its text follows the order of the audio
_DEVICES = ("cpu", "cuda")  # with a CTC kernel; on others, such as MPS, it runs on the CPU


def ctc_loss(
    hidden: Tensor,
    input_ids: Tensor,
    labels: Tensor,
    config: AudioLMConfig,
    ctc_logits: Callable[[Tensor], Tensor],
) -> StreamLoss:
    """CTC loss of the transcripts in a batch; texts longer than their audio do not count.

    Args:
        hidden: states `[B, L, D]` after each row.
        input_ids: rows `[B, L, 1+K]`, padded on the right.
        labels: `[B, L, 1+K]`.
        config: of the model.
        ctc_logits: maps `[.., D]` to logits `[.., V]` or, with a blank of its own, `[.., V + 1]`.
    """
    blank = blank_id(config)
    is_text = labels[..., 0] != IGNORED  # [B, L]
    is_audio = audio_positions(input_ids, labels, config)
    zero = hidden.new_zeros((), dtype=torch.float32)
    rows = is_audio.any(dim=1).nonzero()[:, 0].tolist()
    if not rows:
        return StreamLoss(zero, zero.long(), zero.long())
    states = [hidden[n][is_audio[n]] for n in rows]  # [T, D] each
    texts = [labels[n, :, 0][is_text[n]][:-1] for n in rows]  # without the end
    lengths = torch.tensor([len(text) for text in texts])
    frames = torch.tensor([len(state) for state in states])
    logits = ctc_logits(pad_sequence(states)).float()  # [T, N, V] or [T, N, V + 1]
    log_probs, targets = logits.log_softmax(dim=-1), torch.cat(texts)
    if log_probs.device.type not in _DEVICES:
        log_probs, targets = log_probs.cpu(), targets.cpu()
    total = F.ctc_loss(
        log_probs, targets, frames, lengths, blank=blank, reduction="none", zero_infinity=True
    ).to(logits.device)
    count = lengths.to(total.device)[total.detach() > 0].sum()
    return StreamLoss(total.sum(), count, count.new_zeros(()))


def audio_positions(input_ids: Tensor, labels: Tensor, config: AudioLMConfig) -> Tensor:
    """Mask `[B, L]` of the audio rows that are to be transcribed.

    Args:
        input_ids: `[B, L, 1+K]`.
        labels: `[B, L, 1+K]`; sequences without a text target have no such rows.
        config: of the model.
    """
    if ASR_TASK not in config.tasks:
        return torch.zeros_like(input_ids[..., 0], dtype=torch.bool)
    is_asr = input_ids[:, 0, 0] == Vocabulary(config).task(ASR_TASK)
    is_asr = is_asr & (labels[..., 0] != IGNORED).any(dim=1)
    is_audio = (input_ids[..., 1] < config.codebook_size) & (labels[..., 1] == IGNORED)
    return is_audio & is_asr[:, None]


def blank_id(config: AudioLMConfig) -> int:
    """Id of the CTC blank: the pad token of the backbone, or `V` if it has none of its own."""
    assert config.backbone is not None
    text = config.backbone.get_text_config()  # type: ignore[union-attr]
    ends = text.eos_token_id if isinstance(text.eos_token_id, list) else [text.eos_token_id]
    pad = text.pad_token_id
    return config.vocab_size if pad is None or pad in ends else int(pad)
