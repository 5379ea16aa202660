"""Named audio embeddings for Fréchet distances and probes: CLAP and the teachers of priors.

Shapes: S samples, N vectors of one clip, P width of a vector.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...core.audio import Waveform, resample
from ...core.choices import AUTO
from ...core.loading import load_float32
from ...core.results_log import key_of, stamp
from ...core.runtime import find_device
from ..priors.config import KINDS, PriorConfig
from ..priors.teacher import Teacher
from ..priors.teachers import make_teacher

EMBEDDINGS = "whisper[:ID], clap:ID, wav2vec2[:ID], hubert[:ID], wavlm[:ID], beats:FILE"


def load_embedding(text: str, *, device: str | torch.device = AUTO) -> Teacher:
    """Load an embedding by name.

    Args:
        text: ``clap:ID`` (hub id or folder), or a teacher of priors, such as ``whisper:ID``
            (`almtok codec prior --help-all`).
        device: of the model.

    Raises:
        ValueError: The name is unknown, or the checkpoint is of another model or lacks weights.
        OSError: The checkpoint cannot be loaded.
    """
    kind, _, source = text.partition(":")
    if kind == "clap" and source:
        return ClapEmbedding(source, device=device)
    if kind not in KINDS:
        raise ValueError(f"embedding must be one of {EMBEDDINGS}, got {text!r}")
    return make_teacher("speech", PriorConfig(teacher_speech=text), device=device)


def embedding_key(text: str) -> str:
    """Hash of an embedding's name and, for a file or folder, of its weights."""
    path = Path(text.partition(":")[2])
    return key_of(text, stamp(path) if path.name and path.exists() else "")


def embed_frames(embedding: Teacher, wav: Waveform, sample_rate: int) -> Tensor:
    """Vectors [N, P] of a clip [S] of any length, in pieces of the embedding's length."""
    samples = torch.from_numpy(resample(wav, sample_rate, embedding.sample_rate))
    size = round(embedding.piece_seconds * embedding.sample_rate)
    pieces = samples.split(size) if len(samples) else (samples,)
    short = embedding.min_samples - len(pieces[-1])
    if short > 0 and len(pieces) > 1:  # too short a rest has no vector of its own
        pieces = pieces[:-1]
    elif short > 0:
        pieces = (torch.nn.functional.pad(pieces[0], (0, short)),)
    return torch.cat([embedding.features(piece) for piece in pieces])


def embed_clip(embedding: Teacher, wav: Waveform, sample_rate: int) -> npt.NDArray[np.float32]:
    """Mean over time [P] of the vectors of a clip [S]."""
    return embed_frames(embedding, wav, sample_rate).mean(dim=0).cpu().numpy()


class ClapEmbedding(Teacher):
    """Audio embedding of CLAP, of unit length: one vector per 10 s.

    Shorter clips are repeated, as the checkpoint's extractor does.

    Args:
        checkpoint: hub id or folder, such as ``laion/clap-htsat-unfused``.
        device: of the model, which runs in float32.
    """

    min_samples = 1

    def __init__(self, checkpoint: str, *, device: str | torch.device = AUTO) -> None:
        from transformers import ClapFeatureExtractor, ClapModel

        self.device = find_device(device)
        self.model = load_float32(ClapModel, checkpoint, "clap").to(self.device)
        self.extractor = ClapFeatureExtractor.from_pretrained(checkpoint, trust_remote_code=False)
        self.name = f"clap:{checkpoint}"
        self.dim = self.model.config.projection_dim
        self.sample_rate = self.extractor.sampling_rate
        # Longer clips would be cropped at random.
        self.piece_seconds = self.extractor.nb_max_samples / self.sample_rate
        self.frame_rate = 1.0 / self.piece_seconds

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        found = []
        for wav in wavs:
            inputs = self.extractor(
                wav.cpu().numpy(), sampling_rate=self.sample_rate, return_tensors="pt"
            ).to(self.device)
            found.append(self.model.get_audio_features(**inputs).pooler_output.float().cpu())
        return found
