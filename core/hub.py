"""Checkpoints of the Hugging Face hub as local folders: `org/name` or `org/name@revision`."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = r"[A-Za-z0-9][\w.-]*"
_HUB_ID = re.compile(rf"(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>[\w./-]+))?")
# What a checkpoint consists of; code and other weights of a repository are not fetched.
_FILES = ["*.json", "*.jsonl", "*.safetensors", "*.model", "*.txt"]


def is_hub_id(place: str) -> bool:
    """Whether a text has the form of a hub id and is no existing path."""
    return _HUB_ID.fullmatch(place) is not None and not Path(place).exists()


def hub_folder(place: str) -> str:
    """Download a checkpoint of the hub, unless it is in the cache, and return its folder.

    Args:
        place: `org/name`, or `org/name@revision`: a branch, a tag, or a commit hash. A commit hash
            pins the content: the same files are loaded for ever, from the cache without network.

    Raises:
        ValueError: It is no hub id.
        OSError: There is no such repository or revision, or it is not in the cache and the hub
            cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    found = _HUB_ID.fullmatch(place)
    if found is None:
        raise ValueError(f"a hub id must be ORG/NAME or ORG/NAME@REVISION, got {place!r}")
    try:
        return str(
            snapshot_download(found["repo"], revision=found["revision"], allow_patterns=_FILES)
        )
    except LocalEntryNotFoundError as error:
        pin = f" --revision {found['revision']}" if found["revision"] else ""
        raise OSError(
            f"{place} is no folder, and as a hub id it is not in the cache and the hub cannot be"
            f" reached: give a folder, or run 'hf download {found['repo']}{pin}' with network first"
        ) from error
    except RevisionNotFoundError as error:
        raise OSError(
            f"the hub has no revision {found['revision']!r} of {found['repo']}"
        ) from error
    except (RepositoryNotFoundError, HfHubHTTPError) as error:
        raise OSError(
            f"{place} is no folder, and the hub has no such model, or only for others: {error}"
        ) from error
