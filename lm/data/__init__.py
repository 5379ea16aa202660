"""Token shards: corpora encoded once by ``almtok lm tokenize`` and read by every training.

``prepare`` checks and converts a corpus, ``tokenize`` writes its shards, ``report`` describes them.
``dataset`` reads shards, ``labels`` and ``lengths`` store what every start needs, ``mixing`` makes
training samples of several tasks, ``sampler`` batches them by length, ``collator`` pads them;
``stream`` serves corpora that do not fit in memory.
"""

from typing import TYPE_CHECKING

from ...core.lazy import lazy_names
from .config import TokenizeConfig

if TYPE_CHECKING:
    from .collator import Collator, SequenceLength
    from .dataset import TokenDataset
    from .mixing import MixedDataset, Sample, TaskSource
    from .report import TokenReport, inspect_tokens
    from .rows import EpochIndex, TokenRow
    from .sampler import LengthBucketSampler
    from .stream import StreamLoader, TokenStream
    from .tokenize import TokenizeResult, tokenize_corpus

__all__ = [
    "Collator",
    "EpochIndex",
    "LengthBucketSampler",
    "MixedDataset",
    "Sample",
    "SequenceLength",
    "StreamLoader",
    "TaskSource",
    "TokenDataset",
    "TokenReport",
    "TokenRow",
    "TokenStream",
    "TokenizeConfig",
    "TokenizeResult",
    "inspect_tokens",
    "tokenize_corpus",
]

# These load torch, pyarrow or transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".collator": ("Collator", "SequenceLength"),
        ".dataset": ("TokenDataset",),
        ".mixing": ("MixedDataset", "Sample", "TaskSource"),
        ".report": ("TokenReport", "inspect_tokens"),
        ".rows": ("EpochIndex", "TokenRow"),
        ".sampler": ("LengthBucketSampler",),
        ".stream": ("StreamLoader", "TokenStream"),
        ".tokenize": ("TokenizeResult", "tokenize_corpus"),
    },
)
