"""Audio from anywhere -> checked clips -> training segments.

``sources`` lists what there is, ``corpus`` decodes, checks and caches it, ``segments`` cuts it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import DataConfig
from .report import Skipped, SkipReport

if TYPE_CHECKING:
    from .corpus import AudioCorpus, Clip
    from .segments import CropDataset, Segment, SegmentBatch, collate

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

# These load soundfile or torch, so they are imported when they are first asked for (PEP 562).
_HOMES = {
    "AudioCorpus": ".corpus",
    "Clip": ".corpus",
    "CropDataset": ".segments",
    "Segment": ".segments",
    "SegmentBatch": ".segments",
    "collate": ".segments",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
