"""Forced alignment: which frames of audio say which id of a known text, by CTC.

A path through the frames visits the ids in order, with optional blanks between them and a blank
between equal neighbours (Graves et al. 2006). The most probable path is found by the Viterbi
algorithm, for all states of a frame at once.

Shapes: `T` frames, `V` text ids, `N` ids of the text, `B` batch, `L` rows, `K` codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from .inference import evaluating
from .loss import ASR_TASK, blank_id

if TYPE_CHECKING:
    from .config import AudioLMConfig
    from .model import AudioLM

_Array = np.ndarray[Any, Any]


class AlignmentError(ValueError):
    """A text that cannot be aligned with its audio."""


@dataclass(frozen=True)
class Span:
    """Frames of one id.

    Attributes:
        start: first frame.
        stop: frame after the last one.
        log_probability: of the id, in its most probable frame.
    """

    start: int
    stop: int
    log_probability: float


def align(log_probs: Tensor | _Array, ids: Sequence[int], blank: int) -> list[Span]:
    """Frames of each id on the most probable CTC path.

    Args:
        log_probs: `[T, V]`, log-probabilities of each frame.
        ids: of the text, without blanks, `[N]`.
        blank: id of the blank.

    Raises:
        AlignmentError: if there are fewer frames than the text needs, one for each id and one for
            each pair of equal neighbours; or if every path has the probability zero.
        ValueError: for log-probabilities that are not `[T, V]`, or ids outside `0..V-1`.

    Example:
        >>> frames = np.log([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
        >>> [(span.start, span.stop) for span in align(frames, [1, 2], blank=0)]
        [(1, 2), (2, 3)]
    """
    values = np.asarray(log_probs, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"log_probs must be [T, V], got {list(values.shape)}")
    wrong = [i for i in ids if not 0 <= i < values.shape[1] or i == blank]
    if wrong:
        raise ValueError(
            f"ids must be 0..{values.shape[1] - 1} without the blank {blank}, got {wrong[:5]}"
        )
    if not len(ids):
        return []
    needed = len(ids) + sum(a == b for a, b in zip(ids, ids[1:], strict=False))
    if len(values) < needed:
        raise AlignmentError(
            f"a text of {len(ids)} ids needs at least {needed} frames of audio, got {len(values)}"
        )
    path = _best_path(values, ids, blank)
    spans = []
    for number, own in enumerate(ids):
        frames = np.flatnonzero(path == 2 * number + 1)
        start, stop = int(frames[0]), int(frames[-1]) + 1
        spans.append(Span(start, stop, float(values[start:stop, own].max())))
    return spans


def _best_path(log_probs: _Array, ids: Sequence[int], blank: int) -> _Array:
    """State of each frame, `[T]`: 2n + 1 is id n, 2n the blank before it."""
    states = np.full(2 * len(ids) + 1, blank)
    states[1::2] = ids
    emissions = log_probs[:, states]  # [T, 2N + 1]
    may_skip = np.zeros(len(states), dtype=bool)  # the blank before an id
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(len(states), -np.inf)
    score[:2] = emissions[0, :2]
    steps = np.zeros(emissions.shape, dtype=np.int8)  # states advanced on entering a frame
    options = np.full((3, len(states)), -np.inf)
    for frame in range(1, len(emissions)):
        options[0] = score
        options[1, 1:] = score[:-1]
        options[2, 2:] = np.where(may_skip[2:], score[:-2], -np.inf)
        steps[frame] = options.argmax(axis=0)
        score = options.max(axis=0) + emissions[frame]
    state = len(states) - 1 - int(score[-2] > score[-1])
    if score[state] == -np.inf:
        raise AlignmentError("every alignment of the text with the audio has the probability zero")
    path = np.empty(len(emissions), dtype=np.int64)
    for frame in range(len(emissions) - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path


def check_ctc(config: AudioLMConfig) -> None:
    """Check that a model can align texts.

    Raises:
        ValueError: if it was not trained with CTC.
    """
    if config.ctc_weight <= 0 or ASR_TASK not in config.tasks:
        raise ValueError(
            "timestamps need a model trained on the task 'asr' with ctc_weight > 0, got one with "
            f"ctc_weight {config.ctc_weight:g} and the tasks {', '.join(config.tasks)}"
        )


def ctc_log_probs(lm: AudioLM, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
    """CTC log-probabilities `[T, V]` of the audio of each prompt, float32 on the CPU.

    Args:
        lm: a model trained with CTC.
        input_ids: prompts of the task "asr", rows `[B, L, 1+K]` (`collate_prompts`).
        attention_mask: `[B, L]`.

    Raises:
        ValueError: as :func:`check_ctc`.
    """
    check_ctc(lm.config)
    rows, mask = input_ids.to(lm.device), attention_mask.to(lm.device)
    positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
    is_audio = (rows[..., 1] < lm.config.codebook_size) & mask.bool()
    with evaluating(lm):
        hidden = lm.advance(rows, mask, positions)
        return [
            lm.ctc_logits(states[frames]).float().log_softmax(dim=-1).cpu()
            for states, frames in zip(hidden, is_audio, strict=True)
        ]


def align_batch(
    lm: AudioLM, input_ids: Tensor, attention_mask: Tensor, texts: Sequence[Sequence[int]]
) -> list[list[Span] | None]:
    """Frames of the ids of each text in the audio of its prompt; None if they do not fit.

    Args:
        lm: a model trained with CTC.
        input_ids: as of :func:`ctc_log_probs`.
        attention_mask: as of :func:`ctc_log_probs`.
        texts: ids of each text.

    Raises:
        ValueError: as :func:`ctc_log_probs`.
    """
    blank, found = blank_id(lm.config), list[list[Span] | None]()
    for log_probs, ids in zip(ctc_log_probs(lm, input_ids, attention_mask), texts, strict=True):
        try:
            found.append(align(log_probs, ids, blank))
        except AlignmentError:
            found.append(None)
    return found
