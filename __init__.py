"""almtok: ALMTokenizer, open and trainable, and audio language models on its tokens.

Importing this package is cheap: torch and transformers load with the first name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core import auto_classes, torchaudio_guard

if TYPE_CHECKING:
    from .codec import ALMTokenizer, ALMTokenizerConfig, AudioTokens, shipped
    from .lm import AudioLM, AudioLMConfig, AudioLMFeatureExtractor, AudioLMProcessor

__version__ = "0.1.0"
__all__ = [
    "ALMTokenizer",
    "ALMTokenizerConfig",
    "AudioLM",
    "AudioLMConfig",
    "AudioLMFeatureExtractor",
    "AudioLMProcessor",
    "AudioTokens",
    "__version__",
    "shipped",
]

_SUBPACKAGES = ("codec", "core", "lm", "recipes", "serve", "tasks")

# Before anything can import torchaudio or transformers: see the guard's own words.
torchaudio_guard.install()

# From now on the Auto classes and pipelines of transformers know the models.
_LM = {"almtok_lm": "AudioLM"}
auto_classes.install(
    __name__,
    {
        "configuration_auto": {
            "CONFIG_MAPPING_NAMES": {
                "almtokenizer": "ALMTokenizerConfig",
                "almtok_lm": "AudioLMConfig",
            },
        },
        "modeling_auto": {
            "MODEL_MAPPING_NAMES": {"almtokenizer": "ALMTokenizer"} | _LM,
            "MODEL_FOR_AUDIO_TOKENIZATION_NAMES": {"almtokenizer": "ALMTokenizer"},
            "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES": _LM,
            "MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING_NAMES": _LM,
        },
        "processing_auto": {"PROCESSOR_MAPPING_NAMES": {"almtok_lm": "AudioLMProcessor"}},
        "feature_extraction_auto": {
            "FEATURE_EXTRACTOR_MAPPING_NAMES": {
                "almtokenizer": "EncodecFeatureExtractor",
                "almtok_lm": "AudioLMFeatureExtractor",
            },
        },
    },
)

# Registers the provider of the built-in tasks, without torch.
import_module(".tasks", __name__)


def __getattr__(name: str) -> Any:
    """Import a subpackage, or a public name of one, when it is first asked for (PEP 562)."""
    if name in _SUBPACKAGES:
        return import_module(f".{name}", __name__)
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import codec, lm

    if name not in lm.__all__:
        return getattr(codec, name)
    return getattr(lm, name)


def __dir__() -> list[str]:
    return sorted(__all__)
