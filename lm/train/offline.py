"""Refuses to begin a training on many rows before ``almtok lm measure`` made what it needs."""

from __future__ import annotations

import shlex

from ..data.lengths import MEASURED_AT_START
from ..data.mixing import MixedDataset
from .config import LMTrainingConfig


def check_measured(config: LMTrainingConfig, mixture: MixedDataset) -> None:
    """Check that a training has few lengths to measure itself.

    Raises:
        ValueError: They are too many; the message has the command that measures them.
    """
    count = mixture.unmeasured()
    if count > MEASURED_AT_START:
        raise ValueError(_missing(config, f"lengths of {count} examples are"))


def check_texts(config: LMTrainingConfig, rows: int) -> None:
    """Check that a training has few texts to train a tokenizer on.

    Raises:
        ValueError: They are too many; the message has the command that trains it.
    """
    if rows > MEASURED_AT_START:
        raise ValueError(_missing(config, f"the text tokenizer of {rows} rows is"))


def _missing(config: LMTrainingConfig, what: str) -> str:
    words = ["almtok", "lm", "measure", "--config", f"{config.out}/config.json"]
    command = shlex.join([*words, *config.code_flags()])
    return (
        f"{what} not made yet, more than a training makes itself ({MEASURED_AT_START}):"
        f" run '{command}' first"
    )
