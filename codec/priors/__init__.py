"""The semantic prior: teacher features -> clusters -> a first codebook that is never trained.

Built offline, before any training: ``build`` runs all steps and writes the file of ``prior``.
"""

from typing import TYPE_CHECKING

from ...core.lazy import lazy_names
from .config import PriorConfig, TeacherSpec

if TYPE_CHECKING:
    from .build import build_prior
    from .prior import Prior, load_prior, random_prior
    from .teacher import Teacher
    from .teachers import make_teacher

__all__ = [
    "Prior",
    "PriorConfig",
    "Teacher",
    "TeacherSpec",
    "build_prior",
    "load_prior",
    "make_teacher",
    "random_prior",
]

# These load torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".build": ("build_prior",),
        ".prior": ("Prior", "load_prior", "random_prior"),
        ".teacher": ("Teacher",),
        ".teachers": ("make_teacher",),
    },
)
