"""audio <-> codes: ALMTokenizer, its training, its evaluation.

``wav [B,1,S] -patchify-> frames [B,T,D] -interleave-> [B,T+Q,D] -encoder-> -retrieve->
queries [B,Q,D] -quantize-> codes [B,K,Q]`` and back by the mirror of it; README.md draws it.
"""

from typing import TYPE_CHECKING

from ..core.lazy import lazy_names

if TYPE_CHECKING:
    from .checkpoints import shipped
    from .config import ALMTokenizerConfig
    from .model import ALMTokenizer
    from .tokens import AudioTokens

__all__ = ["ALMTokenizer", "ALMTokenizerConfig", "AudioTokens", "shipped"]

# Each of these loads torch and transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".config": ("ALMTokenizerConfig",),
        ".model": ("ALMTokenizer",),
        ".checkpoints": ("shipped",),
        ".tokens": ("AudioTokens",),
    },
)
