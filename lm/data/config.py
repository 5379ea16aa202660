"""What tokenizing can be told; no torch here, so that a command line can read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """How recordings are checked, encoded and written."""

    frames_per_query: int | None = None
    """Frames of 1/75 s behind one column of codes; None is the codec's own (6: 12.5 Hz)."""

    min_seconds: float = 0.1
    """Shorter recordings are skipped as ``too_short``."""
    max_seconds: float = 600.0
    """Longer recordings are skipped as ``too_long``; no more than this of a file is decoded."""
    silence_dbfs: float = -60.0
    """Recordings whose loudest 50 ms lie below this RMS level are skipped as ``silent``."""
    loudness_dbfs: float | None = None
    """Every recording is brought to this RMS level of its active frames; None leaves it alone.

    Corpora recorded at different levels (-30 and -23 dBFS are both common) teach a language model
    that level belongs to the speaker; with None the codes are exactly those of ``codec.tokenize``.
    """
    passes: int = 1
    """Times through the codec; 2 gives the codes of what the codes sound like.

    Speech that a model made is heard so, by whoever listens to the sound of it. For transcription
    only: source ``listening=FOLDER``.
    """
    vary: float = 0.0
    """Every recording is played up to so much faster or slower: 0.1 draws from 0.91 to 1.1 times.

    As if another speaker had said it in another tempo (speed perturbation; Ko et al. 2015), so its
    row has no speaker. For more to listen to: source ``listening=FOLDER``.
    """
    seed: int = 0
    """Of the speeds of ``vary``; several seeds give several variants."""
    search_seconds: float = 0.0
    """Codes of recordings of at most so many seconds are searched for, by their spectra alone.

    Slow (about 1.7 s for half a second), for short sounds that a model is to make: what it
    learns to say is nearer to the recordings then. 0 searches for none.
    """
    valid_share: float = 0.0
    """Share of the recordings without a split that become ``valid``; the others become ``train``.

    The text decides (the id where there is none), so that equal texts stay together. 0 leaves them
    without a split.
    """

    rows_per_shard: int = 512
    """Recordings that are looked at per shard: what a killed run has to repeat at most."""
    batch_seconds: float | None = None
    """Seconds of audio, padding counted, that are encoded at once. Codes do not depend on it.

    None: 20 on a CPU (measured fastest: more falls out of its caches), 240 on an accelerator.
    """
    buffer_seconds: float = 600.0
    """Seconds that are decoded ahead and sorted by length before they are cut into batches."""
    threads: int = 2
    """Threads that decode audio while the codec computes."""

    def seconds_at_once(self, device: str) -> float:
        """Seconds of audio per batch on a kind of device: cpu, cuda, ..."""
        if self.batch_seconds is not None:
            return self.batch_seconds
        return 20.0 if device == "cpu" else 240.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_seconds < self.max_seconds:
            raise ValueError(
                f"min_seconds {self.min_seconds} must be >= 0 and less than max_seconds"
                f" {self.max_seconds}"
            )
        for name in ("rows_per_shard", "batch_seconds", "buffer_seconds", "threads", "passes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.search_seconds < 0 or (self.search_seconds and self.passes > 1):
            raise ValueError(
                "search_seconds is 0 or more, with passes 1 (what is heard is not searched for);"
                f" came {self.search_seconds} with passes {self.passes}"
            )
        if not 0 <= self.vary <= 1:
            raise ValueError(f"vary must lie in [0, 1], such as 0.1; got {self.vary}")
        if not 0 <= self.valid_share < 1:
            raise ValueError(f"valid_share must lie in [0, 1), got {self.valid_share}")
        if self.frames_per_query is not None and self.frames_per_query < 1:
            raise ValueError(f"frames_per_query must be positive, got {self.frames_per_query}")
