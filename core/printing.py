"""Results of commands on standard output: text, or with ``--json`` one JSON document."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TextIO

_document: ContextVar[TextIO | None] = ContextVar("document", default=None)


def print_result(options: argparse.Namespace, text: str, value: Any) -> None:
    """Print the result of a command; once per command.

    Args:
        options: Of the command line; with ``--json`` the value is printed instead of the text.
        text: For people.
        value: What :func:`plain` accepts.
    """
    if not options.json:
        print(text)
        return
    document = json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False)
    print(document, file=_document.get(), flush=True)


def plain(value: Any) -> Any:
    """Convert a value to what JSON has: dataclasses to objects, paths to text, NaN to null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({one.name: getattr(value, one.name) for one in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") else value  # numpy


@contextlib.contextmanager
def only_document() -> Iterator[None]:
    """Reserve standard output for :func:`print_result` inside the block.

    What else is printed, by other libraries too, goes to standard error.
    """
    token = _document.set(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _document.reset(token)
