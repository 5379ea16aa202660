"""Fréchet audio distance (FAD) of sets of clips to the recordings, on a named embedding.

The vector of a clip is the mean of its embedding over time. Vectors are kept in a file, so that an
interrupted evaluation continues.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ...core.audio import Waveform
from ...core.metrics.audio import SCORE_RATE
from ...core.metrics.frechet import MIN_CLIPS, FrechetDistance, extrapolated_distance
from ...core.results_log import ResultsLog, key_of
from ..priors.teacher import Teacher
from .codecs import EvaluatedCodec
from .embeddings import embed_clip
from .harness import EvaluationClip, safe_name


class ClipVectors:
    """Vectors of the clips of one set, in a JSON Lines file.

    Args:
        embedding: computes the vectors.
        path: of the file; an existing one is continued.
        settings: all that the audio of the set depends on; vectors of other settings are computed
            again.
    """

    def __init__(
        self, embedding: Teacher, path: str | os.PathLike[str], settings: Mapping[str, Any]
    ) -> None:
        self.embedding = embedding
        self._log, self._key = ResultsLog(path), key_of(embedding.name, dict(settings))

    def __contains__(self, clip: str) -> bool:
        return self._log.get(clip, self._key) is not None

    def add(self, clip: str, wav: Waveform, sample_rate: int) -> None:
        """Embed a clip [S]; its vector is on disk when this returns."""
        vector = np.ascontiguousarray(embed_clip(self.embedding, wav, sample_rate), dtype="<f4")
        self._log.add(clip, self._key, {"vector": base64.b64encode(vector.tobytes()).decode()})

    def get(self, clips: Iterable[str]) -> npt.NDArray[np.float32]:
        """Vectors [N, P] of clips that are in the file."""
        rows = [self._log.entries[clip]["vector"] for clip in clips]
        return np.stack([np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows])


class CodecVectors:
    """Vectors of recordings and of their reconstructions by codecs, in one folder.

    Args:
        embedding: computes the vectors.
        key: of the embedding and its weights.
        folder: of the files.
        clips: of the evaluation.
        data: fingerprint of the corpus.
    """

    def __init__(
        self,
        embedding: Teacher,
        key: str,
        folder: Path,
        clips: Sequence[EvaluationClip],
        data: str,
    ) -> None:
        self._embedding, self._folder, self._clips = embedding, folder, clips
        self._settings = {"embedding": key, "data": data}
        self.recordings = self._of("recordings", {})
        self.codecs: dict[str, ClipVectors] = {}

    def of(self, codec: EvaluatedCodec) -> ClipVectors:
        """Vectors of the reconstructions by a codec."""
        vectors = self._of(f"of_{safe_name(codec.name)}", codec.settings())
        self.codecs[codec.name] = vectors
        return vectors

    def _of(self, name: str, settings: Mapping[str, Any]) -> ClipVectors:
        path = self._folder / f"{name}.jsonl"
        return ClipVectors(self._embedding, path, {**self._settings, **settings})

    def table(self) -> FrechetTable:
        """Distances of all codecs to the recordings, whose missing vectors are computed first."""
        missing = [clip for clip in self._clips if clip.id not in self.recordings]
        for clip in tqdm(missing, desc="recordings", unit="clip"):
            self.recordings.add(clip.id, clip.read(), SCORE_RATE)
        domains: dict[str, list[str]] = {}
        for clip in self._clips:
            domains.setdefault(clip.domain, []).append(clip.id)
        return frechet_table(self.recordings, self.codecs, domains)


@dataclass(frozen=True)
class FrechetTable:
    """Distances of several sets, such as codecs, to the recordings."""

    embedding: str
    rows: dict[str, dict[str, FrechetDistance]]  # set -> domain -> distance
    left_out: tuple[str, ...]  # reasons, one line each


def frechet_table(
    recordings: ClipVectors, sets: Mapping[str, ClipVectors], domains: Mapping[str, Sequence[str]]
) -> FrechetTable:
    """Distances of all sets to the recordings, by domain.

    Args:
        recordings: vectors of the recordings.
        sets: by name; clips that one lacks (they failed) are left out for that one.
        domains: clip ids of each domain.
    """
    rows: dict[str, dict[str, FrechetDistance]] = {name: {} for name in sets}
    left_out = []
    for domain, clips in domains.items():
        for name, vectors in sets.items():
            shared = [clip for clip in clips if clip in vectors and clip in recordings]
            if len(shared) < MIN_CLIPS:
                reason = f"{len(shared)} clips, at least {MIN_CLIPS} are needed"
                left_out.append(f"no FAD: {name}, {domain}: {reason}")
                continue
            rows[name][domain] = extrapolated_distance(recordings.get(shared), vectors.get(shared))
    return FrechetTable(recordings.embedding.name, rows, tuple(left_out))
