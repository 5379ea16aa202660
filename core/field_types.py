"""Type checks of dataclass fields whose values come from JSON or a command line."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any


def check_fields(config: Any) -> None:
    """Check the types of all fields of a dataclass instance; floats must be finite.

    Raises:
        ValueError: A value has another type than its field; the message names the field.
    """
    kind: Any = type(config)
    hints = _hints(kind)
    for field in dataclasses.fields(config):
        check_value(field.name, getattr(config, field.name), hints[field.name])


@functools.lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    """Types of the fields of a class; there may be thousands of its instances."""
    return typing.get_type_hints(kind)


def check_value(name: str, value: Any, kind: Any) -> None:
    """Check one value against a type annotation. A list is accepted for a tuple and vice versa.

    Raises:
        ValueError: The type differs, or a float is NaN or infinite.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    if not _fits(value, kind):
        raise ValueError(f"{name} must be {describe_type(kind)}, got {value!r:.100}")


def describe_type(kind: Any) -> str:
    """Name a type annotation.

    Example:
        >>> describe_type(list[float] | None)
        'list of float or null'
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is types.NoneType:
        return "null"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe_type(part) for part in parts)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if origin in (list, tuple):
        return f"list of {describe_type(parts[0])}"
    if origin in (dict, collections.abc.Mapping):
        return "JSON object"
    return str(getattr(kind, "__name__", kind))


def _fits(value: Any, kind: Any) -> bool:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and _items_fit(value, origin, parts)
    if origin in (dict, collections.abc.Mapping):
        values = value.values() if isinstance(value, Mapping) else ()
        return isinstance(value, Mapping) and all(_fits(item, parts[1]) for item in values)
    if kind in (int, float):
        number = isinstance(value, int) or (kind is float and isinstance(value, float))
        return number and not isinstance(value, bool) and math.isfinite(value)
    return not isinstance(kind, type) or isinstance(value, kind)


def _items_fit(value: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    if origin is list or parts[-1] is Ellipsis:
        return all(_fits(item, parts[0]) for item in value)
    return len(value) == len(parts) and all(map(_fits, value, parts))
