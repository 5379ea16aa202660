"""Command-line flags of training configurations, and the exit status of a training."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from .config import RunConfig, read_json_object


def make_parser(
    commands: Any, name: str, summary: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a sub-parser with the flag ``--config``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="JSON file of options; flags override it")
    return parser


def add_flags(
    parser: argparse.ArgumentParser, kind: type, defaults: Any = None, hidden: Sequence[str] = ()
) -> None:
    """Add one flag for each field of a configuration.

    Args:
        parser: Receives the flags.
        kind: Dataclass of the configuration.
        defaults: Configuration whose values are shown as defaults instead of those of the fields.
        hidden: Fields whose default is not shown.
    """
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        shown: Any = field
        if defaults is not None:
            default = None if field.name in hidden else getattr(defaults, field.name)
            shown = dataclasses.field(default=default, metadata=field.metadata)
            shown.name = field.name
        add_flag(parser, shown, hints[field.name])


def add_flag(parser: argparse.ArgumentParser, field: Any, kind: Any, prefix: str = "") -> None:
    """Add one flag; a flag that is not given is absent from the namespace.

    Args:
        parser: Receives the flag.
        field: Dataclass field of `option`.
        kind: Type of the field.
        prefix: Prefix of the name in the flag and in the namespace.
    """
    flag = "--" + prefix + field.name.replace("_", "-")
    default = field.default
    if default is dataclasses.MISSING:
        default = field.default_factory()
    text = field.metadata["help"].replace("%", "%%")
    shown = "" if default in (None, "", [], {}) else f" (default: {_show(default)})"
    common = {"dest": prefix + field.name, "default": argparse.SUPPRESS, "help": text + shown}
    choices = field.metadata.get("choices")
    if kind is bool and prefix:  # argparse would say --no-PREFIX
        parser.add_argument(flag, action="store_true", **common)
        off = flag.replace(f"--{prefix}", f"--{prefix}no-")
        parser.add_argument(off, action="store_false", **common)
    elif kind is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
    elif typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        metavar = "N" if item is float else "SOURCE"
        parser.add_argument(flag, nargs="+", type=item, metavar=metavar, **common)
    elif typing.get_origin(kind) is dict:
        parser.add_argument(flag, type=_json_object, metavar="JSON", **common)
    elif choices is not None:
        parser.add_argument(flag, choices=choices, **common)
    else:
        metavar = {int: "N", float: "X", str: "NAME"}[_not_none(kind)]
        parser.add_argument(flag, type=_not_none(kind), metavar=metavar, **common)


def given_values(options: argparse.Namespace, kind: type[RunConfig]) -> dict[str, Any]:
    """Return the values of the file of ``--config``, overridden by flags."""
    names = {field.name for field in dataclasses.fields(kind)}
    flags = {name: value for name, value in vars(options).items() if name in names}
    values = read_json_object(options.config) if options.config else {}
    return {**values, **flags}


def run_training(train: Callable[[], Any], out: str, what: str) -> int:
    """Run a training and return the exit status: 0, 1 if it stopped, 128 + N after signal N.

    Args:
        train: Runs the training; its result has ``step``, ``model``, ``finished``, ``signal``.
        out: Run folder.
        what: Name of the model in the last line.
    """
    from accelerate import PartialState

    from .loop import TrainingStopped

    try:
        result = train()
    except TrainingStopped as error:
        print(f"almtok: training stopped: {error}", file=sys.stderr)
        return 1
    processes = PartialState()
    processes.wait_for_everyone()  # no process may exit while others communicate with it
    processes.print(
        f"{result.step} steps; {what}: {result.model}; configuration: {out}/config.json"
    )
    processes.destroy_process_group()
    return 0 if result.signal is None or result.finished else 128 + int(result.signal)


def _not_none(kind: Any) -> Any:
    """Remove ``None`` from a type such as ``str | None``."""
    if isinstance(kind, types.UnionType):
        (kind,) = [item for item in typing.get_args(kind) if item is not types.NoneType]
    return kind


def _show(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, list):
        return " ".join(map(str, default))
    return f"{default:.4g}" if isinstance(default, float) else str(default)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text}")
    return value
