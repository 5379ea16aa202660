"""From a teacher's name to the teacher."""

from __future__ import annotations

from .config import PriorConfig, TeacherSpec
from .spectral import SpectralTeacher
from .teacher import Teacher


def make_teacher(half: str, config: PriorConfig, *, device: str = "cpu") -> Teacher:
    """Return the teacher of a half, ready on ``device``.

    Args:
        half: ``speech`` or ``sound``.
        config: names both teachers, with layers and widths.
        device: where the models of transformers and BEATs run; spectral stays on the CPU.
    """
    spec = TeacherSpec.parse(config.teacher_speech if half == "speech" else config.teacher_sound)
    return SpectralTeacher(flavour=spec.source or half, dim=config.spectral_width)
