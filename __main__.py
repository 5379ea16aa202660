"""``almtok``: the command line. Each package registers its commands; this file collects them.

Modules that register commands do not import torch, so that ``--help`` and usage errors are fast.
The module of a command is imported only for it, or to list all commands.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from . import __version__
from .core import lean, verbosity
from .core.cores import limit_spinning
from .core.options import Command
from .core.printing import only_document

EXAMPLES = """
almtok tts "Good morning!" --out morning.wav      speak with the model that comes with almtok
almtok asr morning.wav                            transcribe
almtok demo                                       train a tiny codec and language model in minutes
almtok serve                                      answer HTTP requests like OpenAI's audio API
almtok run                                        list recipes, from the corpus to the scores
almtok doctor                                     check this machine and installation
almtok codec train --help                         train a codec on your own audio
"""

# Exit statuses; those of signals by the convention of shells: 128 + the number.
FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


# Function that registers commands -> its commands; of `codec` and `lm`, those below them.
_COMMANDS = {
    "tasks.cli:register": ("tts", "asr", "sound", "music", "caption", "continue"),
    "codec.cli:register": ("encode", "decode"),
    "codec.show:register": ("show",),
    "serve.cli:register": ("serve",),
    "serve.ui.cli:register": ("ui",),
    "lm.synthesis.cli:register": ("synthesize",),
    "recipes.cli:register": ("run",),
    "recipes.mini.cli:register": ("demo",),
    "recipes.compare:register": ("compare",),
    "codec.doctor:register": ("doctor",),
    "core.completion:register": ("completion",),
}
_GROUPS = {
    "codec": ("train, evaluate and inspect codecs", (
        "codec.train.cli:register", "codec.priors.cli:register", "codec.phonemes.cli:register",
        "codec.postfilter:register", "codec.evaluation.cli:register",
        "codec.evaluation.probe_cli:register", "lm.predictability_cli:register",
        "tasks.cli:register_words", "codec.cli:register_plan",
    )),
    "lm": ("prepare data for language models; train, evaluate, export", (
        "lm.data.cli:register", "lm.train.cli:register", "tasks.cli:register_evaluate",
        "lm.train.interpolation:register", "lm.export:register", "lm.adapters_cli:register",
    )),
}  # fmt: skip


def build_parser(command: str | None = None) -> Command:
    """Return the parser; every command sets ``run``, a function of the parsed arguments.

    Args:
        command: the only one to register, such as "tts" or "codec"; by default all are.
    """
    parser = Command(
        prog="almtok",
        description="ALMTokenizer: audio to 37.5 tokens per second and back, open and trainable.\n"
        "'almtok COMMAND --help' shows the common options, '--help-all' all. Exit status: 0 done,\n"
        "1 error or failed part, 2 wrong usage, 130 Ctrl-C, 141 closed output (docs/cli.md).",
        examples=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"almtok {__version__}",
                        help="print the version")  # fmt: skip
    parser.group("options of all commands, at any position")
    text = "show the Python traceback of an error"
    parser.add_argument("--traceback", action="store_true", help=text)
    verbosity.declare(parser)
    parser.set_defaults(lean=False, build_parser=build_parser)  # see core/lean.py, completion.py
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    known = {*_GROUPS, *(name for names in _COMMANDS.values() for name in names)}
    for place, names in _COMMANDS.items():
        if command not in known or command in names:
            _register(place, commands)
    for name, (summary, places) in _GROUPS.items():
        if command not in known or command == name:
            text = f"{summary[0].upper()}{summary[1:]}."
            group = commands.add_parser(name, help=summary, description=text)
            below = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
            for place in places:
                _register(place, below)
    return parser


def _register(place: str, commands: Any) -> None:
    module, _, function = place.partition(":")
    getattr(import_module(f".{module}", __package__), function)(commands)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    User errors (a wrong value, a missing file, an extra that is not installed) are printed as one
    line to standard error; other exceptions are bugs and keep their traceback.
    """
    if arguments is None:
        limit_spinning()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    # Accepted at any position: users append it to the command that failed.
    show_traceback = "--traceback" in argv
    words = [arg for arg in argv if arg != "--traceback"]
    try:
        level, words = verbosity.take_level(words)
    except ValueError as error:
        print(f"almtok: error: {error}", file=sys.stderr)
        return USAGE
    args = build_parser(words[0] if words else None).parse_args(words)
    try:
        # Not in a caller's process, which may train afterwards, and not for compiling: both need
        # modules that the lean import leaves out.
        if arguments is None and args.lean and not getattr(args, "compile", False):
            lean.import_transformers()
        document = only_document() if getattr(args, "json", False) else contextlib.nullcontext()
        with verbosity.shown_log(__package__, level), document:
            status: int = args.run(args) or 0
        sys.stdout.flush()  # here, where a closed pipe is handled
        return status
    except KeyboardInterrupt:
        print("\nalmtok: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout (`| head`) has closed it: avoid a second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if show_traceback:
            raise
        print(f"almtok: error: {_one_line(error)}", file=sys.stderr)
        return FAILED


def _one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("almtok"):
        return f"{error}; it comes with an extra, see 'pip install almtok[all]'"
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"no such file or folder: {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
