"""A judge of sounds that is not ours: it knows real clips by their class, and no codes.

Each clip is summed up by the level and the movement of its bands; classes are told apart by linear
discriminants with a shared, shrunk covariance (Friedman 1989). A weak judge is still a fair one if
its share of right answers on recordings stands beside.

Letters: `N` clips, `F` features, `M` mel bands, `C` classes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..codec.audio import read_audio, resample
from ..codec.data.reader import EntryReader
from ..codec.data.sources import list_entries
from ..codec.evaluation.spectral import log_mel

RATE = 24_000
_BANDS = 40  # M, after neighbours are averaged
_SHRINK = 0.3  # of the covariance, towards equal features
Floats = npt.NDArray[np.float64]


def summary(wav: Any, sample_rate: int) -> Floats:
    """Features `[F]` of a clip `[S]`: for each band its mean, spread, movement and loudest tenth.

    The clip's own level is taken out: how loud a recording is says little about its class.
    """
    samples = resample(np.asarray(wav, np.float32).ravel(), sample_rate, RATE)
    samples = samples / max(1e-9, float(np.abs(samples).max(initial=0.0)))
    level = log_mel(samples, RATE)
    level = level.reshape(len(level), _BANDS, -1).mean(axis=2)  # [frames, M]
    moves = np.abs(np.diff(level, axis=0)) if len(level) > 1 else np.zeros((1, _BANDS))
    parts = (level.mean(axis=0), level.std(axis=0), moves.mean(axis=0),
             np.quantile(level, 0.9, axis=0))  # fmt: skip
    return np.concatenate([*parts, [np.log(len(level))]])


@dataclass(frozen=True)
class SoundClassifier:
    """Names the class of a sound."""

    classes: tuple[str, ...]
    mean: Floats  # [F], of all clips
    scale: Floats  # [F]
    weight: Floats  # [F, C]
    bias: Floats  # [C]
    domains: tuple[str, ...] = ()  # of the recordings it learned from, where they have any

    @classmethod
    def fit(cls, clips: Iterable[tuple[Any, int, str]]) -> SoundClassifier:
        """Learn from clips: samples `[S]`, their rate in Hz, and their class.

        Raises:
            ValueError: fewer than two classes.
        """
        rows = [(summary(wav, rate), name) for wav, rate, name in clips]
        classes = tuple(sorted({name for _, name in rows}))
        if len(classes) < 2:
            raise ValueError(f"a classifier needs two classes or more; came {list(classes)}")
        features = np.stack([row for row, _ in rows])
        mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
        features = (features - mean) / scale
        names = np.array([classes.index(name) for _, name in rows])
        centres = np.stack([features[names == place].mean(axis=0) for place in range(len(classes))])
        inside = features - centres[names]
        covariance = inside.T @ inside / len(inside)
        # With one clip of each class nothing varies inside; features have a spread of one in all.
        even = np.eye(len(covariance)) * max(0.01, np.trace(covariance) / len(covariance))
        weight = np.linalg.solve((1 - _SHRINK) * covariance + _SHRINK * even, centres.T)
        return cls(classes, mean, scale, weight, -0.5 * np.einsum("cf,fc->c", centres, weight))

    @classmethod
    def of_sources(cls, sources: Sequence[str], *, least: int = 8) -> SoundClassifier:
        """Learn from labelled recordings.

        Args:
            sources: `[DOMAIN=]LOCATION[:SPLIT]` each; their rows have a column `label` or `class`.
            least: recordings of a class; of fewer nothing is learned.

        Raises:
            ValueError: fewer than two classes have so many.
        """
        entries = [entry for entry in list_entries(sources) if entry.label]
        counts = Counter(entry.label for entry in entries)
        kept = [entry for entry in entries if counts[entry.label] >= least]
        if len({entry.label for entry in kept}) < 2:
            raise ValueError(
                f"a classifier needs two classes or more of {least} recordings each; came"
                f" {dict(counts.most_common(5))} in {', '.join(map(str, sources))} (column 'label'"
                " or 'class')"
            )
        reader = EntryReader()
        judge = cls.fit((read_audio(reader.open(e), RATE), RATE, e.label) for e in kept)
        return replace(judge, domains=tuple(sorted({entry.domain for entry in kept})))

    @property
    def stamp(self) -> str:
        """Another one for a classifier that learned something else."""
        return hashlib.sha256(self.weight.tobytes() + str(self.classes).encode()).hexdigest()[:16]

    def name(self, wav: Any, sample_rate: int) -> str:
        """The likeliest class of samples `[S]`."""
        row = (summary(wav, sample_rate) - self.mean) / self.scale
        return self.classes[int((row @ self.weight + self.bias).argmax())]
