"""Divide a corpus into train, valid and test by speakers and texts.

The result depends on the content of the entries, not on their order: groups of clips are ranked by
a hash of what is said in them (without a text: of the name of the file).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .entries import SPLITS, AudioEntry

SHARE, MOST_CLIPS = 0.05, 1000  # of a domain, for valid and for test each
FEWEST_TEXTS = 20  # different ones in a domain
_FEWEST_CLIPS = 2  # in valid and in test
_MOST_OF_SPEAKER = 0.15  # share of the clips of a speaker that is held out
_HELD_OUT = ("test", "valid")
_SPOKEN = ("speech", "listening")


@dataclass
class CorpusSplit:
    """The entries of each split.

    Attributes:
        parts: Entries by train, valid and test.
        how: What divides the clips of each domain, such as ``by text``.
        left_out: Clips whose texts other splits have.
    """

    parts: dict[str, list[AudioEntry]] = field(
        default_factory=lambda: {split: [] for split in SPLITS}
    )
    how: dict[str, str] = field(default_factory=dict)
    left_out: int = 0


def split_corpus(entries: Iterable[AudioEntry]) -> CorpusSplit:
    """Divide each domain into train, valid and test; splits that the corpus has are kept.

    No text is in two of the splits that are made here. Where there are enough speakers, those of
    valid and test are in no other split. Sounds and music whose texts are a few classes are divided
    by files.

    Raises:
        ValueError: A domain has too few different texts; the message says how many are needed.
    """
    domains: dict[str, list[AudioEntry]] = defaultdict(list)
    for entry in entries:
        domains[entry.domain].append(entry)
    result = CorpusSplit()
    for domain, clips in sorted(domains.items()):
        given = {split: [e for e in clips if e.split == split] for split in _HELD_OUT}
        wanted = [split for split in _HELD_OUT if not given[split]]
        rest = [entry for entry in clips if entry.split not in _HELD_OUT]
        if not rest:
            raise ValueError(
                f"all {len(clips)} clips of {domain or 'audio'} are of split {clips[0].split}, by a"
                " column or a name of a file or folder: none is left to train on"
            )
        if wanted:
            made, how = _divide(domain, rest, wanted)
        else:
            made, how = dict.fromkeys(map(_id, rest), "train"), "as the corpus is divided"
        result.how[domain] = how
        for entry in clips:
            split = entry.split if entry.split in _HELD_OUT else made.get(_id(entry))
            if split is None:
                result.left_out += 1
            else:
                result.parts[split].append(dataclasses.replace(entry, split=split))
    return result


def _divide(
    domain: str, clips: Sequence[AudioEntry], wanted: Sequence[str]
) -> tuple[dict[str, str], str]:
    """The split of each clip by id; clips that are left out have none. And what divides them."""
    groups = _groups(domain, clips)
    if len(set(groups.values())) < FEWEST_TEXTS:
        kind = "different texts" if any(clip.text for clip in clips) else "recordings"
        raise ValueError(
            f"{domain or 'audio'} has {len(clips)} clips with {len(set(groups.values()))} {kind},"
            f" and at least {FEWEST_TEXTS} are needed to hold out some of them: add recordings, or"
            " give sources of your own by --valid and --test"
        )
    by = "file" if all(name.startswith("file ") for name in groups.values()) else "text"
    speakers = Counter(clip.speaker for clip in clips)
    if speakers[""] == 0 and len(speakers) > len(wanted):
        held_out = _by_speaker(clips, groups, wanted)
        if held_out is not None:
            return held_out, f"by speaker and {by}"
    count = len(speakers) - ("" in speakers)
    few = f"; the clips of {count} speakers do not allow to hold some out" if count > 1 else ""
    sizes = Counter(groups.values())
    split_of = _ranked(sizes, sizes, wanted, _target(len(clips)))
    return {_id(clip): split_of.get(groups[_id(clip)], "train") for clip in clips}, f"by {by}{few}"


def _by_speaker(
    clips: Sequence[AudioEntry], groups: dict[str, str], wanted: Sequence[str]
) -> dict[str, str] | None:
    """Hold speakers out, and texts that several splits have; None: too few speakers or clips."""
    target, sizes = _target(len(clips)), Counter(clip.speaker for clip in clips)
    small = {name: n for name, n in sizes.items() if n <= max(1, _MOST_OF_SPEAKER * len(clips))}
    split_of = _ranked(small, sizes, wanted, target)
    splits = {speaker: split_of.get(speaker, "train") for speaker in sizes}
    saying: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        saying[groups[_id(clip)]].add(splits[clip.speaker])
    shared = Counter({group: 1 for group, found in saying.items() if len(found) > 1})
    text_split = _ranked(shared, shared, wanted, max(1, round(SHARE * len(shared))))
    made = {}
    for clip in clips:
        group, split = groups[_id(clip)], splits[clip.speaker]
        if group not in shared or text_split.get(group, "train") == split:
            made[_id(clip)] = split
    counts = Counter(made.values())
    enough = all(counts[split] >= max(_FEWEST_CLIPS, target // 2) for split in wanted)
    return made if enough and counts["train"] >= len(clips) / 2 else None


def _ranked(
    names: Iterable[str], sizes: Counter[str], wanted: Sequence[str], target: int
) -> dict[str, str]:
    """Give groups to the wanted splits in the order of their hash, until each has its target.

    A group that is much larger than what is missing is left for train.
    """
    rank = sorted(names, key=_hash)
    found: dict[str, str] = {}
    for split in wanted:
        missing = target
        for name in rank:
            if missing <= 0:
                break
            if name not in found and sizes[name] <= max(2 * missing, _FEWEST_CLIPS):
                found[name] = split
                missing -= sizes[name]
    return found


def _target(clips: int) -> int:
    return min(MOST_CLIPS, max(_FEWEST_CLIPS, round(SHARE * clips)))


def _groups(domain: str, clips: Sequence[AudioEntry]) -> dict[str, str]:
    """The group of each clip by id: clips of one text or of one file are together.

    The name of a group is its smallest text, or name of a file.
    """
    texts = {_id(clip): _said(clip.text) for clip in clips}
    classes = domain not in _SPOKEN and len(set(texts.values())) < len(clips) / 2
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    keys: dict[str, str] = {}
    for clip in clips:
        text = "" if classes else texts[_id(clip)]
        file = f"file {_file_name(clip)}"
        keys[_id(clip)] = text or file
        if text and domain not in _SPOKEN:  # several captions of one recording
            one, other = sorted((root(text), root(file)))
            parents[other] = one
    return {name: root(key) for name, key in keys.items()}


def _id(clip: AudioEntry) -> str:
    return clip.id


def _file_name(clip: AudioEntry) -> str:
    """Name of the file with its folder, or of the row."""
    if clip.row >= 0:
        return clip.id
    return "/".join(clip.path.split(os.sep)[-2:])


def _said(text: str) -> str:
    """A text without case and punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
