"""Subtitles of timed words: SRT and WebVTT.

A cue has at most two lines of 42 characters and is shown for at most 7 s, as is usual. Times are
whole milliseconds; cues follow one another and never overlap.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .word_times import TimedWord, sentences

MAX_CHARS, MAX_LINES = 42, 2  # of a cue
MAX_SECONDS = 7.0
MIN_SECONDS = 1.0  # shorter cues stay until then, if the next one does not begin earlier
PAUSE_SECONDS = 0.6  # a pause that ends a cue
FORMATS = ("srt", "vtt")


@dataclass(frozen=True)
class Cue:
    """A subtitle.

    Attributes:
        lines: at most two.
        start: milliseconds.
        end: milliseconds, later than the start.
    """

    lines: tuple[str, ...]
    start: int
    end: int


def make_cues(words: Sequence[TimedWord]) -> list[Cue]:
    """Group words into cues.

    A cue ends with a sentence, at a pause, or when its lines are full; the last is then preferred
    after a comma. A word that is longer than a line is cut.

    Args:
        words: in order, with times that do not overlap.
    """
    groups: list[list[TimedWord]] = []
    for sentence in sentences(words):
        groups += _groups([piece for word in sentence.words for piece in _pieces(word)])
    cues = [_cue(group) for group in groups]
    spaced: list[Cue] = []
    for cue in cues:
        earliest = spaced[-1].end if spaced else 0
        start = max(cue.start, earliest)
        spaced.append(replace(cue, start=start, end=max(cue.end, start + 1)))
    return [
        replace(cue, end=max(cue.end, min(cue.start + round(MIN_SECONDS * 1000), limit)))
        for cue, limit in zip(spaced, _limits(spaced), strict=True)
    ]


def to_srt(words: Sequence[TimedWord]) -> str:
    """Subtitles in the SubRip format; it has no escapes, so an arrow in a text is shortened."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n"
        + _text([line.replace("-->", "->") for line in cue.lines])
        for number, cue in enumerate(make_cues(words), start=1)
    )


def to_vtt(words: Sequence[TimedWord]) -> str:
    """Subtitles in the WebVTT format, with escaped text."""
    cues = [
        f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n"
        + _text([_escape(line) for line in cue.lines])
        for cue in make_cues(words)
    ]
    return "WEBVTT\n" + "".join(cues)


def to_subtitles(words: Sequence[TimedWord], format: str) -> str:
    """Subtitles in one of :data:`FORMATS`.

    Raises:
        ValueError: for another format.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    return to_srt(words) if format == "srt" else to_vtt(words)


def _groups(words: Sequence[TimedWord]) -> list[list[TimedWord]]:
    """Words of one sentence in groups that fit into a cue."""
    groups: list[list[TimedWord]] = [[]]
    for word in words:
        group = groups[-1]
        if group and word.start - group[-1].end >= PAUSE_SECONDS:
            groups.append([word])
        elif group and not _fits([*group, word]):
            kept = _break(group)
            rest = [*group[kept:], word]
            groups[-1] = group[:kept]
            groups += [rest] if _fits(rest) else [rest[:-1], [word]]
        else:
            group.append(word)
    return [group for group in groups if group]


def _fits(words: Sequence[TimedWord]) -> bool:
    """Whether the words fit into a cue."""
    return len(_wrap(words)) <= MAX_LINES and words[-1].end - words[0].start <= MAX_SECONDS


def _break(words: Sequence[TimedWord]) -> int:
    """How many words of a full cue stay in it: up to a comma in its second half, else all."""
    for count in range(len(words) - 1, len(words) // 2, -1):
        if words[count - 1].text[-1] in ",;:":
            return count
    return len(words)


def _wrap(words: Sequence[TimedWord], width: int = MAX_CHARS) -> list[str]:
    text = " ".join(word.text for word in words)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _cue(words: Sequence[TimedWord]) -> Cue:
    """The words of a group, in lines of similar length."""
    lines = _wrap(words)
    if len(lines) > 1:
        widths = range(max(map(len, (word.text for word in words))), MAX_CHARS + 1)
        lines = next(even for w in widths if len(even := _wrap(words, w)) <= MAX_LINES)
    start = round(words[0].start * 1000)
    end = min(round(words[-1].end * 1000), start + round(MAX_SECONDS * 1000))
    return Cue(tuple(lines), start, max(end, start + 1))


def _limits(cues: Sequence[Cue]) -> list[int]:
    """Until when each cue can be shown: the start of the next one."""
    starts = [cue.start for cue in cues[1:]]
    return [*starts, cues[-1].end] if cues else []


def _pieces(word: TimedWord) -> list[TimedWord]:
    """A word, cut into pieces of one line with their share of its time."""
    texts = [
        part[first : first + MAX_CHARS]
        for part in word.text.split()
        for first in range(0, len(part), MAX_CHARS)
    ]
    total, place = sum(map(len, texts)), 0
    found = []
    for text in texts:
        start, place = place, place + len(text)
        span = word.end - word.start
        found.append(
            replace(
                word,
                text=text,
                start=word.start + span * start / total,
                end=word.start + span * place / total,
            )
        )
    return found


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{rest:03}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
