"""Features and phone labels of frames: training data of the phoneme classifier.

Letters: `N` frames of all clips, `M` mel bands.
"""

from __future__ import annotations

import dataclasses
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ...core.audio import AudioError
from ...core.data.entries import AudioEntry, EntryReader
from ...core.data.manifests import list_entries
from ..priors.files import hash_json, write_atomically
from .aligner import Aligner, Phone
from .classifier import PhonemeClassifier
from .config import NONE, PHONES, SILENCE, PhonemeClassifierConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledFrames:
    """Concatenated clips."""

    features: np.ndarray[Any, Any]  # [N, M] float16
    labels: np.ndarray[Any, Any]  # [N] uint8, indices into PHONES
    ends: np.ndarray[Any, Any]  # [clips] int64: first frame after each clip
    speech: np.ndarray[Any, Any]  # [clips] bool

    def clips(self, *, speech: bool) -> list[tuple[int, int]]:
        """Start and end frames of speech or non-speech clips."""
        starts = np.concatenate([[0], self.ends[:-1]])
        return [
            (int(start), int(end))
            for start, end, kind in zip(starts, self.ends, self.speech, strict=True)
            if kind == speech
        ]


def label_frames(
    sources: Sequence[str],
    config: PhonemeClassifierConfig,
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: bool = True,
) -> LabelledFrames:
    """Align all speech that has a text; all frames of other domains are non-speech.

    Args:
        sources: Recordings; only speech needs texts.
        config: Of the phoneme classifier, for its features.
        cache: File of labels; read if it is of the same recordings, else written.
        workers: Number of alignment processes.
        progress: Show a progress bar.

    Raises:
        ValueError: No recording could be aligned.
    """
    entries = [entry for entry in list_entries(sources) if entry.text or entry.domain != "speech"]
    if not any(entry.domain == "speech" for entry in entries):
        raise ValueError(f"sources must have speech with texts, got {', '.join(sources)}")
    name = hash_json([repr(config), *map(repr, entries)])
    if cache is not None and (cached := _read(cache, name)) is not None:
        return cached
    frames = _label_all(entries, config, workers, progress)
    if cache is not None:
        write_atomically(cache, lambda temporary: _write(temporary, name, frames))
    return frames


def _read(cache: Path, name: str) -> LabelledFrames | None:
    if not cache.is_file():
        return None
    try:
        with np.load(cache) as file:
            if str(file["name"]) != name:
                return None
            return LabelledFrames(*(file[f.name] for f in dataclasses.fields(LabelledFrames)))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # computed again


def _write(path: Path, name: str, frames: LabelledFrames) -> None:
    with open(path, "wb") as file:
        np.savez(file, name=name, **vars(frames))


def _label_all(
    entries: Sequence[AudioEntry], config: PhonemeClassifierConfig, workers: int, progress: bool
) -> LabelledFrames:
    parts = []
    with get_context("spawn").Pool(workers, _start_worker, (config,)) as pool:
        labelled = pool.imap(_label, entries, 8)  # in order: equal sources give equal files
        bar = tqdm(labelled, total=len(entries), unit="clip", desc="align", disable=not progress)
        for entry, part in zip(entries, bar, strict=True):
            if part is not None:
                parts.append((*part, entry.domain == "speech"))
    if not any(part[2] for part in parts):
        raise ValueError("no recording could be aligned: expected English texts in words")
    if skipped := len(entries) - len(parts):
        logger.warning("skipped %d of %d clips: not aligned or unreadable", skipped, len(entries))
    return LabelledFrames(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.cumsum([len(part[1]) for part in parts]),
        np.array([part[2] for part in parts]),
    )


# Of a worker process.
_worker: list[tuple[Aligner, EntryReader, PhonemeClassifier]] = []


def _start_worker(config: PhonemeClassifierConfig) -> None:
    torch.set_num_threads(1)
    _worker.append((Aligner(), EntryReader(), PhonemeClassifier(config)))


def _label(entry: AudioEntry) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Features and labels of one clip; None if it cannot be read or aligned."""
    aligner, reader, classifier = _worker[0]
    rate, hop = classifier.config.sample_rate, classifier.config.hop_length
    try:
        wav = reader.read(entry, rate)
    except AudioError:
        return None
    count = len(wav) // hop
    if entry.domain == "speech":
        phones = aligner.phones(wav, rate, entry.text)
        if not phones:
            return None
        labels = frame_labels(phones, count, rate / hop)
    else:
        labels = np.full(count, NONE, np.uint8)
    with torch.no_grad():
        features = classifier.features(torch.from_numpy(wav)[None, None])[0]
    return features.numpy().astype(np.float16), labels


def frame_labels(phones: Sequence[Phone], count: int, frame_rate: float) -> Any:
    """The phone at each of `count` frames, as indices into PHONES: `[count]` uint8."""
    labels = np.full(count, SILENCE, np.uint8)
    for phone in phones:
        first, last = round(phone.start * frame_rate), round(phone.end * frame_rate)
        labels[first:last] = PHONES.index(phone.name) if phone.name in PHONES else SILENCE
    return labels
