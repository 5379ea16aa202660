"""Clips of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.data.entries import AudioEntry
from ...core.data.manifests import list_entries


@dataclass(frozen=True)
class EvaluationClip:
    """One recording of the test set."""

    id: str
    domain: str
    text: str
    recording: AudioEntry


def list_clips(sources: Sequence[str], *, limit: int | None = None) -> list[EvaluationClip]:
    """Clips with a text, at most `limit` of each domain; of the split `test` if a source has it.

    Clips are taken from all sources in turn, so that a limit leaves no source out.

    Raises:
        ValueError: if no clip has a text.
    """
    by_source = []
    for source in sources:
        entries = [e for e in list_entries([source], transcripts=True) if e.text.strip()]
        by_source.append([e for e in entries if e.split == "test"] or entries)
    clips: list[EvaluationClip] = []
    counts: dict[str, int] = {}
    seen: dict[str, int] = {}
    for place in range(max(map(len, by_source), default=0)):
        for recordings in by_source:
            if place >= len(recordings):
                continue
            entry = recordings[place]
            counts[entry.domain] = counts.get(entry.domain, 0) + 1
            if limit is None or counts[entry.domain] <= limit:
                times = seen[entry.id] = seen.get(entry.id, 0) + 1
                name = entry.id if times == 1 else f"{entry.id}#{times}"
                clips.append(EvaluationClip(name, entry.domain, entry.text, recordings[place]))
    if not clips:
        raise ValueError(f"no clip of {', '.join(sources)} has a text: there is nothing to measure")
    return clips


def voice_references(clips: Sequence[EvaluationClip]) -> dict[str, EvaluationClip]:
    """The next clip of the same speaker, by id; speakers with one clip are left out."""
    of_speaker: dict[str, list[EvaluationClip]] = {}
    for clip in clips:
        if clip.domain == "speech" and clip.recording.speaker:
            of_speaker.setdefault(clip.recording.speaker, []).append(clip)
    return {
        clip.id: own[(place + 1) % len(own)]
        for own in of_speaker.values()
        for place, clip in enumerate(own)
        if len(own) > 1
    }
