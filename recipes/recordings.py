"""The recordings of a run, checked against what its trainings need of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from almtok.core.data.entries import AudioEntry
from almtok.lm.text.tokenizer import load_tokenizer
from almtok.lm.train.config import LMTrainingConfig
from almtok.lm.train.corpus import find_tasks

_TEXTS, _UNKNOWN = 500, 0.05  # texts that are encoded; share of them that may have unknown tokens


def check_files(part: str, entries: Sequence[AudioEntry]) -> None:
    """Raise a ValueError if none of the audio files of a part exists."""
    missing = [entry.path for entry in entries if entry.stamp == "missing"]
    if entries and len(missing) == len(entries):
        raise ValueError(
            f"none of the {len(missing)} audio files of --{part} exists: the first is {missing[0]}"
        )


def check_recordings(
    config: LMTrainingConfig, parts: dict[str, list[AudioEntry]], sources: dict[str, list[str]]
) -> None:
    """Check that every task has recordings of its domain, with texts where it needs them.

    Args:
        config: Of a training.
        parts: Recordings by part: train, valid, test, or what the recipe calls them.
        sources: As they were given, by part.

    Raises:
        ValueError: It has not; the message names task and part.
    """
    for part, entries in parts.items():
        for choice in find_tasks(config):
            name, domains = choice.task.name, choice.task.domains
            own = [entry for entry in entries if not domains or entry.domain in domains]
            if choice.needs_text and not any(entry.text for entry in own or entries):
                raise ValueError(f"no recording of --{part} has a text, which {name} needs")
            if not own and part != "test":
                found = ", ".join(sorted({entry.domain or "none" for entry in entries}))
                given = next(iter(sources.get(part, [])), "FOLDER").rpartition("=")[2]
                raise ValueError(
                    f"no recording of --{part} has the domain {' or '.join(domains)}, which {name}"
                    f" needs (found: {found}): add {domains[0]}={given}, or leave the task out by"
                    " its option 'tasks'"
                )


def check_alphabet(config: LMTrainingConfig, entries: Sequence[AudioEntry]) -> None:
    """Check that a pretrained tokenizer has tokens for what is written in the texts.

    Raises:
        ValueError: It has none for parts of many texts; the message shows one.
    """
    name = config.tokenizer or config.backbone
    if name is None or config.init_from is not None or config.text_form == "phones":
        return
    tokenizer: Any = load_tokenizer(name)
    texts = [entry.text for entry in entries if entry.text][:_TEXTS]
    unknown = tokenizer.unk_token_id
    odd = [text for text in texts if unknown in tokenizer(text).input_ids]
    if unknown is not None and len(odd) > _UNKNOWN * len(texts):
        raise ValueError(
            f"the tokenizer of {name} has no tokens for parts of {len(odd)} of {len(texts)} texts,"
            f" such as {odd[0][:40]!r}"
        )
