"""Options of the codec's training data. Does not import torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How clips are checked, cached and cut into segments.

    The paper does not describe its audio preparation; the defaults are ours (paper.md 5.4, D).
    """

    sample_rate: int = 24000
    """Sample rate of the corpus in Hz; files of other rates are resampled."""

    segment_seconds: float = 3.0
    """Length of a training segment (3 s in stage 1, 6 to 12 s in stage 2: paper.md 5.4, D)."""
    segment_multiple: int = 1
    """Segment lengths are rounded down to a multiple of this, such as the codec's hop."""

    min_seconds: float = 0.1
    """Clips shorter than this are skipped as ``too_short``."""
    silence_dbfs: float = -60.0
    """Clips whose loudest 50 ms lie below this RMS level are skipped as ``silent``."""

    loudness_dbfs: float | None = -20.0
    """Every clip is scaled to this level before the random gain; None keeps its own level.

    The level is the RMS of the clip's active 50 ms frames. It is RMS and not LUFS because it needs
    no filter and differs by 1 to 2 dB on speech; ALMTokenizer2 used -16 LUFS with gain +-3 dB
    (paper.md 5.4). A whole clip gets one gain, so silence inside it stays as quiet as it was.
    """
    max_gain_db: float = 30.0
    """Maximum gain of the loudness normalization, so that near-silence is not amplified."""
    gain_db: tuple[float, float] = (-10.0, 4.0)
    """Range of the random gain of each segment."""
    peak_limit: float = 0.99
    """A segment whose peak would exceed this is scaled down to it instead of being clipped."""

    vary: float = 0.0
    """Speed perturbation: 0.1 plays segments up to ten percent faster or slower, with their pitch.

    It increases the variety of voices (Ko et al., "Audio augmentation for speech recognition",
    Interspeech 2015). 0 turns it off.
    """

    augment: Mapping[str, float] = field(default_factory=dict)
    """Probability of each augmentation of ``augment.py`` per segment: room, noise, opus."""
    snr_db: tuple[float, float] = (5.0, 30.0)
    """Range of the signal-to-noise ratio of the augmentation ``noise``, in dB.

    The noise is a clip of the domain ``sound`` if the corpus has any, or coloured noise; each in
    half of the cases. Segments of ``sound`` get coloured noise.
    """

    short_clips: Literal["join", "pad"] = "join"
    """Segments longer than a clip are filled with other clips of the domain, or with zeros."""
    gap_seconds: tuple[float, float] = (0.05, 0.3)
    """Range of the pause between joined clips, in seconds."""

    domain_weights: Mapping[str, float] = field(default_factory=dict)
    """Share of segments per domain (normalized to 1); empty: by duration."""

    cache_pcm: bool = True
    """Cache decoded audio as int16 PCM; False decodes the files at every crop."""
    shard_mebibytes: int = 32
    """PCM per cache file, which is also the most that a killed scan repeats."""
    scan_threads: int = 2
    """Threads that decode during a scan; the result does not depend on their number."""

    def __post_init__(self) -> None:
        if self.sample_rate <= 0:
            raise ValueError(f"sample_rate must be positive, got {self.sample_rate}")
        if self.segment_samples <= 0:
            raise ValueError(
                f"segment_seconds must be at least {self.segment_multiple} samples at"
                f" {self.sample_rate} Hz, got {self.segment_seconds}"
            )
        for name in ("gain_db", "gap_seconds", "snr_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be (low, high), got {(low, high)}")
        if self.augment:
            from .augment import check_shares

            check_shares(self.augment)
        if not 0 <= self.vary <= 1:
            raise ValueError(f"vary must lie in [0, 1], got {self.vary}")
        if self.gap_seconds[0] < 0:
            raise ValueError(f"gap_seconds must not be negative, got {self.gap_seconds}")
        if self.short_clips not in ("join", "pad"):
            raise ValueError(f"short_clips must be 'join' or 'pad', got {self.short_clips!r}")
        if not 0 < self.peak_limit <= 1:
            raise ValueError(f"peak_limit must lie in (0, 1], got {self.peak_limit}")
        if any(weight < 0 for weight in self.domain_weights.values()):
            raise ValueError(f"domain_weights must be >= 0, got {dict(self.domain_weights)}")
        if self.scan_threads < 1 or self.shard_mebibytes < 1:
            raise ValueError(
                f"scan_threads and shard_mebibytes must be at least 1, got {self.scan_threads} and"
                f" {self.shard_mebibytes}"
            )

    @property
    def segment_samples(self) -> int:
        """Samples of one segment."""
        samples = round(self.segment_seconds * self.sample_rate)
        return samples - samples % self.segment_multiple

    @property
    def drawn_samples(self) -> int:
        """Samples that are read for one segment: with ``vary``, enough for the highest speed."""
        return math.ceil(self.segment_samples * (1 + self.vary))
