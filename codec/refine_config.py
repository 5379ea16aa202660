"""How a search for codes goes, as plain data (no torch here)."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """How long is searched, and for what."""

    steps: int = 40
    rate: float = 0.06  # of Adam, in standard deviations of the queries; falls to zero
    piece_seconds: float = 8.0  # searched at once, after what was found before
    # Weights of the losses.
    mel: float = 1.0
    pitch: float = 6.0
    loudness: float = 1.0
    recognition: float = 8.0  # where the codec has a listener
    # Decode in bfloat16 while searching; None: on CPUs that have it, where it takes half the time.
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        if self.steps < 0 or self.rate <= 0 or self.piece_seconds <= 0:
            raise ValueError(
                "a search has steps >= 0 and rate and piece_seconds > 0; came"
                f" {self.steps}, {self.rate} and {self.piece_seconds}"
            )


# Of what has neither words nor a voice's pitch.
BY_SPECTRA = RefineConfig(pitch=0.0, loudness=0.0, recognition=0.0)
