"""codes <-> text: a decoder-only language model over the tokens of one codec.

``rows [B,L,1+K] -embed-> [B,L,D] -backbone-> hidden -heads-> the next row``; a row holds text or
the codes of a frame, laid out by a pattern.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import AudioLMConfig
    from .model import AudioLM
    from .processor import AudioLMProcessor

__all__ = ["AudioLM", "AudioLMConfig", "AudioLMProcessor"]

# Each name loads torch and transformers, so it is imported when it is first asked for (PEP 562).
_HOMES = {
    "AudioLM": ".model",
    "AudioLMConfig": ".config",
    "AudioLMProcessor": ".processor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
