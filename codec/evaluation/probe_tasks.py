"""What linear probes predict: phones, speakers and sound classes, with splits into three parts.

Letters: Q windows of a clip.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ...core.audio import AudioError
from ...core.data.entries import AudioEntry, EntryReader
from ...core.metrics.audio import SCORE_RATE
from ...core.results_log import ResultsLog, key_of
from ..phonemes.aligner import Aligner, Phone
from ..phonemes.config import PHONES, SILENCE
from ..phonemes.labels import frame_labels

logger = logging.getLogger(__name__)

PARTS = ("train", "valid", "test")
TEST_SHARE, VALID_SHARE = 0.25, 0.15
LEAST_CLIPS = 4  # of a speaker or sound class
_OVERSAMPLED = 8  # labels per window, of which the middle one counts

Clips = Mapping[str, AudioEntry]


@dataclass(frozen=True)
class ProbeTask:
    """Labels of clips, one each or one per window."""

    name: str  # phones, speaker or class
    split_by: str  # what the parts have no common one of: speaker or clip
    classes: tuple[str, ...]
    parts: dict[str, str]  # clip -> train, valid or test
    labels: dict[str, int] = field(default_factory=dict)  # clip -> class
    windows: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)  # clip -> [Q], -1: none


def choose(entries: Sequence[AudioEntry], limit: int | None, seed: int) -> dict[str, AudioEntry]:
    """Entries by unique id, at most `limit` of each domain: whole speakers and classes, at random.

    Args:
        entries: of the corpora.
        limit: of clips; None for all.
        seed: of the choice.
    """

    def order(entry: AudioEntry) -> tuple[bytes, bytes]:
        group = entry.speaker or entry.label
        names = (f"{seed} {entry.domain} {group}", f"{seed} {entry.id} {entry.path} {entry.row}")
        return tuple(hashlib.sha256(name.encode()).digest() for name in names)  # type: ignore[return-value]

    chosen: dict[str, AudioEntry] = {}
    counts: Counter[str] = Counter()
    for entry in sorted(entries, key=order):
        if limit is None or counts[entry.domain] < limit:
            counts[entry.domain] += 1
            chosen[entry.id] = entry
    return chosen


def split_groups(names: Sequence[str], seed: int) -> dict[str, str]:
    """Part of each of at least three names: a quarter is for tests, at least one in each part."""
    unique = sorted(set(names), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    test = max(1, round(TEST_SHARE * len(unique)))
    valid = max(1, round(VALID_SHARE * len(unique)))
    return {
        name: PARTS[2] if place < test else PARTS[1] if place < test + valid else PARTS[0]
        for place, name in enumerate(unique)
    }


def clip_task(name: str, labels: Mapping[str, str], seed: int) -> ProbeTask | None:
    """A task of one label per clip, split by clip within each class; None for one class only.

    Args:
        name: of the task.
        labels: class by clip; classes of fewer than `LEAST_CLIPS` clips are left out.
        seed: of the split.
    """
    counts = Counter(labels.values())
    classes = tuple(sorted(label for label, count in counts.items() if count >= LEAST_CLIPS))
    if len(classes) < 2:
        return None
    kept = {clip: classes.index(label) for clip, label in labels.items() if label in classes}
    parts: dict[str, str] = {}
    for number in range(len(classes)):
        parts |= split_groups([clip for clip, label in kept.items() if label == number], seed)
    return ProbeTask(name, "clip", classes, parts, labels=kept)


def phone_task(
    clips: Clips, alignments: Mapping[str, Sequence[Phone]], rate: float, seed: int
) -> ProbeTask | None:
    """Phones of windows, at their middle; silence has no label. Split by speaker if there are four.

    Args:
        clips: all clips by id.
        alignments: of the clips that could be aligned.
        rate: windows per second.
        seed: of the split.
    """
    windows: dict[str, npt.NDArray[np.int64]] = {}
    for clip, phones in alignments.items():
        count = int(phones[-1].end * rate)
        fine = frame_labels(phones, count * _OVERSAMPLED, rate * _OVERSAMPLED)
        middle = fine[_OVERSAMPLED // 2 :: _OVERSAMPLED].astype(np.int64)
        windows[clip] = np.where(middle == SILENCE, -1, middle)
    speakers = {clips[clip].speaker for clip in windows}
    by_speaker = len(speakers) >= 4 and "" not in speakers
    groups = {clip: clips[clip].speaker if by_speaker else clip for clip in windows}
    if len(set(groups.values())) < 4:
        return None
    part_of = split_groups(list(groups.values()), seed)
    parts = {clip: part_of[group] for clip, group in groups.items()}
    name = "speaker" if by_speaker else "clip"
    return ProbeTask("phones", name, PHONES[:SILENCE], parts, windows=windows)


def align(clips: Clips, log: ResultsLog, *, progress: bool = True) -> dict[str, list[Phone]]:
    """Phones of all speech with an English text, by forced alignment; kept in the log."""
    wanted = {
        name: entry
        for name, entry in clips.items()
        if entry.text and entry.domain in ("speech", "") and not _foreign(entry)
    }
    if not wanted:
        return {}
    aligner: Aligner | None = None
    reader, found = EntryReader(), {}
    for name, entry in tqdm(wanted.items(), desc="align", unit="clip", disable=not progress):
        key = key_of(entry.identity())
        cached = log.get(name, key)
        if cached is None:
            aligner = aligner or Aligner()
            phones = _aligned(aligner, reader, entry)
            cached = {"phones": [[phone.name, phone.start, phone.end] for phone in phones]}
            log.add(name, key, cached)
        if cached["phones"]:
            found[name] = [Phone(*values) for values in cached["phones"]]
    if missed := len(wanted) - len(found):
        logger.warning("%d of %d texts could not be aligned", missed, len(wanted))
    return found


def _foreign(entry: AudioEntry) -> bool:
    return bool(entry.language) and not entry.language.lower().startswith("en")


def _aligned(aligner: Aligner, reader: EntryReader, entry: AudioEntry) -> list[Phone]:
    try:
        return aligner.phones(reader.read(entry, SCORE_RATE), SCORE_RATE, entry.text)
    except AudioError:
        return []


def make_tasks(
    clips: Clips,
    rate: float,
    out: Path,
    *,
    names: Sequence[str],
    seed: int = 0,
    progress: bool = True,
) -> tuple[list[ProbeTask], dict[str, str]]:
    """Tasks of the given names that the clips have labels for; the others with the reason.

    Args:
        clips: by id.
        rate: windows of phones per second.
        out: folder that keeps alignments.
        names: of `TASKS`.
        seed: of the splits.
        progress: show a progress bar.
    """
    tasks: dict[str, ProbeTask | None] = {}
    if "phones" in names:
        log = ResultsLog(out / "alignments.jsonl")
        alignments = align(clips, log, progress=progress)
        tasks["phones"] = phone_task(clips, alignments, rate, seed)
    if "speaker" in names:
        speakers = {
            name: entry.speaker
            for name, entry in clips.items()
            if entry.speaker and entry.domain in ("speech", "")
        }
        tasks["speaker"] = clip_task("speaker", speakers, seed)
    if "class" in names:
        labels = {name: entry.label for name, entry in clips.items() if entry.label}
        tasks["class"] = clip_task("class", labels, seed)
    return [task for task in tasks.values() if task is not None], {
        name: TASKS[name] for name, task in tasks.items() if task is None
    }


# What a task needs, by name.
TASKS: dict[str, str] = {
    "phones": "needs four clips or more of speech with English texts that can be aligned",
    "speaker": f"needs two speakers or more of {LEAST_CLIPS} clips each",
    "class": f"needs two classes or more (column 'label') of {LEAST_CLIPS} clips each",
}
