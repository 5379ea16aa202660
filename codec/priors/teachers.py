"""Teachers of priors: frozen models that compute features of audio (paper.md 3).

Shapes: ``B`` clips, ``S`` samples, ``N`` feature frames of one clip, ``P`` teacher width.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from ...core.choices import AUTO
from ...core.runtime import find_device
from ..phonemes.classifier import PhonemeClassifier
from .config import DEFAULT_LAYERS, PriorConfig, TeacherSpec
from .teacher import Teacher


class PhonemeTeacher(Teacher):
    """Hidden states of a phoneme classifier, for the speech half (not in the paper: paper.md 3, D).

    The classifier is trained on recordings and their texts only (`almtok codec phonemes`).

    Args:
        path: File of `almtok codec phonemes`.
        device: Of the classifier; "auto" is an accelerator if there is one.

    Raises:
        ValueError: The file is not a phoneme classifier.
    """

    def __init__(self, path: str | os.PathLike[str], *, device: str | torch.device = AUTO) -> None:
        self._device = find_device(device)
        self._classifier = PhonemeClassifier.load(path).to(self._device)
        config = self._classifier.config
        # Other classifiers give other features: the name has a hash of the file.
        self.name = f"phonemes:{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]}"
        self.dim, self.sample_rate = config.width, config.sample_rate
        self.frame_rate = config.sample_rate / config.hop_length
        self.min_samples = config.hop_length

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        # Separately: norms use whole rows, so padding would change features.
        return [self._states(wav.to(self._device)).cpu() for wav in wavs]

    def _states(self, wav: Tensor) -> Tensor:
        features = self._classifier.features(wav[None, None])
        return self._classifier.states(features)[0].T.float().contiguous()


def make_teacher(half: str, config: PriorConfig, *, device: str | torch.device = AUTO) -> Teacher:
    """Create the teacher of a half.

    Args:
        half: ``speech`` or ``sound``.
        config: names both teachers, with layers and widths.
        device: of the models; the spectral teacher runs on the CPU.
    """
    spec = TeacherSpec.parse(config.teacher_speech if half == "speech" else config.teacher_sound)
    if spec.kind == "spectral":
        from .spectral import SpectralTeacher

        return SpectralTeacher(flavour=spec.source or half, dim=config.spectral_width)
    if spec.kind == "phonemes":
        return PhonemeTeacher(spec.source, device=device)
    # Imported here: transformers takes four seconds, and the spectral teacher does not need it.
    from .pretrained import BEATsTeacher, TransformersTeacher, WhisperTeacher

    if spec.kind == "beats":
        return BEATsTeacher(spec.source, device=device)
    if spec.kind == "whisper":
        return WhisperTeacher(spec.source, layers=config.layers or (), device=device)
    return TransformersTeacher(
        kind=spec.kind,
        checkpoint=spec.source,
        layers=DEFAULT_LAYERS if config.layers is None else config.layers,
        normalize=config.normalize,
        device=device,
    )
