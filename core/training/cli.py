"""Commands that train: their configuration, from a file and flags, and their exit status."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ..field_types import check_value
from ..options import Command, given_fields
from ..reading import read_json_object, reading
from .config import RunConfig


def add_config(
    parser: Command, kind: type[RunConfig], defaults: Mapping[str, Any] | None = None
) -> None:
    """Declare ``--config`` and a flag for each field of a configuration.

    Args:
        parser: Receives them.
        kind: Class of the configuration.
        defaults: Defaults to show instead of the fields' own.
    """
    parser.add_fields(kind, defaults=defaults)
    parser.group("run")
    text = "JSON file with any fields of the configuration; options override it"
    parser.add_argument("--config", metavar="FILE", help=text)


def given_values(options: argparse.Namespace, kind: type[RunConfig]) -> dict[str, Any]:
    """Return the values of the file of ``--config``, overridden by the flags that were given.

    Raises:
        ValueError: A value of the file has another type than its field.
    """
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    values = read_json_object(options.config) if options.config else {}
    for name in sorted(names & values.keys() - {"stage"}):  # a stage may be a number
        with reading(options.config):
            if values[name] is not None:
                check_value(name, values[name], hints[name])
    return {**values, **given_fields(options, kind)}


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
