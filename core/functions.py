"""Functions of the user, given on the command line as `FILE.py:FUNCTION`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .reading import reading

# Split so that a Windows path such as C:\voice.py:speak keeps its drive.
_PLACE = re.compile(r"(.+\.py):(\w+)")


def split_place(place: str) -> tuple[str, str] | None:
    """File and name of a function; None if the text is not of the form `FILE.py:FUNCTION`."""
    match = _PLACE.fullmatch(place)
    return None if match is None else (match[1], match[2])


def load_function(file: str, name: str) -> Callable[..., Any]:
    """Run a Python file and return a function of it.

    Raises:
        ValueError: There is no such file, it cannot be run, or has no such function.
    """
    if not Path(file).is_file():
        raise ValueError(f"no function in {file}: there is no such file")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with reading(file):
        spec.loader.exec_module(module)
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{file} has no function {name!r}")
    return function  # type: ignore[no-any-return]
