"""What the rules of the English normaliser share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

# 12  1,234,567  3.14  .5
NUMBER = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
# Nothing before a number that would make it the end of something else.
ALONE = r"(?<![\w.,])(?<!\w-)"


def apply(rules: Iterable[Rule], text: str) -> str:
    """Apply rules one after another."""
    for pattern, spoken in rules:
        text = pattern.sub(spoken, text)
    return text


def final_stop(match: re.Match[str]) -> str:
    """A stop for an abbreviation that had one, if a sentence seems to end there."""
    after = match.string[match.end() :][:40]
    if not after.strip() or re.match(r"[\"')]*\s+[\"'(]*[A-Z]", after):
        return "."
    return ""
