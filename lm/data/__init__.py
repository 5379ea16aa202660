"""Corpora as shards of tokens: made once by ``almtok lm tokenize``, read by every training.

``tokenize`` writes shards, ``dataset`` reads them, ``mixing`` makes samples of tasks from them,
``sampler`` batches by length, ``stream`` does both for corpora that no list holds.
"""

from typing import TYPE_CHECKING

from ...core.lazy import lazy_names
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

# These load torch, pyarrow or transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".batches": ("Collator", "SequenceLength"),
        ".dataset": ("TokenDataset",),
        ".mixing": ("MixedDataset", "Sample", "TaskSource"),
        ".report": ("TokenReport", "inspect_tokens"),
        ".rows": ("Pick", "TokenRow"),
        ".sampler": ("LengthBucketSampler",),
        ".stream": ("StreamLoader", "TokenStream"),
        ".tokenize": ("Tokenized", "tokenize_corpus"),
    },
)
