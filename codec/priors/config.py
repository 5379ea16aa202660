"""Configuration of a prior. Does not import torch: the command line shows the defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("spectral", "phonemes", "wav2vec2", "hubert", "wavlm", "whisper", "beats")
WIDTHS = ("error", "pad", "project")
# paper.md 3, D: the paper names wav2vec 2.0 and BEATs, not the checkpoints.
DEFAULT_CHECKPOINTS = {
    "wav2vec2": "facebook/wav2vec2-base",
    "hubert": "facebook/hubert-base-ls960",
    "wavlm": "microsoft/wavlm-base-plus",
    "whisper": "openai/whisper-base",
}
# paper.md 3, D: the author takes WavLM's layers 6 to 9 as phone-level features in later work.
DEFAULT_LAYERS = (6, 7, 8, 9)
FULL_CODEBOOK = 2048


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """One teacher, written ``KIND`` or ``KIND:SOURCE``."""

    kind: str
    source: str  # checkpoint id, folder or file; for spectral the flavour ("" = that of its half)

    @classmethod
    def parse(cls, text: str) -> TeacherSpec:
        """Read ``spectral``, ``wav2vec2:facebook/wav2vec2-base``, ``beats:BEATs_iter3.pt`` ...

        Example:
            >>> TeacherSpec.parse("hubert")
            TeacherSpec(kind='hubert', source='facebook/hubert-base-ls960')
        """
        kind, _, source = text.partition(":")
        kind = "phonemes" if kind == "listener" else kind  # its name in earlier versions
        if kind not in KINDS:
            raise ValueError(f"teacher must be one of {', '.join(KINDS)}, got {text!r}")
        if kind == "beats" and not source:
            raise ValueError(
                "teacher must be beats:FILE, such as beats:BEATs_iter3.pt, got 'beats'"
            )
        if kind == "phonemes" and not source:
            raise ValueError(
                "teacher must be phonemes:FILE (almtok codec phonemes), got 'phonemes'"
            )
        if kind == "spectral" and source not in ("", "speech", "sound"):
            raise ValueError(f"teacher must be spectral:speech or spectral:sound, got {text!r}")
        return cls(kind=kind, source=source or DEFAULT_CHECKPOINTS.get(kind, ""))


@dataclass(frozen=True, kw_only=True)
class KMeansConfig:
    """Lloyd's k-means after a k-means++ initialization (paper.md 3, D)."""

    clusters: int
    passes: int = 20  # over all vectors, at most
    tolerance: float = 1e-4  # stop when a pass lowers the inertia by less than this share of it
    init_vectors: int = 32768  # sample of k-means++, at least 3 per cluster
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("clusters", 1), ("passes", 0), ("init_vectors", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """One prior: two teachers, one codebook.

    The paper uses wav2vec 2.0 for speech and BEATs for sound, half of the entries each (A); the
    checkpoints, layers and clustering are ours (D). ``spectral`` needs no download.
    """

    teacher_speech: str = "spectral"
    teacher_sound: str = "spectral"
    codebook_size: int = FULL_CODEBOOK
    num_speech: int | None = None  # entries of the speech half; None: half of the codebook
    # Of transformers teachers, from 1, averaged; None: 6 to 9, of Whisper one at two thirds (D).
    layers: tuple[int, ...] | None = None
    normalize: bool | None = None  # waveform to mean 0, variance 1; None: as the checkpoint says
    spectral_width: int = 128
    widths: str = "error"  # for teachers of different width: error, pad or project
    max_vectors: int = 1_000_000  # per half; of more feature frames a random share is kept
    passes: int = 20  # of k-means over all vectors, at most
    shard_seconds: float = 600.0  # audio per feature shard: what a killed run repeats
    batch_seconds: float = 60.0  # audio per batch of a teacher
    seed: int = 0

    def __post_init__(self) -> None:
        if self.codebook_size < 1:
            raise ValueError(f"codebook_size must be at least 1, got {self.codebook_size}")
        if not 0 <= self.speech_entries <= self.codebook_size:
            raise ValueError(
                f"num_speech must lie in 0..{self.codebook_size}, got {self.num_speech}"
            )
        if self.widths not in WIDTHS:
            raise ValueError(f"widths must be one of {WIDTHS}, got {self.widths!r}")
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise ValueError(f"layers must be at least 0, got {list(self.layers)}")
        TeacherSpec.parse(self.teacher_speech)
        TeacherSpec.parse(self.teacher_sound)
        self.kmeans(max(self.codebook_size, 1))

    @property
    def speech_entries(self) -> int:
        """Entries of the speech half; it comes first in the codebook."""
        return self.codebook_size // 2 if self.num_speech is None else self.num_speech

    @property
    def sound_entries(self) -> int:
        """Entries of the sound half."""
        return self.codebook_size - self.speech_entries

    def kmeans(self, clusters: int) -> KMeansConfig:
        """Return the clustering of one half."""
        return KMeansConfig(clusters=clusters, passes=self.passes, seed=self.seed)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values.

        They identify a prior file: without Whisper, default layers are written out.
        """
        kinds = [TeacherSpec.parse(t).kind for t in (self.teacher_speech, self.teacher_sound)]
        default = () if "whisper" in kinds else DEFAULT_LAYERS
        return asdict(self) | {"layers": list(self.layers or default)}
