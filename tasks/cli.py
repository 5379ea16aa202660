"""``almtok tts``, ``asr``, ``sound``, ``music``, ``caption``, ``continue`` and evaluations.

Torch is not imported until a command runs, so that ``almtok --help`` is fast.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ..codec.checkpoints import DEFAULT
from ..codec.cli import add_search
from ..core.choices import AUTO, DTYPES, add_device
from .pipelines.options import GenerationOptions

CHECKPOINT = "folder with lm/ and codec/, or a run folder (default: the one shipped with almtok)"
TTS = """\
examples:
  almtok tts "Good morning!" --out morning.wav
  almtok tts book.txt --out book.flac --check
  echo "Read me." | almtok tts - --stream wav | aplay
  almtok tts "In her voice." --voice her.wav --voice-text "what she says there" \\
      --checkpoint runs/mine --out hers.wav
  almtok tts --batch lines.txt --checkpoint runs/mine --out wavs/

Text of any length is split into sentences; each continues the previous one. --check transcribes
every part with the model's own ASR and generates it again, at most N times, while words are wrong.

A batch is a .txt with one text on each line, or a .jsonl with lines of "text" and optionally "id"
(name of the file), "voice", "voice_text", "seed". To resume a batch, repeat the command: finished
texts are listed in OUT/journal.jsonl.
"""
ASR = """\
examples:
  almtok asr talk.wav
  almtok asr talks/ --out texts/ --json
  cat talk.ogg | almtok asr -

Long audio is transcribed in overlapping windows, whose texts are joined where they agree. --out
writes a .txt for each file (with --json a .json with the times of the windows); finished files are
skipped when the command is repeated.
"""
SOUND = """\
examples:
  almtok {command} "{prompt}" --out {file}.wav --seconds 4
  almtok {command} --batch prompts.txt --checkpoint runs/mine --out {file}s/ --guidance 3
"""
CAPTION = """\
examples:
  almtok caption bark.wav
  almtok caption songs/ --music --checkpoint runs/mine --out captions/
"""
CONTINUE = """\
examples:
  almtok continue start.wav --out longer.wav --seconds 5
  almtok continue starts/ --checkpoint runs/mine --out longer/
"""
EVALUATE = """\
examples:
  almtok lm evaluate --checkpoint runs/mine --data speech=voices/ sound=noises/ --out scores/
  almtok lm evaluate --checkpoint runs/mine --data speech=test.parquet --limit 50 --check \\
      --recogniser none --out scores/

ASR: WER and CER of transcripts of the recordings. TTS: WER of speech generated from their texts, by
the model's own ASR and by an independent recognizer (pip install pocketsphinx), next to its WER on
the recordings and on the recordings through the codec; failures (no end, early end, skipped or
repeated words, silence, tempo) by length of the text. Sound and music: captions of the recordings,
audio generated from their captions, and retrieval of the caption by likelihood.

