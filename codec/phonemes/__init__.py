"""Phoneme classifier: trained on forced alignments, used by the phoneme losses of the codec.

`Aligner` aligns the phones of a text with its recording. `train_phoneme_classifier` trains a
`PhonemeClassifier` on aligned recordings; it predicts the phone of each frame of a waveform. Its
posteriors are the targets of the losses `phones`, `first_phones` and `recognition`
(:mod:`almtok.codec.losses.phones`).
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
