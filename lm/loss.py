"""Cross-entropy of text and codes, by stream and combined; CTC loss of transcripts.

The loss is the mean over all targets, weighted by stream (the first codebook has a larger weight,
paper.md 8, C; the weights of the codebooks average to one). With the pattern `flat` all streams
share one vocabulary, so that an exported model needs no streams.

Shapes: `B` batch, `L` rows, `N` positions with a target, `V` text vocabulary, `K` codebooks, `C`
codebook size, `D` width, `T` frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from .chunked_loss import StreamLoss, chunk_logits, chunked
from .config import AudioLMConfig
from .packing import Packing, all_rows, any_row, examples_of, first_rows
from .sequences import IGNORED
from .vocabulary import Vocabulary


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


ASR_TASK = "asr"  # its text follows the order of the audio
_DEVICES = ("cpu", "cuda")  # with a CTC kernel; on others, such as MPS, it runs on the CPU


def ctc_loss(
    hidden: Tensor,
    input_ids: Tensor,
    labels: Tensor,
    config: AudioLMConfig,
    ctc_logits: Callable[[Tensor], Tensor],
    modules: Iterable[nn.Module],
    packing: Packing | None = None,
) -> StreamLoss:
    """CTC loss of the transcripts in a batch; texts longer than their audio do not count.

    Trained on few recordings, a model generates likely texts for long without attending to the
    audio: attention pays only once frames are understood. CTC (Graves et al. 2006) needs no
    attention: the hidden states of the audio rows predict the text in order, by the text head of
    the backbone. So it adds no weights, and inference does not change: the blank is the pad token,
    or, of a backbone without one (LLaMA), the embedding of the last spare control token. As in
    hybrid CTC and attention models (Kim et al. 2017); ours (D) for this kind of model.

    Args:
        hidden: states `[B, L, D]` after each row.
        input_ids: rows `[B, L, 1+K]`, padded on the right.
        labels: `[B, L, 1+K]`.
        config: of the model.
        ctc_logits: maps `[.., D]` to logits `[.., V]` or, with a blank of its own, `[.., V + 1]`.
        modules: whose weights `ctc_logits` uses.
        packing: examples of a packed row, of which B = 1.
    """
    is_text = examples_of(labels[..., 0] != IGNORED, packing)  # [L] each
    is_audio = audio_positions(input_ids, labels, config, packing)
    zero = hidden.new_zeros((), dtype=torch.float32)
    rows = any_row(is_audio, packing).nonzero()[:, 0].tolist()
    if not rows:
        return StreamLoss(zero, zero.long(), zero.long())
    heard, said = examples_of(is_audio, packing), examples_of(labels[..., 0], packing)
    of_rows = examples_of(hidden, packing)
    states = [of_rows[n][heard[n]] for n in rows]  # [T, D] each
    texts = [said[n][is_text[n]][:-1] for n in rows]  # without the end
    frames = [len(state) for state in states]
    cuts = _ctc_chunks(frames, config.vocab_size + 1)

    def part(chunk: Tensor, number: int) -> StreamLoss:
        here = slice(cuts[number], cuts[number + 1])
        padded = pad_sequence(chunk.split(frames[here]))
        return _ctc_of(ctc_logits(padded), frames[here], texts[here], blank_id(config))

    sizes = [sum(frames[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    return chunked(part, torch.cat(states), sizes, modules)


def _ctc_chunks(frames: Sequence[int], num_ids: int) -> list[int]:
    """Where to cut examples of so many frames, so that the logits of a chunk are limited."""
    cuts, longest, limit = [0], 0, chunk_logits(num_ids)
    for number, length in enumerate(frames):
        longest = max(longest, length)
        if number > cuts[-1] and longest * (number + 1 - cuts[-1]) * num_ids > limit:
            cuts.append(number)
            longest = length
    return [*cuts, len(frames)]


def _ctc_of(
    logits: Tensor, frames: Sequence[int], texts: Sequence[Tensor], blank: int
) -> StreamLoss:
    """CTC loss of logits `[T, texts, V]`, or `[T, texts, V + 1]`, with so many frames of each."""
    lengths = torch.tensor([len(text) for text in texts])
    log_probs, targets = logits.float().log_softmax(dim=-1), torch.cat(list(texts))
    if log_probs.device.type not in _DEVICES:
        log_probs, targets = log_probs.cpu(), targets.cpu()
    total = F.ctc_loss(
        log_probs, targets, torch.tensor(frames), lengths,
        blank=blank, reduction="none", zero_infinity=True,
    ).to(logits.device)  # fmt: skip
    count = lengths.to(total.device)[total.detach() > 0].sum()
    return StreamLoss(total.sum(), count, count.new_zeros(()))


def audio_positions(
    input_ids: Tensor, labels: Tensor, config: AudioLMConfig, packing: Packing | None = None
) -> Tensor:
    """Mask `[B, L]` of the audio rows that are to be transcribed.

    Args:
        input_ids: `[B, L, 1+K]`.
        labels: `[B, L, 1+K]`; sequences without a text target have no such rows.
        config: of the model.
        packing: examples of a packed row, of which B = 1.
    """
    if ASR_TASK not in config.tasks:
        return torch.zeros_like(input_ids[..., 0], dtype=torch.bool)
    is_asr = first_rows(input_ids, packing)[:, 0] == Vocabulary(config).task(ASR_TASK)
    is_asr = is_asr & any_row(labels[..., 0] != IGNORED, packing)
    is_audio = (input_ids[..., 1] < config.codebook_size) & (labels[..., 1] == IGNORED)
    return is_audio & all_rows(is_asr, packing)


def blank_id(config: AudioLMConfig) -> int:
    """Id of the CTC blank: the pad token of the backbone, or `V` if it has none of its own."""
    assert config.backbone is not None
    text = config.backbone.get_text_config()  # type: ignore[union-attr]
    ends = text.eos_token_id if isinstance(text.eos_token_id, list) else [text.eos_token_id]
    pad = text.pad_token_id
    return config.vocab_size if pad is None or pad in ends else int(pad)
