"""Losses by a frozen teacher of speech (ours, D), the encoder of Whisper (`codec/whisper.py`).

`speech_features` compares the teacher's features of decoded and original speech, like deep feature
losses of speech enhancement (Germain et al., "Speech denoising with deep feature losses", 2019).
`distillation` and `first_distillation` predict the features from queries, as SpeechTokenizer
(Zhang et al., 2023) and Mimi (Défossez et al., 2024) distil theirs into the first codebook. Clips
of sounds and music have no part in them: they count as zero.

Shapes: `B` batch, `B'` clips of speech in it, `S` samples, `Q` queries, `D` width, `N` frames of
the teacher, `V` its width.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import ForwardPass, LossSetup, SpeechTeacher, TrainingLoss

_LEAST_DEVIATION = 1e-2


class SpeechFeaturesLoss(TrainingLoss):
    """Distance of the teacher's features of output and recording; `speech_features` in logs."""

    def __init__(self, teacher: SpeechTeacher):
        super().__init__()
        self._teacher = (teacher,)  # in a tuple: its weights are not part of this module

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self:
        """Build the loss with the teacher of the config field `teacher_speech`."""
        assert setup.teacher is not None  # the config guarantees it
        return cls(setup.teacher)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of the output waveform."""
        if forward.output is None or forward.features is None or forward.speech is None:
            return None
        mean, deviation = _statistics(forward.features)
        found = self._teacher[0].features(forward.output[forward.speech])
        target = (forward.features - mean) / deviation
        distances = feature_distance((found - mean) / deviation, target)
        return distances.sum() / len(forward.target)


class QueryDistillation(TrainingLoss):
    """Distance of features predicted by queries from the teacher's, averaged over their windows.

    Args:
        dim: Width D of the queries.
        features: Width V of the teacher.
        hop_length: Samples per frame of the codec.
        feature_hop: Samples per frame of the teacher.
    """

    def __init__(self, dim: int, features: int, *, hop_length: int, feature_hop: int):
        super().__init__()
        self.hop_length, self.feature_hop = hop_length, feature_hop
        self.say = nn.Linear(dim, features)

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self:
        """Build the loss for the codec's queries and the teacher's features."""
        assert setup.teacher is not None  # the config guarantees it
        return cls(
            setup.model.hidden_size,
            setup.teacher.dim,
            hop_length=setup.model.hop_length,
            feature_hop=setup.teacher.hop_length,
        )

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of the decoder's input."""
        return self._loss(forward.queries, forward)

    def _loss(self, queries: Tensor | None, forward: ForwardPass) -> Tensor | None:
        """Return the loss of queries `[B, Q, D]`."""
        if queries is None or forward.features is None or forward.speech is None:
            return None
        mean, deviation = _statistics(forward.features)
        target = window_means(
            (forward.features - mean) / deviation,
            num_windows=queries.shape[1],
            window=forward.frames_per_query * self.hop_length,
            feature_hop=self.feature_hop,
        )
        predicted = self.say(queries[forward.speech].float()).float()
        return feature_distance(predicted, target).sum() / len(forward.target)


class FirstCodebookDistillation(QueryDistillation):
    """Distillation into the first codebook alone; `first_distillation` in configs and logs."""

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of a quantised step."""
        return self._loss(None if forward.layers is None else forward.layers[:, :, 0], forward)


def feature_distance(found: Tensor, target: Tensor) -> Tensor:
    """Mean over frames of L1 plus one minus the cosine: `[B]` of `[B, N, V]` and `[B, N, V]`."""
    absolute = (found - target).abs().mean(dim=-1)
    return (absolute + 1 - F.cosine_similarity(found, target, dim=-1)).mean(dim=1)


def window_means(features: Tensor, *, num_windows: int, window: int, feature_hop: int) -> Tensor:
    """Average features `[B, N, V]` over windows: `[B, num_windows, V]`.

    A feature that lies in two windows counts for each by its share.

    Args:
        features: Of ``N >= num_windows * window / feature_hop`` frames.
        num_windows: Q.
        window: Samples per window.
        feature_hop: Samples per feature.
    """
    start = window * torch.arange(num_windows, device=features.device)[:, None]
    first = feature_hop * torch.arange(features.shape[1], device=features.device)
    end = torch.minimum(start + window, first + feature_hop)
    overlap = (end - torch.maximum(start, first)).clamp_min(0).to(features.dtype)  # [Q, N]
    return (overlap / overlap.sum(dim=1, keepdim=True)) @ features


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[B', 1, V]` of each channel over the frames of a clip.

    A few channels of Whisper's inner layers are fifty times as large as the others.
    """
    mean = features.mean(dim=1, keepdim=True)
    deviation = (features - mean).square().mean(dim=1, keepdim=True).sqrt()
    return mean, deviation.clamp_min(_LEAST_DEVIATION)
