"""Checks that the configurations of the codec and of the language model share."""

import functools
import math
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from huggingface_hub.dataclasses import strict as _strict
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from .reading import UnreadableFile, describe

Class = TypeVar("Class", bound=type)

MOST_LAYERS = 10_000  # far above any model; lists and modules are made for each
_LARGEST = 2**31 - 1


def strict(kind: Class) -> Class:
    """Check the types of a configuration; every error is a `ValueError` of one line.

    `huggingface_hub.dataclasses.strict` does the checks, but raises errors of several lines that
    are no `ValueError`, and refuses whole numbers where floats are expected.
    """
    checked: Any = _strict(kind)
    init, assign = checked.__init__, checked.__setattr__
    floats = {n for n, f in checked.__dataclass_fields__.items() if f.type in (float, float | None)}

    def with_floats(self: Any, name: str, value: Any) -> None:
        try:
            assign(self, name, float(value) if name in floats and type(value) is int else value)
        except StrictDataclassError as error:
            raise UnreadableFile(f"{kind.__name__}: {_cause(error)}") from error

    checked.__setattr__ = with_floats

    @functools.wraps(init)
    def one_line(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except (ValueError, NotImplementedError) as error:
            if "\n" in str(error):
                raise UnreadableFile(describe(error)) from error
            raise
        except Exception as error:
            raise UnreadableFile(f"{kind.__name__}: {_cause(error)}") from error

    checked.__init__ = one_line
    return checked  # type: ignore[no-any-return]


def check_numbers(config: PreTrainedConfig, may_be_zero: Collection[str]) -> None:
    """Check that integers are positive and floats finite, in lists too.

    Args:
        config: Of our models; inherited fields are not checked.
        may_be_zero: Names of integers that may be zero.

    Raises:
        ValueError: Otherwise; the message names the field.
    """
    for name, field in config.__dataclass_fields__.items():
        if name in PreTrainedConfig.__dataclass_fields__:
            continue
        value = getattr(config, name)
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{name} must be a finite number, got {number}")
            if type(number) is int and "float" not in str(field.type):
                least = 0 if name in may_be_zero else 1
                repeated = "layers" in name or name in ("num_codebooks", "num_residual_units")
                most = MOST_LAYERS if repeated else _LARGEST
                if not least <= number <= most:
                    raise ValueError(f"{name} must be within {least}..{most}, got {number}")


def check_backbone(values: Mapping[str, Any], where: str = "backbone") -> None:
    """Check a text model's configuration for what would be slow to find out, or unsafe.

    Raises:
        ValueError: It has too many layers or labels, or names code on the hub as its attention.
    """
    check_labels(values, f"{where}.num_labels")
    for key, value in values.items():
        name = str(key)
        if isinstance(value, Mapping):
            check_backbone(value, f"{where}.{name}")
        elif name.endswith("_implementation") and "/" in str(value):
            raise ValueError(
                f"{where}.{name} names code on the hub ({value!r}), which is never run: remove it"
            )
        elif "layers" in name and isinstance(value, int) and value > MOST_LAYERS:
            raise ValueError(f"{where}.{name} must be at most {MOST_LAYERS}, got {value}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where}.{name} must be a finite number, got {value}")


def check_labels(values: Mapping[str, Any], name: str) -> None:
    """Refuse a classifier of many labels: a text would be made for each."""
    labels = values.get("num_labels")
    if isinstance(labels, int) and labels > MOST_LAYERS:
        raise ValueError(f"{name} must be at most {MOST_LAYERS}, got {labels}")


def _cause(error: Exception) -> str:
    """The last line of an error of `strict` names types and value; other errors name themselves."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if type(error).__name__.startswith("StrictDataclass") and lines:
        return lines[-1].removeprefix("TypeError: ").removeprefix("ValueError: ")
    return describe(error)
