"""Training of a phoneme classifier, which takes minutes on a CPU.

Letters: `B` batch, `T` frames, `M` mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from .classifier import PhonemeClassifier
from .config import SILENCE, PhonemeClassifierConfig, PhonemeTrainingConfig
from .labels import LabelledFrames

_NEPERS_PER_DB = math.log(10) / 20
Clips = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class PhonemeScores:
    """Accuracy of a phoneme classifier on held-out clips."""

    accuracy: float  # share of frames
    spoken_accuracy: float  # share of the frames that are not silence
    clips: int


def train_phoneme_classifier(
    frames: LabelledFrames,
    config: PhonemeClassifierConfig,
    training: PhonemeTrainingConfig,
    *,
    progress: bool = True,
) -> tuple[PhonemeClassifier, PhonemeScores]:
    """Train on all clips except a held-out share, and evaluate on that share."""
    torch.manual_seed(training.seed)
    rng = np.random.default_rng(training.seed)
    speech = [clip for clip in frames.clips(speech=True) if clip[1] > clip[0]]
    other = [clip for clip in frames.clips(speech=False) if clip[1] > clip[0]]
    order = rng.permutation(len(speech))
    held = max(1, round(training.held_out_share * len(speech)))
    held_out = [speech[index] for index in order[:held]]
    training_clips = [speech[index] for index in order[held:]] or held_out
    classifier = PhonemeClassifier(config)
    optimizer = torch.optim.AdamW(classifier.parameters(), training.lr, weight_decay=0.02)
    bar = tqdm(range(training.steps), desc="phonemes", unit="step", disable=not progress)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = training.lr * _lr_scale(step, training.steps)
        features, labels = _batch(frames, training_clips, other, training, rng)
        loss = F.cross_entropy(
            classifier(features).flatten(0, 1), labels.flatten(), label_smoothing=0.05
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
    return classifier.eval(), evaluate_phonemes(classifier, frames, held_out)


def _lr_scale(step: int, steps: int) -> float:
    """Linear warm-up, then cosine decay to 2 %."""
    warm_up = min(1.0, (step + 1) / max(1, steps // 20))
    return warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _batch(
    frames: LabelledFrames,
    speech: Clips,
    other: Clips,
    training: PhonemeTrainingConfig,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Random segments `[B, T, M]` and their labels `[B, T]`; padding has the label -100."""
    count = training.segment_frames
    features = np.full((training.batch_size, count, frames.features.shape[1]), -9.0, np.float32)
    labels = np.full((training.batch_size, count), -100, np.int64)
    for row in range(training.batch_size):
        pool = other if other and rng.random() < training.other_share else speech
        start, end = pool[int(rng.integers(len(pool)))]
        first = start + int(rng.integers(max(1, end - start - count + 1)))
        length = min(count, end - first)
        features[row, :length] = frames.features[first : first + length]
        labels[row, :length] = frames.labels[first : first + length]
    gain = rng.uniform(-1, 1, (training.batch_size, 1, 1)) * training.gain_db * _NEPERS_PER_DB
    return torch.from_numpy((features + gain).astype(np.float32)), torch.from_numpy(labels)


@torch.no_grad()
def evaluate_phonemes(
    classifier: PhonemeClassifier, frames: LabelledFrames, clips: Clips
) -> PhonemeScores:
    """Frame accuracy on the given clips."""
    correct = spoken_correct = total = spoken = 0
    for start, end in clips:
        features = torch.from_numpy(frames.features[start:end].astype(np.float32))
        labels = frames.labels[start:end]
        hits = classifier(features[None])[0].argmax(dim=-1).numpy() == labels
        speech = labels != SILENCE
        correct, total = correct + int(hits.sum()), total + len(hits)
        spoken_correct, spoken = (
            spoken_correct + int(hits[speech].sum()),
            spoken + int(speech.sum()),
        )
    return PhonemeScores(correct / max(1, total), spoken_correct / max(1, spoken), len(clips))
