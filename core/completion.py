"""``almtok completion``: scripts that complete commands and options in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """
almtok completion bash    write it to ~/.local/share/bash-completion/completions/almtok
almtok completion zsh     write it to the file _almtok in a folder of $fpath
almtok completion fish    write it to ~/.config/fish/completions/almtok.fish
"""
# Names of values that are files or folders.
_PATHS = frozenset({"AUDIO", "CHECKPOINT", "DIR", "FILE", "OTHER", "PATH", "RUN", "SOURCE", "TEXT"})


def register(commands: Any) -> None:
    """Add ``completion`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "completion",
        help="print a script for completion in bash, zsh or fish",
        description="Print a script that completes commands, options and file names.",
        examples=EXAMPLES,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="whose script to print")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok completion``."""
    import shtab

    parser = options.build_parser()
    for action in _actions(parser):
        if action.type is Path or action.metavar in _PATHS:
            action.complete = shtab.FILE
    print(shtab.complete(parser, options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action
