"""Generated speech in groups: by its voice, and by whether its text was in the training data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.metrics.intervals import bootstrap_interval
from ...core.reading import read_lines
from ...lm.data.dataset import TokenDataset
from ...lm.text.normalize import plain
from .figure import Figure
from .scores import Spelling, error_rate

Facts = Mapping[str, Any]


def read_seen_texts(paths: Iterable[str]) -> set[str]:
    """Texts of training data as lower-case words.

    Args:
        paths: token folders, of whose rows the split "train" counts, and .txt files with a text per
            line.

    Raises:
        ValueError: a folder holds no tokens of that split, or a file is missing.
    """
    seen: set[str] = set()
    for path in paths:
        if Path(path).suffix.lower() == ".txt":
            try:
                seen.update(plain(line) for _, line in read_lines(Path(path)))
            except FileNotFoundError:
                raise ValueError(f"--seen-texts: there is no file {path}") from None
        else:
            seen.update(map(plain, TokenDataset(path, split="train").texts()))
    return seen - {""}


def mark_seen(facts: Sequence[Facts], paths: Sequence[str]) -> list[Facts]:
    """Facts of clips with `seen`: whether their text is among those of `read_seen_texts`.

    Without paths the facts are returned as they are.
    """
    if not paths:
        return list(facts)
    seen = read_seen_texts(paths)
    return [
        {**clip, "seen": plain(clip["text"]) in seen} if clip.get("domain") == "speech" else clip
        for clip in facts
    ]


def group_figures(speech: Sequence[Facts], judge: str, spelling: Spelling = ()) -> list[Figure]:
    """WER of generated speech, and similarity to the speaker, of each group of clips.

    Voices are groups if there are several, texts if clips are marked as seen or not.

    Args:
        speech: facts of the clips of speech.
        judge: name of the recognizer of `judge_tts`.
        spelling: of the recognizer, see `scores.normaliser`.
    """
    spoken = [clip for clip in speech if "tts_own" in clip]
    groups: dict[str, list[Facts]] = {}
    for clip in spoken:
        if "voice" in clip:
            groups.setdefault(f"voice {clip['voice']}", []).append(clip)
    if len(groups) < 2:
        groups = {}
    for name, seen in (("texts of the training data", True), ("other texts", False)):
        if own := [clip for clip in spoken if clip.get("seen") is seen]:
            groups[name] = own
    return [
        figure
        for name, clips in groups.items()
        for figure in _figures(name, clips, judge, spelling)
    ]


def _figures(group: str, clips: Sequence[Facts], judge: str, spelling: Spelling) -> list[Figure]:
    found = []
    references = [clip["text"] for clip in clips]
    languages = [clip.get("language", "") for clip in clips]
    for column, name, spelled in (
        ("tts_own", "own ASR", ()), ("judge_tts", judge, spelling)
    ):  # fmt: skip
        if column in clips[0]:
            heard = [clip[column] for clip in clips]
            value = error_rate(references, heard, language=languages, spelling=spelled)
            found.append(Figure("tts", f"WER, {group}, {name} (%)", value, True))
    # The recording tells something of a voice only if it is of that voice.
    own = [clip for clip in clips if clip.get("voice") in (None, clip.get("speaker"))]
    similar = [clip["speaker_tts"] for clip in own if "speaker_tts" in clip]
    similar = [value for value in similar if np.isfinite(value)]
    if similar:
        name = f"similarity of speakers, {group}, to its recording"
        found.append(Figure("tts", name, bootstrap_interval(similar), False))
    return found
