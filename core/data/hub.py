"""Hugging Face datasets as sources: ``hf:NAME[/CONFIG][@REVISION][:SPLIT]``, audio left encoded."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HubName:
    """A dataset by its id on the hub, or by a local folder."""

    path: str
    config: str | None = None
    revision: str | None = None


def parse_hub_name(text: str) -> HubName:
    """Take ``owner/name[/config][@revision]`` apart; a local folder is taken whole.

    Example:
        >>> parse_hub_name("openslr/librispeech_asr/clean")
        HubName(path='openslr/librispeech_asr', config='clean', revision=None)
    """
    folder, _, last = os.path.expanduser(text).rpartition("/")
    if folder and _declares(folder, last):
        return HubName(folder, last)
    if os.path.exists(os.path.expanduser(text)):
        return HubName(os.path.expanduser(text))
    name, _, revision = text.partition("@")
    owner, _, rest = name.partition("/")
    own, _, config = rest.partition("/")
    return HubName(f"{owner}/{own}" if own else owner, config or None, revision or None)


def _declares(folder: str, config: str) -> bool:
    """Whether a local dataset has a configuration of this name, by its card."""
    card = os.path.join(folder, "README.md")
    if not os.path.isfile(card):
        return False
    with open(card, encoding="utf-8") as file:
        return re.search(rf"config_name:\s*{re.escape(config)}\s*$", file.read(), re.M) is not None


def load_hub_dataset(name: str, split: str) -> Any:
    """A Hugging Face dataset with its audio in the column ``audio``, encoded.

    datasets 5 decodes through torchcodec, which needs FFmpeg; soundfile needs nothing.

    Raises:
        ValueError: it cannot be loaded so, with what is asked for and what there is.
    """
    import datasets

    asked = parse_hub_name(name)
    kept = ("dataset_info.json", "dataset_dict.json")
    if any(os.path.isfile(os.path.join(asked.path, file)) for file in kept):
        loaded = datasets.load_from_disk(asked.path)
        data = loaded[split] if isinstance(loaded, datasets.DatasetDict) else loaded
    else:
        data = _load(asked, name, split)
    column = next((key for key, kind in data.features.items() if _is_audio(kind)), None)
    if column is not None:
        data = data.cast_column(column, datasets.Audio(decode=False))
    elif "audio" in data.column_names:
        column = "audio"
    else:
        raise ValueError(f"hf:{name}: no audio column; found {', '.join(data.column_names)}")
    return data if column == "audio" else data.rename_column(column, "audio")


def _load(asked: HubName, name: str, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(asked.path, asked.config, split=split, revision=asked.revision)
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        words = " ".join(str(error).split())
        hint = (
            "a configuration is named as in hf:openslr/librispeech_asr/clean:train.100"
            if "onfig" in words
            else "a split is named as in hf:owner/name:train"
        )
        raise ValueError(f"hf:{name}:{split} cannot be loaded ({hint}): {words}") from error


def _is_audio(kind: Any) -> bool:
    import datasets

    return isinstance(kind, datasets.Audio)
