"""Teachers of the prior: frozen models that turn audio into vectors worth clustering (paper.md 3).

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
from .config import PriorConfig, TeacherSpec
from .teacher import Teacher


class PhonemeTeacher(Teacher):
    """States of a trained listener (not the paper's: paper.md 3, D), for the speech half.

    It is made of recordings and their texts alone (`almtok codec phonemes`), without a download.

    Args:
        path: What `almtok codec phonemes` wrote.
        device: where it runs; "auto" is an accelerator if there is one.

    Raises:
        ValueError: The file holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], *, device: str | torch.device = AUTO) -> None:
        self._device = find_device(device)
        self._listener = PhonemeClassifier.load(path).to(self._device)
        config = self._listener.config
        # Another listener gives other features: its file is in the name.
        self.name = f"listener:{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]}"
        self.dim, self.sample_rate = config.width, config.sample_rate
        self.frame_rate = config.sample_rate / config.hop_length
        self.min_samples = config.hop_length

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        # One by one: norms look at whole clips, so neighbours would change each other.
        return [self._states(wav.to(self._device)).cpu() for wav in wavs]

    def _states(self, wav: Tensor) -> Tensor:
        features = self._listener.features(wav[None, None])
        return self._listener.states(features)[0].T.float().contiguous()


def make_teacher(half: str, config: PriorConfig, *, device: str | torch.device = AUTO) -> Teacher:
    """Return the teacher of a half, ready on ``device``.

    Args:
        half: ``speech`` or ``sound``.
        config: names both teachers, with layers and widths.
        device: where the models of transformers and BEATs run; spectral stays on the CPU.
    """
    spec = TeacherSpec.parse(config.teacher_speech if half == "speech" else config.teacher_sound)
    if spec.kind == "spectral":
        from .spectral import SpectralTeacher

        return SpectralTeacher(flavour=spec.source or half, dim=config.spectral_width)
    if spec.kind == "listener":
        return PhonemeTeacher(spec.source, device=device)
    # Four seconds of importing transformers that the spectral teacher can do without.
    from .pretrained import BEATsTeacher, TransformersTeacher

    if spec.kind == "beats":
        return BEATsTeacher(spec.source, device=device)
    return TransformersTeacher(
        kind=spec.kind,
        checkpoint=spec.source,
        layers=config.layers,
        normalize=config.normalize,
        device=device,
    )
