"""Phones: a small recogniser learned from aligned recordings, and what the codec asks of it.

`Aligner` (text and recording -> when each phone is spoken), `Listener` (waveform -> phones, frame
by frame), `train_listener` (the one from the other). The codec's loss `phones` asks every query
which phones its window has (:class:`almtok.codec.objectives.QueryPhones`).
"""

from .aligner import Aligner, Phone, Word
from .config import ListenerConfig, ListenerTraining
from .listener import Listener

__all__ = ["Aligner", "Listener", "ListenerConfig", "ListenerTraining", "Phone", "Word"]
