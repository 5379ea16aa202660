"""Settings of the phoneme classifier and its training. Does not import torch."""

from dataclasses import dataclass

# The phones of the CMU dictionary without stress, silence, and non-speech sounds.
PHONES = tuple(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W"
    " Y Z ZH SIL NONE".split()
)
SILENCE, NONE = PHONES.index("SIL"), PHONES.index("NONE")


@dataclass(frozen=True, kw_only=True)
class PhonemeClassifierConfig:
    """Sizes of a :class:`~.classifier.PhonemeClassifier`."""

    sample_rate: int = 24_000
    hop_length: int = 320  # samples from one frame to the next: the codec's
    num_bands: int = 64
    width: int = 256
    dilations: tuple[int, ...] = (1, 1, 2, 4, 8)  # of convolutions over five frames


@dataclass(frozen=True, kw_only=True)
class PhonemeTrainingConfig:
    """Training of a phoneme classifier."""

    steps: int = 1500
    batch_size: int = 24
    segment_frames: int = 225
    lr: float = 2e-3
    other_share: float = 0.2  # share of segments of sounds and music, if there are any
    gain_db: float = 10.0  # range of the random gain, in both directions
    held_out_share: float = 0.03
    seed: int = 0
