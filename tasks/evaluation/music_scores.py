"""Scores of generated music: chroma, key, onsets and tempo against the recording of its caption.

Every figure has its chance level: the same score against the recordings of other captions.

Shapes: N made tunes, M captions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.metrics.intervals import bootstrap_interval
from ...core.metrics.music import (
    Tune,
    correlation,
    key_of_text,
    measure_tune,
    rate_octaves,
    tempo_octaves,
)
from .figure import Figure

Facts = Mapping[str, Any]
Array = npt.NDArray[np.float64]
_TASK = "text_to_music"
_TEMPO_OCTAVES = 0.057  # 4 %
_WHAT = {"codec": "recordings through the codec", "made": "what was made of the caption"}


def tune_facts(sample_rate: int, **wavs: Any) -> dict[str, Any]:
    """Features of tunes as facts of a clip: `NAME_tune` of samples `NAME`."""
    return {f"{name}_tune": asdict(measure_tune(wav, sample_rate)) for name, wav in wavs.items()}


def music_figures(facts: Sequence[Facts]) -> list[Figure]:
    """Figures of the music clips that were measured; none for fewer than two captions."""
    figures: list[Figure] = []
    for what, words in _WHAT.items():
        clips = [clip for clip in facts if f"{what}_tune" in clip and "original_tune" in clip]
        captions = list(dict.fromkeys(clip["text"] for clip in clips))
        if len(captions) < 2:
            continue
        made = [_tune(clip[f"{what}_tune"]) for clip in clips]
        references = [_tune(clip["original_tune"]) for clip in clips]
        texts = [clip["text"] for clip in clips]
        figures += _pair_figures(made, references, texts, words)
        figures += _retrieval_figures(made, references, texts, words)
        figures += _key_figures(made, texts, words)
    return figures


def caption_ranks(
    made: Sequence[Tune], references: Sequence[Tune], texts: Sequence[str]
) -> list[int]:
    """Rank of the caption of each tune among all captions, from 1; the worst among equals.

    A caption is as similar to a tune as the most similar of its recordings. Chroma, onsets and
    tempo count equally, each divided by its standard deviation over all pairs.

    Args:
        made: N tunes.
        references: the recording of the caption of each.
        texts: the captions; M of them are different.
    """
    measures: tuple[Callable[[Tune, Tune], float], ...] = (_chroma, _onsets, _tempo)
    tables = [np.array([[score(a, b) for b in references] for a in made]) for score in measures]
    scores: Array = np.sum([table / max(float(table.std()), 1e-9) for table in tables], axis=0)
    captions = list(dict.fromkeys(texts))
    places = [np.array([text == caption for text in texts]) for caption in captions]
    by_caption = np.stack([scores[:, own].max(axis=1) for own in places], axis=1)  # [N, M]
    numbers = [captions.index(text) for text in texts]
    return [int((row >= row[n]).sum()) for row, n in zip(by_caption, numbers, strict=True)]


def _tune(values: Mapping[str, Any]) -> Tune:
    return Tune(tuple(values["chroma"]), values["onset_rate"], values["tempo"])


def _chroma(a: Tune, b: Tune) -> float:
    return correlation(a.chroma, b.chroma)


def _onsets(a: Tune, b: Tune) -> float:
    return -rate_octaves(a.onset_rate, b.onset_rate)


def _tempo(a: Tune, b: Tune) -> float:
    return -tempo_octaves(a.tempo, b.tempo)


def _same_tempo(a: Tune, b: Tune) -> float:
    return float(tempo_octaves(a.tempo, b.tempo) <= _TEMPO_OCTAVES)


def _octaves(a: Tune, b: Tune) -> float:
    return rate_octaves(a.onset_rate, b.onset_rate)


def _pair_figures(
    made: Sequence[Tune], references: Sequence[Tune], texts: Sequence[str], words: str
) -> list[Figure]:
    """Similarity of each tune to its recording, beside that to recordings of other captions."""
    figures = []
    for name, score, percent in (
        ("correlation of chroma with the recording", _chroma, False),
        ("onset rate, octaves off the recording's", _octaves, False),
        ("tempo of the recording, its half or double (%)", _same_tempo, True),
    ):
        own = [score(a, b) for a, b in zip(made, references, strict=True)]
        others = [
            score(a, b)
            for a, text in zip(made, texts, strict=True)
            for b, other in zip(references, texts, strict=True)
            if other != text
        ]
        chance = float(np.mean(others))
        note = f"with other recordings {100 * chance:.1f}" if percent else (
            f"with other recordings {chance:.3f}"
        )  # fmt: skip
        figures.append(Figure(_TASK, f"{name}, {words}", bootstrap_interval(own), percent, note))
    return figures


def _retrieval_figures(
    made: Sequence[Tune], references: Sequence[Tune], texts: Sequence[str], words: str
) -> list[Figure]:
    ranks, count = caption_ranks(made, references, texts), len(set(texts))
    figures = []
    for name, most in (("first", 1), ("among the first five", 5)):
        hits = [float(rank <= most) for rank in ranks]
        note = f"chance {100 * min(1.0, most / count):.1f} of {count} captions"
        name = f"caption found {name} by chroma, onsets and tempo, {words} (%)"
        figures.append(Figure(_TASK, name, bootstrap_interval(hits), True, note))
    return figures


def _key_figures(made: Sequence[Tune], texts: Sequence[str], words: str) -> list[Figure]:
    """Share of the tunes in the key that their caption names."""
    keyed = [
        (tune, key) for tune, text in zip(made, texts, strict=True) if (key := key_of_text(text))
    ]
    if not keyed:
        return []
    hits = [float(tune.key == key) for tune, key in keyed]
    wrong = [float(tune.key == other) for tune, key in keyed for _, other in keyed if other != key]
    chance = f"with other captions {100 * float(np.mean(wrong)):.1f}" if wrong else ""
    name = f"in the key of the caption, {words} (%)"
    return [Figure(_TASK, name, bootstrap_interval(hits), True, chance)]
