"""Held-out rows that are learned from: their losses say nothing about other recordings."""

from __future__ import annotations

import logging

from ..data.dataset import EmptySelection, TokenDataset
from .config import LMTrainingConfig

logger = logging.getLogger(__name__)
_NAMED = 3


def find_leaks(config: LMTrainingConfig) -> list[str]:
    """Ids of held-out recordings that are in training too, by id and length.

    Only folders of their own can leak: a folder's splits share no recording. A stream is not
    looked through, it may be larger than memory.
    """
    if not config.validation_data or config.stream:
        return []
    try:
        learned = TokenDataset(config.data, split="train").recordings()
    except EmptySelection:  # training itself says so, for each task
        return []
    held_out: set[tuple[str, int]] = set()
    for split in ("valid", None):  # as `corpus.held_out` chooses
        try:
            held_out = TokenDataset(config.validation_data, split=split).recordings()
        except EmptySelection:
            continue
        break
    return sorted(name for name, _ in learned & held_out)


def warn_of_leaks(config: LMTrainingConfig) -> None:
    """One line in the log, where there is something to say."""
    names = find_leaks(config)
    if names:
        more = ", ..." if len(names) > _NAMED else ""
        logger.warning(
            "%d held-out recordings are in training too (%s%s): their losses will look better than "
            "those of new recordings",
            len(names), ", ".join(names[:_NAMED]), more,
        )  # fmt: skip
