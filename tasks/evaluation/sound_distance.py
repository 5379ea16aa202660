"""Fréchet audio distance of generated sounds and music to the recordings, on a named embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...codec.evaluation.embeddings import embedding_key, load_embedding
from ...codec.evaluation.fad import ClipVectors, frechet_table
from ...core.metrics.frechet import MIN_CLIPS, extrapolated_distance
from ..pipelines.outputs import GeneratedAudio
from .figure import Figure
from .measure import Measurer, _Ready

_TASKS = {"sound": "text_to_audio", "music": "text_to_music"}
_SETS = {"codec": "recordings through the codec", "made": "what was made of the captions"}


class DistanceMeasurer(Measurer):
    """A `Measurer` that also embeds sounds: recordings, coded recordings, generated ones.

    The first sound of each caption counts.
    """

    def __init__(self, name: str, *args: Any, **options: Any) -> None:
        """Load the embedding.

        Args:
            name: of the embedding, see :func:`load_embedding`.
            args: as for `Measurer`.
            options: as for `Measurer`.
        """
        super().__init__(*args, **options)
        self.embedding = load_embedding(name, device=self.pipeline.lm.device)
        folder: Path = self.out / "embeddings"
        self._facts = (*self._facts, embedding_key(name))
        self.vectors = {
            of: ClipVectors(self.embedding, folder / f"{of}.jsonl", {"key": self._facts})
            for of in ("recording", *_SETS)
        }

    def _sound(self, batch: Sequence[_Ready]) -> list[dict[str, Any]]:
        facts = super()._sound(batch)
        for item in batch:
            self._embed("recording", item, item.wav)
            self._embed("codec", item, self.pipeline.decode(item.tokens))
        return facts

    def _generate(
        self, batch: Sequence[_Ready], seconds: Sequence[float]
    ) -> list[list[GeneratedAudio]]:
        generated = super()._generate(batch, seconds)
        for item, draws in zip(batch, generated, strict=True):
            self._embed("made", item, draws[0].wav)
        return generated

    def _embed(self, of: str, item: _Ready, wav: Any) -> None:
        samples = np.asarray(wav, np.float32).ravel()
        self.vectors[of].add(item.job.clip.id, samples, self.pipeline.sample_rate)

    def figures(self, facts: Sequence[Mapping[str, Any]]) -> list[Figure]:
        """Distances of all measured clips; none for fewer than `MIN_CLIPS` of a domain."""
        found = []
        for domain, task in _TASKS.items():
            clips = [clip["id"] for clip in facts if clip["domain"] == domain]
            found += distance_figures(self.vectors, task, clips)
        return found


def distance_figures(
    vectors: Mapping[str, ClipVectors], task: str, clips: Sequence[str]
) -> list[Figure]:
    """Distances to the recordings, and of one half of the recordings to the other.

    Args:
        vectors: of the recordings (`recording`), through the codec (`codec`) and made (`made`).
        task: that made the sounds.
        clips: ids of one domain.
    """
    recordings = vectors["recording"]
    clips = [clip for clip in clips if clip in recordings]
    sets = {words: vectors[of] for of, words in _SETS.items()}
    table = frechet_table(recordings, sets, {task: clips})
    found = {f"FAD to the recordings, {words}": row for words, row in table.rows.items()}
    if len(clips) >= 2 * MIN_CLIPS:
        pairs = recordings.get(clips[: len(clips) // 2 * 2])
        halves = extrapolated_distance(pairs[::2], pairs[1::2])
        found["FAD, half of the recordings to the other half"] = {task: halves}
    return [
        Figure(
            task,
            title,
            row[task].value,
            False,
            f"{table.embedding}; {row[task].plain:.3f} without extrapolation",
        )
        for title, row in found.items()
        if task in row
    ]