Sources are as for 'almtok lm tokenize'; of a source with a test split only that is used. To resume
an evaluation, repeat the command.
"""


def register(commands: Any) -> None:
    """Add the commands of all tasks to the sub-parsers of ``almtok``."""
    _register_tts(commands)
    _register_asr(commands)
    for command, prompt, file, what in (
        ("sound", "a dog barks twice", "dog", "a sound"),
        ("music", "a slow piano waltz", "waltz", "music"),
    ):
        parser = _parser(
            commands, command, f"generate {what} from a description",
            f"Generate {what} from a description.",
            SOUND.format(command=command, prompt=prompt, file=file),
            _runner("generate", "generate"),
        )  # fmt: skip
        parser.add_argument(
            "texts", nargs="*", metavar="PROMPT", help="descriptions, or - for stdin"
        )
        parser.add_argument("--batch", type=Path, metavar="FILE", help=".txt or .jsonl, see tts")
        _add_audio_out(parser)
        parser.add_argument(
            "--seconds", type=float, metavar="S", help="longest duration (default 10)"
        )
        _add_best_of(parser)
        _add_sampling(parser)
    parser = _parser(
        commands, "caption", "describe sounds or music", "Describe sounds or music.", CAPTION,
        _runner("transcribe", "caption"),
    )  # fmt: skip
    _add_files(parser)
    parser.add_argument("--music", action="store_true", help="the files are music, not sounds")
    _add_sampling(parser)
    parser = _parser(
        commands, "continue", "continue audio", "Generate audio that continues a recording.",
        CONTINUE, _runner("generate", "continue_audio"),
    )  # fmt: skip
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="audio files, folders, or - for stdin"
    )
    _add_audio_out(parser)
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="longest continuation (default 10)"
    )
    _add_sampling(parser)


def register_evaluate(what: Any) -> None:
    """Add ``evaluate`` to the sub-parsers of ``almtok lm``."""
    parser = _parser(
        what, "evaluate", "measure a language model on a test set, task by task",
        "Evaluate a language model on ASR, TTS, sound, music and captions, with 95 % intervals.",
        EVALUATE, _runner("evaluate", "run_evaluation"),
    )  # fmt: skip
    parser.set_defaults(lean=False)  # the judges may import anything
    add = parser.add_argument
    _add_data(parser)
    add("--out", type=Path, required=True, help="folder for table.md, table.json, clips.jsonl")
    add("--limit", type=int, metavar="N", help="at most N clips of each domain")
    add("--domains", nargs="+", choices=("speech", "sound", "music"), help="only these")
    add("--recogniser", default="pocketsphinx", metavar="NAME", help="pocketsphinx (default), none")
    add(
        "--grammar", type=Path, metavar="FILE", help="JSGF file: it recognises only these sentences"
    )
    add(
        "--classes",
        nargs="+",
        default=[],
        metavar="SRC",
        help="labelled recordings (8 of a class or more) to train a classifier of generated sounds",
    )
    add("--cache", type=Path, metavar="DIR", help="recogniser transcripts, for several evaluations")
    add("--check", nargs="?", type=int, const=3, metavar="N", help="TTS with self-check, see tts")
    add("--voices", action="store_true", help="TTS in the voice of the speaker's next clip")
    add("--no-make", action="store_true", help="generate no sound and no music")
    words = "generated sounds for each caption and classifier (default 4)"
    add("--draws", type=int, default=4, metavar="N", help=words)
    add(
        "--keep-audio",
        type=int,
        default=4,
        metavar="N",
        help="keep audio of N clips of each domain (default 4)",
    )
    add("--html", action="store_true", help="also write report.html")
    _add_best_of(parser)
    _add_beams(parser)
    _add_sampling(parser)


def register_words(what: Any) -> None:
    """Add ``word-errors`` to the sub-parsers of ``almtok codec``."""
    parser = what.add_parser(
        "word-errors",
        help="word errors of a recognizer on recordings and on codec reconstructions",
        description="Word errors of a recognizer on recordings, and on them through codecs.",
        epilog="example: almtok codec word-errors --data speech=voices/ --peers opus-6k --out out/",
    )
    add = parser.add_argument
    _add_data(parser)
    add("--out", type=Path, required=True, help="folder for words.md and words.json")
    add("--checkpoint", action="append", metavar="DIR", help="codec (default: almtok's own)")
    add_search(parser, "evaluate every codec with searched codes too")
    add("--peers", nargs="+", default=[], metavar="CODER", help="as for 'codec evaluate'")
    add("--recogniser", default="pocketsphinx", metavar="NAME", help="default: %(default)s")
    add("--limit", type=int, metavar="N", help="at most N clips, of every source in turn")
    add_device(parser)
    parser.set_defaults(run=run_words)


def run_words(args: argparse.Namespace) -> int:
    """Run ``almtok codec word-errors``."""
    from .evaluation.words import evaluate_words

    return evaluate_words(args)


def _register_tts(commands: Any) -> None:
    parser = _parser(
        commands, "tts", "text to speech", "Speak texts of any length, in a voice of your choice.",
        TTS, _runner("speak", "speak"),
    )  # fmt: skip
    add = parser.add_argument
    add("texts", nargs="*", metavar="TEXT", help="texts, .txt files, or - for stdin")
    add("--batch", type=Path, metavar="FILE", help=".txt (one text a line) or .jsonl")
    _add_audio_out(parser)
    add("--voice", metavar="AUDIO", help="voice reference; 3 to 10 s are good")
    add("--voice-text", metavar="TEXT", help="transcript of it: makes the voice much closer")
    add(
        "--voice-apart",
        action="store_true",
        help="use the voice as a condition, for models trained with --voices",
    )
    add(
        "--check",
        nargs="?",
        type=int,
        const=3,
        metavar="N",
        help="transcribe each part, and generate wrong ones again, at most N times (default 3)",
    )
    add(
        "--check-by",
        default="sound",
        choices=("sound", "codes"),
        help="input of the check: the decoded waveform, or its codes (default sound)",
    )
    add(
        "--max-chars",
        type=int,
        default=160,
        metavar="N",
        help="longest part of a text (default 160)",
    )
    add("--no-carry", action="store_true", help="generate sentences independently, in one batch")
    add(
        "--stream",
        nargs="?",
        choices=("wav", "raw"),
        const="wav",
        help="write audio to stdout while it is generated; raw: 16-bit mono at the codec's rate",
    )
    add("--language", metavar="CODE", help="language of the texts (default: the model's)")
    _add_sampling(parser)


def _register_asr(commands: Any) -> None:
    parser = _parser(
        commands, "asr", "transcribe speech", "Transcribe recordings of any length.", ASR,
        _runner("transcribe", "transcribe"),
    )  # fmt: skip
    _add_files(parser)
    parser.add_argument(
        "--window", type=float, default=20.0, metavar="S", help="length of a window"
    )
    parser.add_argument(
        "--overlap", type=float, default=3.0, metavar="S", help="overlap of two windows"
    )
    _add_beams(parser)
    _add_sampling(parser)


def _parser(
    commands: Any,
    name: str,
    words: str,
    description: str,
    epilog: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=words,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", default=str(DEFAULT), metavar="DIR", help=CHECKPOINT)
    parser.add_argument(
        "--adapter", metavar="DIR", help="adapter of 'almtok lm finetune' for this model"
    )
    add_device(parser)
    parser.add_argument(
        "--dtype",
        default=AUTO,
        choices=(*DTYPES, "int8", "int4"),
        help="precision of the LM's weights (default auto: by the device; int8, int4: large models"
        " on a CPU, see docs/tasks.md)",
    )
    parser.set_defaults(run=run, command=name, lean=True)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="audio or token files, folders, or - for stdin"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for a text of each file")
    parser.add_argument("--json", action="store_true", help="JSON with times, confidence, RTF")


def _add_audio_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="PLACE",
        help="file (.wav .flac .ogg .opus .mp3), folder, or - for WAV to stdout",
    )
    parser.add_argument(
        "--format",
        default="wav",
        choices=("wav", "flac", "ogg", "opus", "mp3"),
        help="format of files in a folder",
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each result")


def _add_beams(parser: argparse.ArgumentParser) -> None:
    words = "beams of the search (default 8 if the model was trained with CTC; 1: no search)"
    parser.add_argument("--beams", type=int, metavar="N", help=words)
    words = "beam search: weight of the text's probability without the audio"
    parser.add_argument("--lm-weight", type=float, metavar="W", help=words)
    words = "beam search: encodings of the audio, each shifted by part of a window (default 3)"
    parser.add_argument("--views", type=int, metavar="N", help=words)


def _add_data(parser: argparse.ArgumentParser) -> None:
    words = "recordings: [DOMAIN=]LOCATION[:SPLIT]"
    parser.add_argument(
        "--data", nargs="+", action="extend", required=True, metavar="SRC", help=words
    )


def _add_best_of(parser: argparse.ArgumentParser) -> None:
    words = "generate N candidates, keep the one that best fits the description by the model"
    parser.add_argument("--best-of", type=int, default=1, metavar="N", help=words)


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling", "defaults depend on the task")
    add = group.add_argument
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="the same seed gives the same result (default 0)",
    )
    add("--temperature", type=float, metavar="T", help="0: greedy")
    add("--top-k", type=int, metavar="K", help="sample among the K most likely; 0: off")
    add("--top-p", type=float, metavar="P", help="sample among the most likely of probability P")
    add("--repetition-penalty", type=float, metavar="R", help="penalty against repetition; 1: off")
    add("--guidance", type=float, metavar="G", help="classifier-free guidance; 1: off")
    add("--max-seconds", type=float, metavar="S", help="longest audio generated at once")
    add(
        "--frames-per-query",
        type=int,
        metavar="W",
        help="frames per query (frame rate), if the LM was trained with it",
    )
    add("--compile", action="store_true", help="compile the model's step, for long runs")
    add("--batch-size", type=int, default=8, metavar="B", help="inputs per batch (default 8)")


def generation_options(args: argparse.Namespace) -> GenerationOptions:
    """The options of generation of a command line."""
    names = {field.name for field in dataclasses.fields(GenerationOptions)}
    given = {name: value for name, value in vars(args).items() if name in names}
    return GenerationOptions(**given, guidance_scale=args.guidance)


def _runner(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """Run a function of `tasks/commands`, which is imported only then."""

    def run(args: argparse.Namespace) -> int:
        command = getattr(import_module(f".commands.{module}", __package__), function)
        status: int = command(args, generation_options(args))
        return status

    return run
