"""Audio from anywhere -> checked clips -> training segments.

``sources`` lists what there is, ``corpus`` decodes, checks and caches it, ``segments`` cuts it.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .config import DataConfig
from .skipped import Skipped, SkipReport

if TYPE_CHECKING:
    from .corpus import AudioCorpus, Clip
    from .crops import CropDataset, Segment, SegmentBatch, collate

__all__ = [
    "AudioCorpus",
    "Clip",
    "CropDataset",
    "DataConfig",
    "Segment",
    "SegmentBatch",
    "SkipReport",
    "Skipped",
    "collate",
]

# These load soundfile or torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".corpus": ("AudioCorpus", "Clip"),
        ".crops": ("CropDataset", "Segment", "SegmentBatch", "collate"),
    },
)
