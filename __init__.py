"""almtok: ALMTokenizer, open and trainable, and audio language models on its tokens.

Importing this package is cheap: torch and transformers load with the first name that needs them.
"""

from typing import TYPE_CHECKING, Any

from .codec import _torchaudio_guard

if TYPE_CHECKING:
    from .codec import ALMTokenizer, ALMTokenizerConfig, AudioTokens, shipped
    from .lm import AudioLM, AudioLMConfig, AudioLMProcessor

__version__ = "0.1.0"
__all__ = [
    "ALMTokenizer",
    "ALMTokenizerConfig",
    "AudioLM",
    "AudioLMConfig",
    "AudioLMProcessor",
    "AudioTokens",
    "__version__",
    "shipped",
]

# Before anything can import torchaudio or transformers: see the guard's own words.
_torchaudio_guard.install()


def __getattr__(name: str) -> Any:
    """Hand on a public name of a floor when it is first asked for (PEP 562)."""
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import codec, lm

    return getattr(lm if name in lm.__all__ else codec, name)


def __dir__() -> list[str]:
    return sorted(__all__)
