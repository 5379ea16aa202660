"""Phones: a small recogniser learned from aligned recordings, and what the codec asks of it.

`Aligner` finds when each phone of a text is spoken in a recording.
`train_phoneme_classifier` trains a `PhonemeClassifier` on aligned recordings; the classifier
predicts a phone for each frame of a waveform. The loss
:class:`almtok.codec.losses.QueryPhonemes` predicts the phones of each
query's window.
"""

from typing import TYPE_CHECKING

from ...core.lazy import lazy_names
from .config import PhonemeClassifierConfig, PhonemeTrainingConfig

if TYPE_CHECKING:
    from .aligner import Aligner, Phone, Word
    from .classifier import PhonemeClassifier
    from .train import train_phoneme_classifier

__all__ = [
    "Aligner",
    "PhonemeClassifier",
    "PhonemeClassifierConfig",
    "PhonemeTrainingConfig",
    "Phone",
    "Word",
    "train_phoneme_classifier",
]

# These load torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".aligner": ("Aligner", "Phone", "Word"),
        ".classifier": ("PhonemeClassifier",),
        ".train": ("train_phoneme_classifier",),
    },
)
