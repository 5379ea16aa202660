"""``almtok``: the command line. Each part registers its own commands; this file only collects them.

No cli module imports torch, so that ``--help``, ``--version`` and a mistyped flag answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__
from .codec import cli as codec
from .codec import doctor, postfilter_cli
from .codec.evaluation import cli as codec_evaluation
from .codec.phonemes import cli as codec_phones
from .codec.priors import cli as codec_priors
from .codec.train import cli as codec_train
from .core import lean
from .lm import export_cli as lm_export
from .lm.data import cli as lm_data
from .lm.train import cli as lm_train
from .lm.train import interpolation_cli as lm_blend
from .recipes import cli as recipes
from .recipes import compare_cli
from .recipes.mini import cli as demo
from .tasks import cli as tasks

EXAMPLES = """\
examples:
  almtok tts "Good morning!" --out morning.wav     speak with the model that comes with almtok
  almtok asr morning.wav                           transcribe
  almtok demo                                      train a tiny codec and language model in minutes
  almtok run                                       list recipes, from the corpus to the scores
  almtok doctor                                    check this machine and installation
  almtok encode talk.wav --out tokens/
  almtok decode tokens/talk.safetensors --out wavs/
  almtok codec prior --data speech=voices/ sound=noises/ --out prior.safetensors
  almtok codec train --help                        train a codec on your own audio
  almtok lm tokenize speech=voices/ --out tokens/
  almtok lm finetune --data tokens/ --tasks tts --out runs/voice

'almtok COMMAND --help' explains one command.
"""

# Exit statuses as shells know them: 128 + the signal's number.
INTERRUPTED, BROKEN_PIPE = 130, 141


def build_parser() -> argparse.ArgumentParser:
    """Return the whole parser; every leaf sets ``run``, a function of the parsed arguments."""
    parser = argparse.ArgumentParser(
        prog="almtok",
        description="ALMTokenizer: audio to 37.5 tokens per second and back, open and trainable.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"almtok {__version__}")
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error came from, not only its text"
    )
    parser.set_defaults(lean=False)  # see core/lean.py
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    tasks.register(commands)
    codec.register(commands)
    recipes.register(commands)
    demo.register(commands)
    compare_cli.register(commands)
    doctor.register(commands)
    _register_codec(_group(commands, "codec", "train, evaluate and inspect codecs"))
    _register_lm(
        _group(commands, "lm", "prepare data for language models; train, evaluate, export")
    )
    return parser


def _group(commands: Any, name: str, line: str) -> Any:
    """Add a command that has commands of its own."""
    group = commands.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}.")
    return group.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _register_codec(commands: Any) -> None:
    codec_train.register(commands)
    codec_priors.register(commands)
    codec_phones.register(commands)
    postfilter_cli.register(commands)
    codec_evaluation.register(commands)
    tasks.register_words(commands)
    codec.register_plan(commands)


def _register_lm(commands: Any) -> None:
    lm_data.register(commands)
    lm_train.register(commands, _find_task)
    lm_train.register_finetune(commands, _find_task)
    tasks.register_evaluate(commands)
    lm_blend.register(commands)
    lm_export.register(commands)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    What a user can mend (a wrong value, a missing file, an extra that is not installed) is one line
    on standard error; anything else is a bug and keeps its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Wanted after the fact, by recalling the command and adding it at the end: taken from anywhere.
    show_traceback = "--traceback" in given
    options = build_parser().parse_args([word for word in given if word != "--traceback"])
    try:
        # A caller's process may train afterwards; a shell's ends with the command. Compiling needs
        # what is left out.
        if arguments is None and options.lean and not getattr(options, "compile", False):
            lean.import_transformers()
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("\nalmtok: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone: nothing more to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if show_traceback:
            raise
        print(f"almtok: error: {_one_line(error)}", file=sys.stderr)
        return 1


def _find_task(name: str) -> Any:
    """A task for a floor that stands below the tasks."""
    from .tasks.base import get_task

    return get_task(name)


def _one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("almtok"):
        return f"{error}; it comes with an extra, see 'pip install almtok[all]'"
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"no such file or folder: {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
