"""From a teacher's name to the teacher."""

from __future__ import annotations

import torch

from ...core.choices import AUTO
from .config import PriorConfig, TeacherSpec
from .spectral import SpectralTeacher
from .teacher import Teacher


def make_teacher(half: str, config: PriorConfig, *, device: str | torch.device = AUTO) -> Teacher:
    """Return the teacher of a half, ready on ``device``.

    Args:
        half: ``speech`` or ``sound``.
        config: names both teachers, with layers and widths.
        device: where the models of transformers and BEATs run; spectral stays on the CPU.
    """
    spec = TeacherSpec.parse(config.teacher_speech if half == "speech" else config.teacher_sound)
    if spec.kind == "spectral":
        return SpectralTeacher(flavour=spec.source or half, dim=config.spectral_width)
    if spec.kind == "listener":
        from .listening import PhonemeTeacher

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
