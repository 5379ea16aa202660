"""Checkpoints that come with almtok, by their names."""

from __future__ import annotations

import os
from pathlib import Path

NAMES = ("mini",)
DEFAULT = NAMES[0]
_FOLDER = Path(__file__).resolve().parents[1] / "checkpoints"


def find_checkpoint(name: str | os.PathLike[str], part: str) -> str:
    """The folder of a shipped checkpoint's part, `codec`; any other name comes back as it is.

    A folder of that name in the working directory goes first.
    """
    name = os.fspath(name)
    folder = _FOLDER / name / part
    if name in NAMES and not os.path.exists(name) and (folder / "config.json").is_file():
        return str(folder)
    return name
