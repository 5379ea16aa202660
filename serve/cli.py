"""`almtok serve`. Torch and FastAPI are not imported until the command runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..codec.checkpoints import DEFAULT
from ..core.choices import AUTO, DTYPES, add_device
from ..core.options import Command, given_fields
from .settings import KEY_VARIABLE, ServerOptions, ServerSettings

EXAMPLES = """
almtok serve
almtok serve runs/mine --port 9000 --adapters joe=runs/joe/adapter
ALMTOK_API_KEY=secret almtok serve --host 0.0.0.0
"""
NOTES = """
The interface is that of OpenAI's audio API: set the base URL of a client to
http://ADDRESS:PORT/v1. Adapters are selected by their names, as a model. SIGINT and SIGTERM let
running requests end.
"""


def register(commands: Any) -> None:
    """Add the command to the sub-parsers of `almtok`."""
    parser: Command = commands.add_parser(
        "serve", help="answer HTTP requests with the interface of OpenAI", examples=EXAMPLES,
        description="Serve a model over HTTP, with the interface of OpenAI's audio API.",
        notes=NOTES,
    )  # fmt: skip
    parser.group("model")
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, metavar="CHECKPOINT",
        help="run folder, or folder with lm/ and codec/ (default: the model of almtok)",
    )  # fmt: skip
    parser.add_argument(
        "--adapters", nargs="+", action="extend", default=[], metavar="NAME=FOLDER",
        help="LoRA adapters, each a model of its own in requests",
    )  # fmt: skip
    add_device(parser)
    parser.add_argument(
        "--dtype", default=AUTO, choices=(*DTYPES, "int8", "int4"), help="type of the weights",
        advanced=True,
    )  # fmt: skip
    parser.add_fields(ServerOptions)
    parser.set_defaults(run=_run, lean=True)


def _run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from .server import serve

    return serve(settings)


def settings_of(args: argparse.Namespace) -> ServerSettings:
    """The settings of a command line; the key may come from the environment.

    Raises:
        ValueError: for a value out of range.
    """
    given = given_fields(args, ServerSettings)
    given["checkpoint"] = args.checkpoint or DEFAULT
    given["adapters"] = dict(_adapter(text) for text in args.adapters)
    given.setdefault("api_key", os.environ.get(KEY_VARIABLE))
    return ServerSettings(**given)


def _adapter(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise ValueError(f"--adapters takes NAME=FOLDER, got {text!r}")
    return name, Path(folder)
