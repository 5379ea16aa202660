"""The semantic prior: teacher features -> clusters -> a first codebook that is never trained.

Offline, before any training. ``build`` runs the whole path; ``prior`` is the file it leaves.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

# These load torch, so they are imported when they are first asked for (PEP 562).
_HOMES = {
    "Prior": ".prior",
    "Teacher": ".teacher",
    "build_prior": ".build",
    "load_prior": ".prior",
    "make_teacher": ".teachers",
    "random_prior": ".prior",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
