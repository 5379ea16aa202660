"""Clips of an evaluation by whether their speaker occurs in the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .manifests import list_entries

HEARD, UNHEARD = "heard speakers", "unheard speakers"


def speaker_groups(speakers: Mapping[str, str], training: Sequence[str]) -> dict[str, set[str]]:
    """Group clips by whether their speaker occurs in training data.

    Args:
        speakers: speaker by clip id; clips with "" are in neither group.
        training: sources of the training data, whose rows name speakers.

    Returns:
        Ids of the clips by ``"heard speakers"`` and ``"unheard speakers"``, without empty groups;
        no groups without training data.

    Raises:
        ValueError: No clip of the evaluation, or none of the training data, names a speaker.
    """
    if not training:
        return {}
    known = {entry.speaker for entry in list_entries(training)} - {""}
    if not known:
        raise ValueError(f"--heard needs the names of speakers: {', '.join(training)} has none")
    if not any(speakers.values()):
        raise ValueError("--heard needs test data that names speakers: none of the clips does")
    groups: dict[str, set[str]] = {HEARD: set(), UNHEARD: set()}
    for clip, speaker in speakers.items():
        if speaker:
            groups[HEARD if speaker in known else UNHEARD].add(clip)
    return {name: ids for name, ids in groups.items() if ids}
