"""Teachers of the prior: frozen models that turn audio into vectors worth clustering (paper.md 3).

Shapes: ``B`` clips, ``S`` samples, ``N`` feature frames of one clip, ``P`` teacher width.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...core.choices import AUTO
from ...core.runtime import find_device
from ..phonemes.classifier import PhonemeClassifier
from .config import PriorConfig, TeacherSpec


class Teacher(ABC):
    """Audio at the teacher's own rate in, one vector per feature frame out.

    Attributes:
        name: what made the features, written into the prior file.
        dim: width P of a vector.
        sample_rate: rate in Hz that ``features`` expects.
        frame_rate: vectors per second.
        min_samples: shortest clip that gives a vector.
        piece_seconds: longer clips are cut into pieces of this length before they are read.
    """

    name: str
    dim: int
    sample_rate: int
    frame_rate: float
    min_samples: int
    piece_seconds: float = 30.0

    def features(self, wav: Tensor) -> Tensor:
        """Return the features [N, P] float32 of one clip ``wav`` [S]."""
        return self.features_batch([wav])[0]

    @torch.inference_mode()
    def features_batch(self, wavs: Sequence[Tensor]) -> list[Tensor]:
        """Return one [N, P] float32 tensor per clip; a clip's features do not depend on the others.

        Args:
            wavs: clips [S], float in [-1, 1], mono, at ``sample_rate`` Hz, of any lengths.
        """
        for wav in wavs:
            if wav.ndim != 1:
                raise ValueError(f"{self.name}: a clip must be [S], got {list(wav.shape)}")
            if wav.numel() < self.min_samples:
                raise ValueError(
                    f"{self.name}: a clip needs {self.min_samples} samples at "
                    f"{self.sample_rate} Hz, got {wav.numel()}"
                )
        if not wavs:
            return []
        # cuDNN would by default round convolutions to TF32, and a prior is made only once.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self._features([wav.float() for wav in wavs])

    @abstractmethod
    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        """Do the work of ``features_batch`` on checked clips."""


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
