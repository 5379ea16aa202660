"""Errors of files and folders that cannot be read, as one line that names the file.

Libraries answer a damaged file with errors of many kinds (`SafetensorError`, `JSONDecodeError`,
`KeyError`, ...). Code that opens what somebody else may have written does so inside
:func:`reading`.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The byte order marks of UTF-32 begin with those of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST = 500  # characters of an error's text


class UnreadableFile(ValueError):
    """A file or folder that does not hold what it should; the message names it in one line."""


class CheckpointError(OSError):
    """A checkpoint or an adapter could not be written or read."""


@contextmanager
def reading(place: str | os.PathLike[str], raises: type[Exception] | None = None) -> Iterator[None]:
    """Convert errors inside the block to one line that names the file or folder.

    A `ValueError` or `OSError` that is such a line already passes.

    Args:
        place: File, folder or hub id that is read.
        raises: Type of all errors; by default an `OSError` remains one, and others become
            :class:`UnreadableFile`.

    Raises:
        Exception: Of that type, if the block raised an exception.
    """
    name = os.fspath(place)
    try:
        yield
    except BaseException as error:
        # Libraries in Rust panic with an exception that is no `Exception`.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        passing = (ValueError, OSError) if raises is None else raises
        if isinstance(error, passing) and name in str(error) and "\n" not in str(error):
            raise
        if raises is None:
            raises = OSError if isinstance(error, OSError) else UnreadableFile
        raise raises(f"{name}: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Return what an error says in one line, with its kind where the text alone says little."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        text = f"{text} is missing"
    elif isinstance(error, RecursionError):
        text = "it is nested too deeply"
    elif isinstance(error, MemoryError):
        text = f"it needs more memory than there is {text}".rstrip()
    elif type(error).__name__ == "SafetensorError":
        text = f"not a readable safetensors file ({text})"
    elif not isinstance(error, ValueError | OSError) or not text:
        text = f"{type(error).__name__}: {text}".rstrip(": ")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object from a UTF-8 file.

    Raises:
        UnreadableFile: The file is not JSON, or holds something else than an object.
        OSError: The file cannot be read.
    """
    with reading(path):
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UnreadableFile(f"{os.fspath(path)} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise UnreadableFile(
            f"{os.fspath(path)} must hold one JSON object, got {type(values).__name__}"
        )
    return values


def parse_json_object(text: str | bytes, path: str | os.PathLike[str], line: int) -> dict[str, Any]:
    """Parse a line of a JSON Lines file.

    Raises:
        UnreadableFile: The line holds no JSON object; the message names file and line.
    """
    where = f"{os.fspath(path)} line {line}"
    with reading(where):
        values = json.loads(text)
    if not isinstance(values, dict):
        raise UnreadableFile(f"{where}: expected a JSON object, got {type(values).__name__}")
    return values


def field(values: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: Any) -> Any:
    """Return a value of a JSON object.

    Raises:
        UnreadableFile: It is missing, or of another type; the message names the file.
    """
    if name not in values:
        raise UnreadableFile(f"{where}: {name!r} is missing")
    value = values[name]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(one.__name__ for one in kinds)
        raise UnreadableFile(f"{where}: {name} must be {expected}, got {value!r:.80}")
    return value


def tensor_shapes(path: Path) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of a safetensors file, by its header.

    Raises:
        UnreadableFile: The file is damaged.
    """
    from safetensors import safe_open

    with reading(path), safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  (not a mapping)
            yield tuple(file.get_slice(name).get_shape())


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text file, with their line ends.

    The encoding is UTF-8, or that of a byte order mark. Lines end with a line feed or a carriage
    return, never with U+2028, U+0085 or a form feed, which may occur inside a text.

    Raises:
        ValueError: The file has another encoding or is not text; the message names the line.
    """
    encoding = _encoding(path)
    try:
        with open(path, encoding=encoding, newline="") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    raise ValueError(_not_text(path, number))
                yield number, line
    except UnicodeDecodeError as error:
        raise ValueError(_wrong_encoding(path, encoding, error)) from error


def _encoding(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(4)
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8-sig")


def _not_text(path: Path, number: int) -> str:
    return (
        f"{path} line {number}: holds zero bytes, expected UTF-8 text (UTF-16 needs a byte order"
        " mark; audio and Parquet need suffixes of their own)"
    )


def _wrong_encoding(path: Path, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "utf-8-sig":
        return f"{path}: its byte order mark says {encoding}, but {error.reason}"
    with open(path, "rb") as file:  # the position of the error is that in an unknown block
        for number, line in enumerate(file, start=1):
            if b"\0" in line:
                return _not_text(path, number)
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                return (
                    f"{path} line {number}: byte 0x{line[found.start]:02x} at column"
                    f" {found.start + 1} is not UTF-8; convert the file, for example with"
                    " iconv -f LATIN1 -t UTF-8"
                )
    return f"{path} is not UTF-8: {error}"
