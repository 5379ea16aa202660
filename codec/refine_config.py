"""Settings of code refinement. Does not import torch: the command line reads the defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Steps and loss weights of code refinement."""

    steps: int = 40
    rate: float = 0.06  # of Adam, in standard deviations of the queries; falls to zero
    piece_seconds: float = 8.0  # length of a chunk; chunks are refined in order
    # Weights of the losses.
    mel: float = 1.0
    pitch: float = 6.0
    loudness: float = 1.0
    recognition: float = 8.0  # if there is a phoneme classifier
    # Decode in bfloat16; None: on CPUs with native support, where it halves the time.
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        if self.steps < 0 or self.rate <= 0 or self.piece_seconds <= 0:
            raise ValueError(
                "settings must be steps >= 0, rate > 0 and piece_seconds > 0, got"
                f" {self.steps}, {self.rate} and {self.piece_seconds}"
            )


# For sounds without speech.
BY_SPECTRA = RefineConfig(pitch=0.0, loudness=0.0, recognition=0.0)
