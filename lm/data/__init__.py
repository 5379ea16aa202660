"""Corpora as shards of tokens: made once by ``almtok tokenize``, read by every training.

``tokenize`` writes shards, ``dataset`` reads them, ``mixing`` makes samples of tasks from them,
``sampler`` batches by length, ``stream`` does both for corpora that no list holds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import TokenizeConfig

if TYPE_CHECKING:
    from .batches import Collator, SequenceLength
    from .dataset import TokenDataset
    from .mixing import MixedDataset, Sample, TaskSource
    from .report import TokenReport, inspect_tokens
    from .rows import Pick, TokenRow
    from .sampler import LengthBucketSampler
    from .stream import StreamLoader, TokenStream
    from .tokenize import Tokenized, tokenize_corpus

# These load torch or pyarrow, so they are imported when they are first asked for (PEP 562).
_HOMES = {
    "Collator": ".batches",
    "LengthBucketSampler": ".sampler",
    "MixedDataset": ".mixing",
    "Pick": ".rows",
    "Sample": ".mixing",
    "SequenceLength": ".batches",
    "StreamLoader": ".stream",
    "TaskSource": ".mixing",
    "TokenDataset": ".dataset",
    "TokenReport": ".report",
    "TokenRow": ".rows",
    "TokenStream": ".stream",
    "Tokenized": ".tokenize",
    "inspect_tokens": ".report",
    "tokenize_corpus": ".tokenize",
}

__all__ = [
    "Collator",
    "LengthBucketSampler",
    "MixedDataset",
    "Pick",
    "Sample",
    "SequenceLength",
    "StreamLoader",
    "TaskSource",
    "TokenDataset",
    "TokenReport",
    "TokenRow",
    "TokenStream",
    "TokenizeConfig",
    "Tokenized",
    "inspect_tokens",
    "tokenize_corpus",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
