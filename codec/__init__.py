"""audio <-> codes: ALMTokenizer, its training, its evaluation.

``wav [B,1,S] -patchify-> frames [B,T,D] -interleave-> [B,T+Q,D] -encoder-> -retrieve->
queries [B,Q,D] -quantize-> codes [B,K,Q]`` and back by the mirror of it; README.md draws it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import ALMTokenizerConfig
    from .model import ALMTokenizer
    from .tokens import AudioTokens

__all__ = ["ALMTokenizer", "ALMTokenizerConfig", "AudioTokens"]

# Each name loads torch and transformers, so it is imported when it is first asked for (PEP 562).
_HOMES = {"ALMTokenizer": ".model", "ALMTokenizerConfig": ".config", "AudioTokens": ".tokens"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
