"""Corpora of audio: list, decode and check clips, and cut training segments.

``manifests`` lists the entries of a corpus: ``folders`` finds its files, ``tables`` reads rows,
``columns`` knows their meaning. ``recognition`` finds the layout of a folder; ``layouts``,
``lhotse`` and ``webdataset`` read those that are no plain manifest. ``splits`` divides a corpus.
``entries`` opens the entries, ``decoding`` decodes and checks them, ``corpus`` caches decoded clips
(in ``shards``), and ``crops`` cuts training segments.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .config import DataConfig

if TYPE_CHECKING:
    from .corpus import AudioCorpus, CorpusClip
    from .crops import CropDataset, Segment, SegmentBatch, collate
    from .decoding import Skipped, SkipReport
    from .entries import AudioEntry, EntryReader
    from .manifests import list_entries

__all__ = [
    "AudioCorpus",
    "AudioEntry",
    "CorpusClip",
    "CropDataset",
    "DataConfig",
    "EntryReader",
    "Segment",
    "SegmentBatch",
    "SkipReport",
    "Skipped",
    "collate",
    "list_entries",
]

# These load soundfile or torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".corpus": ("AudioCorpus", "CorpusClip"),
        ".crops": ("CropDataset", "Segment", "SegmentBatch", "collate"),
        ".decoding": ("SkipReport", "Skipped"),
        ".entries": ("AudioEntry", "EntryReader"),
        ".manifests": ("list_entries",),
    },
)
