"""audio <-> codes: ALMTokenizer, its training, its evaluation.

``wav [B,1,S] -patchify-> frames [B,T,D] -interleave-> [B,T+Q,D] -encoder-> -retrieve->
queries [B,Q,D] -quantize-> codes [B,K,Q]`` and back; see README.md.
"""

from typing import TYPE_CHECKING

from ..core.lazy import lazy_names

if TYPE_CHECKING:
    from .checkpoints import shipped
    from .config import ALMTokenizerConfig
    from .model import ALMTokenizer
    from .tokens import AudioTokens

__all__ = ["ALMTokenizer", "ALMTokenizerConfig", "AudioTokens", "shipped"]

# These load torch and transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".config": ("ALMTokenizerConfig",),
        ".model": ("ALMTokenizer",),
        ".checkpoints": ("shipped",),
        ".tokens": ("AudioTokens",),
    },
)
