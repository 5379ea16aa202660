"""``almtok codec train``: one flag per field of the training configuration."""

import argparse
import dataclasses
import json
import sys
import types
import typing
from typing import Any

from ...core.training.config import read_json_object
from .config import STAGES, CodecTrainConfig

EPILOG = """\
examples:
  almtok codec train --stage 1 --data speech=voices/ sound=noises/ --out runs/mine/stage1
  almtok codec train --stage 2 --data speech=voices/ sound=noises/ --out runs/mine/stage2 \\
      --init-from runs/mine/stage1 --prior prior.safetensors
  almtok codec train --stage adapt --init-from runs/mine/stage2 --data newvoice/ --out runs/mine/new
  torchrun --nproc-per-node 8 -m almtok codec train ...       several processes, same result

The same command goes on where it was stopped. Defaults shown are those of stage 1.
"""


def register(commands: Any) -> None:
    """Add ``train`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "train",
        help="train a codec (stage 1, stage 2, decoder adaptation)",
        description="Train ALMTokenizer from audio files.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="JSON file of options; flags override it")
    hints = typing.get_type_hints(CodecTrainConfig)
    for field in dataclasses.fields(CodecTrainConfig):
        add_flag(parser, field, hints[field.name])
    parser.set_defaults(run=train)


def train(options: argparse.Namespace) -> int:
    """Run ``almtok codec train``; 130 or 143 after a signal, as shells say it."""
    config = resolve(options)
    from accelerate import PartialState

    from ...core.training.loop import TrainingStopped
    from .trainer import train_codec

    try:
        result = train_codec(config)
    except TrainingStopped as error:
        print(f"almtok: training stopped: {error}", file=sys.stderr)
        return 1
    processes = PartialState()
    processes.wait_for_everyone()  # without it a process may leave while another still talks to it
    processes.print(
        f"{result.step} steps; codec: {result.model}; configuration: {config.out}/config.json"
    )
    processes.destroy_process_group()
    return 0 if result.signal is None or result.finished else 128 + result.signal


def resolve(options: argparse.Namespace) -> CodecTrainConfig:
    """Stage defaults, then the file, then the flags that were given."""
    names = {field.name for field in dataclasses.fields(CodecTrainConfig)}
    given = {name: value for name, value in vars(options).items() if name in names}
    values = read_json_object(options.config) if options.config else {}
    config = CodecTrainConfig.from_dict({**values, **given})
    if not config.data:
        raise ValueError("no training data: give --data with at least one folder or file")
    return config


def add_flag(parser: argparse.ArgumentParser, field: Any, kind: Any, prefix: str = "") -> None:
    """One flag; what is not given stays out of the namespace, so that defaults keep their place.

    Args:
        parser: gets the flag.
        field: of a dataclass, made by `option`.
        kind: its type.
        prefix: before its name, in the flag and in the namespace.
    """
    flag = "--" + prefix + field.name.replace("_", "-")
    default = field.default
    if default is dataclasses.MISSING:
        default = field.default_factory()
    text = field.metadata["help"].replace("%", "%%")
    shown = "" if default in (None, "", [], {}) else f" (default: {_show(default)})"
    common = {"dest": prefix + field.name, "default": argparse.SUPPRESS, "help": text + shown}
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
    elif field.name == "stage":
        parser.add_argument(flag, choices=STAGES, **common)
    else:
        metavar = {int: "N", float: "X", str: "NAME"}[_plain(kind)]
        parser.add_argument(flag, type=_plain(kind), metavar=metavar, **common)


def _plain(kind: Any) -> Any:
    """``str`` of ``str | None``."""
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
