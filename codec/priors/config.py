"""What a prior is made from. No torch here: the command line shows these defaults in ``--help``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("spectral", "listener", "wav2vec2", "hubert", "wavlm", "beats")
WIDTHS = ("error", "pad", "project")
# paper.md 3, D: the paper names wav2vec 2.0 and BEATs, not the checkpoints.
DEFAULT_CHECKPOINTS = {
    "wav2vec2": "facebook/wav2vec2-base",
    "hubert": "facebook/hubert-base-ls960",
    "wavlm": "microsoft/wavlm-base-plus",
}
# paper.md 3, D: the author takes WavLM's layers 6 to 9 as phone-level features in later work.
DEFAULT_LAYERS = (6, 7, 8, 9)
FULL_CODEBOOK = 2048


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """One teacher as the command line names it: ``KIND`` or ``KIND:SOURCE``."""

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
        if kind not in KINDS:
            raise ValueError(f"a teacher is one of {', '.join(KINDS)}, got {text!r}")
        if kind == "beats" and not source:
            raise ValueError("BEATs has no hub id: name the file, as in beats:BEATs_iter3.pt")
        if kind == "listener" and not source:
            raise ValueError("name the file that 'almtok codec phonemes' wrote: listener:FILE")
        if kind == "spectral" and source not in ("", "speech", "sound"):
            raise ValueError(f"spectral comes as spectral:speech or spectral:sound, got {text!r}")
        return cls(kind=kind, source=source or DEFAULT_CHECKPOINTS.get(kind, ""))


@dataclass(frozen=True, kw_only=True)
class KMeansConfig:
    """Mini-batch k-means with a k-means++ start, then passes over all vectors (paper.md 3, D)."""

    clusters: int
    batch_size: int = 8192
    epochs: int = 4  # mini-batch epochs over the vectors
    passes: int = 10  # full (Lloyd) passes after them, fewer when the inertia stands still
    tolerance: float = 1e-4  # a pass that gains less than this share of the inertia is the last
    init_vectors: int = 32768  # k-means++ looks at this many, at least 3 per cluster
    reseed_share: float = 0.02  # a cluster with less than this share of a fair share moves
    save_every: int = 50  # mini-batch steps between two saved states
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("clusters", "batch_size", "epochs", "init_vectors", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.passes < 0:
            raise ValueError(f"passes must be at least 0, got {self.passes}")


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """One prior: two teachers, one codebook.

    The paper says wav2vec 2.0 for speech, BEATs for sound, half of the entries each (A); the
    checkpoints, layers and clustering are ours (D). ``spectral`` is the stand-in without downloads.
    """

    teacher_speech: str = "spectral"
    teacher_sound: str = "spectral"
    codebook_size: int = FULL_CODEBOOK
    num_speech: int | None = None  # entries of the speech half; None: half of the codebook
    layers: tuple[int, ...] = DEFAULT_LAYERS  # of transformers teachers, from 1, averaged
    normalize: bool | None = None  # waveform to mean 0, variance 1; None: as the checkpoint says
    spectral_width: int = 128
    widths: str = "error"  # two teachers of different width: error, pad or project
    max_vectors: int = 1_000_000  # per half; more feature frames than that are thinned evenly
    epochs: int = 4
    passes: int = 10
    batch_size: int = 8192
    shard_seconds: float = 600.0  # audio between two saved feature shards (what a kill can cost)
    batch_seconds: float = 60.0  # audio given to a teacher at once
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
        if not self.layers or min(self.layers) < 0:
            raise ValueError(f"layers must be numbers from 0 on, got {list(self.layers)}")
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
        return KMeansConfig(
            clusters=clusters,
            batch_size=self.batch_size,
            epochs=self.epochs,
            passes=self.passes,
            seed=self.seed,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self) | {"layers": list(self.layers)}
