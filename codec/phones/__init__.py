"""Phones: a small recogniser learned from aligned recordings, and what the codec asks of it.

`Aligner` (text and recording -> when each phone is spoken), `Listener` (waveform -> phones, frame
by frame), `train_listener` (the one from the other). The codec's loss `phones` asks every query
which phones its window has (:class:`almtok.codec.objectives.QueryPhones`).
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .config import ListenerConfig, ListenerTraining

if TYPE_CHECKING:
    from .aligner import Aligner, Phone, Word
    from .listener import Listener
    from .train import train_listener

__all__ = [
    "Aligner",
    "Listener",
    "ListenerConfig",
    "ListenerTraining",
    "Phone",
    "Word",
    "train_listener",
]

# These load torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".aligner": ("Aligner", "Phone", "Word"),
        ".listener": ("Listener",),
        ".train": ("train_listener",),
    },
)
