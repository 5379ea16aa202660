"""codes <-> text: a decoder-only language model over the tokens of one codec.

``rows [B,L,1+K] -embed-> [B,L,D] -backbone-> hidden -heads-> the next row``; a row holds text or
the codes of a frame, laid out by a pattern.
"""

from typing import TYPE_CHECKING

from ..core.lazy import lazy_names

if TYPE_CHECKING:
    from .config import AudioLMConfig
    from .feature_extractor import AudioLMFeatureExtractor
    from .model import AudioLM
    from .processor import AudioLMProcessor

__all__ = ["AudioLM", "AudioLMConfig", "AudioLMFeatureExtractor", "AudioLMProcessor"]

# These load torch, pyarrow or transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".config": ("AudioLMConfig",),
        ".feature_extractor": ("AudioLMFeatureExtractor",),
        ".model": ("AudioLM",),
        ".processor": ("AudioLMProcessor",),
    },
)
