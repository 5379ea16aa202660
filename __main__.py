"""``almtok``: the command line. Each package registers its commands; this file collects them.

Modules that register commands do not import torch, so that ``--help`` and usage errors are fast.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from . import __version__
from .codec import cli as codec
from .codec import doctor, postfilter
from .codec.evaluation import cli as codec_evaluation
from .codec.evaluation import probe_cli as codec_probes
from .codec.phonemes import cli as codec_phones
from .codec.priors import cli as codec_priors
from .codec.train import cli as codec_train
from .core import lean
from .core.options import Command
from .lm import export as lm_export
from .lm.data import cli as lm_data
from .lm.synthesis import cli as synthesis
from .lm.train import cli as lm_train
from .lm.train import interpolation as lm_interpolation
from .recipes import cli as recipes
from .recipes import curves as recipe_curves
from .recipes.mini import cli as demo
from .tasks import cli as tasks

EXAMPLES = """
almtok tts "Good morning!" --out morning.wav      speak with the model that comes with almtok
almtok asr morning.wav                            transcribe
almtok demo                                       train a tiny codec and language model in minutes
almtok run                                        list recipes, from the corpus to the scores
almtok doctor                                     check this machine and installation
almtok encode talk.wav --out tokens/
almtok decode tokens/talk.safetensors --out wavs/
almtok codec train --help                         train a codec on your own audio
almtok lm tokenize speech=voices/ --out tokens/
almtok lm finetune --data tokens/ --tasks tts --out runs/voice
"""

# Exit statuses by the convention of shells: 128 + the number of the signal.
INTERRUPTED, BROKEN_PIPE = 130, 141


def build_parser() -> Command:
    """Return the parser; every command sets ``run``, a function of the parsed arguments."""
    parser = Command(
        prog="almtok",
        description="ALMTokenizer: audio to 37.5 tokens per second and back, open and trainable.\n"
        "'almtok COMMAND --help' shows the common options, '--help-all' all.",
        examples=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"almtok {__version__}",
                        help="print the version")  # fmt: skip
    text = "show the Python traceback of an error; anywhere on the command line"
    parser.add_argument("--traceback", action="store_true", help=text)
    parser.set_defaults(lean=False)  # see core/lean.py
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for part in (tasks, codec, synthesis, recipes, demo, recipe_curves, doctor):
        part.register(commands)
    _register_codec(_group(commands, "codec", "train, evaluate and inspect codecs"))
    _register_lm(
        _group(commands, "lm", "prepare data for language models; train, evaluate, export")
    )
    return parser


def _group(commands: Any, name: str, summary: str) -> Any:
    """Add a command with sub-commands."""
    group = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    return group.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _register_codec(commands: Any) -> None:
    codec_train.register(commands)
    codec_priors.register(commands)
    codec_phones.register(commands)
    postfilter.register(commands)
    codec_evaluation.register(commands)
    codec_probes.register(commands)
    tasks.register_words(commands)
    codec.register_plan(commands)


def _register_lm(commands: Any) -> None:
    lm_data.register(commands)
    lm_train.register(commands)
    tasks.register_evaluate(commands)
    lm_interpolation.register(commands)
    lm_export.register(commands)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    User errors (a wrong value, a missing file, an extra that is not installed) are printed as one
    line to standard error; other exceptions are bugs and keep their traceback.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    # Accepted at any position: users append it to the command that failed.
    show_traceback = "--traceback" in argv
    args = build_parser().parse_args([arg for arg in argv if arg != "--traceback"])
    try:
        # Not in a caller's process, which may train afterwards, and not for compiling: both need
        # modules that the lean import leaves out.
        if arguments is None and args.lean and not getattr(args, "compile", False):
            lean.import_transformers()
        with _shown_log():
            return args.run(args) or 0
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
        return 1


@contextlib.contextmanager
def _shown_log() -> Iterator[None]:
    """Show the log of this package on standard error, for the first of several processes."""
    logger, handler = logging.getLogger(__package__), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("almtok"):
        return f"{error}; it comes with an extra, see 'pip install almtok[all]'"
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"no such file or folder: {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
