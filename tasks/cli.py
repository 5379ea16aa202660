"""``almtok tts``, ``asr``, ``sound``, ``music``, ``caption``, ``continue``: tasks as programs.

Nothing here is imported from torch until a command runs, so that ``almtok --help`` stays light.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..codec.checkpoints import DEFAULT
from ..codec.cli import add_search
from ..core.choices import AUTO, DTYPES, add_device
from .pipelines.options import GenerationOptions

CHECKPOINT = "folder with lm/ and codec/, or a run folder (default: what comes with almtok)"
TTS = """\
examples:
  almtok tts "Good morning!" --out morning.wav
  almtok tts book.txt --out book.flac --check
  echo "Read me." | almtok tts - --stream wav | aplay
  almtok tts "In her voice." --voice her.wav --voice-text "what she says there" \\
      --checkpoint runs/mine --out hers.wav
  almtok tts --batch lines.txt --checkpoint runs/mine --out wavs/

A text of any length is cut into sentences; each goes on from the one before it. --check listens
to every part with the model's own ASR and says it again, up to N times, where words are wrong.

A batch is a .txt with one text on each line, or a .jsonl whose lines have "text" and, if wanted,
"id" (the name of the file), "voice", "voice_text", "seed". A stopped batch goes on when the same
command is given again: what is done is in OUT/journal.jsonl.
"""
ASR = """\
examples:
  almtok asr talk.wav
  almtok asr talks/ --out texts/ --json
  cat talk.ogg | almtok asr -

Long audio is heard in windows that overlap; their texts are joined where they agree. With --out,
one .txt (or .json, with the times of the windows) a file, and what is done is not done again.
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

Speech is transcribed (WER, CER) and said again from its text; what was said is heard by the model's
own ASR and by an independent recogniser (pip install pocketsphinx), whose error rate on the
recordings, and on the recordings through the codec, stands beside. Failures (no end, early end,
skipped or repeated words, silence, tempo) are counted by the length of the text. Sound and music
are described and made of their descriptions, and looked for among all of them by likelihood.

Sources are as for 'almtok lm tokenize'; of a source with a test split only that is used. A stopped
evaluation goes on when the same command is given again.
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
            SOUND.format(command=command, prompt=prompt, file=file), run_generate,
        )  # fmt: skip
        parser.add_argument("texts", nargs="*", metavar="PROMPT", help="descriptions, or -")
        parser.add_argument("--batch", type=Path, metavar="FILE", help=".txt or .jsonl, see tts")
        _add_audio_out(parser)
        parser.add_argument("--seconds", type=float, metavar="S", help="at most (default 10)")
        _add_best_of(parser)
        _add_sampling(parser)
    parser = _parser(
        commands, "caption", "describe sounds or music", "Describe sounds or music.", CAPTION,
        run_caption,
    )  # fmt: skip
    _add_files(parser)
    parser.add_argument("--music", action="store_true", help="these are music")
    _add_sampling(parser)
    parser = _parser(
        commands, "continue", "continue audio", "Generate audio that continues a recording.",
        CONTINUE, run_continue,
    )  # fmt: skip
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio, folders of it, or -")
    _add_audio_out(parser)
    parser.add_argument("--seconds", type=float, metavar="S", help="more, at most (default 10)")
    _add_sampling(parser)


def register_evaluate(what: Any) -> None:
    """Add ``evaluate`` to the sub-parsers of ``almtok lm``."""
    parser = _parser(
        what, "evaluate", "measure a language model on a test set, task by task",
        "Measure a language model: ASR, TTS, sound, music, captions, with intervals.",
        EVALUATE, run_evaluate,
    )  # fmt: skip
    parser.set_defaults(lean=False)  # an evaluation may use all that is installed
    add = parser.add_argument
    _add_data(parser)
    add("--out", type=Path, required=True, help="folder for table.md, table.json, clips.jsonl")
    add("--limit", type=int, metavar="N", help="at most N clips of each domain")
    add("--domains", nargs="+", choices=("speech", "sound", "music"), help="only these")
    add("--recogniser", default="pocketsphinx", metavar="NAME", help="pocketsphinx (default), none")
    add("--grammar", type=Path, metavar="FILE", help="it hears only sentences of this JSGF file")
    add(
        "--classes",
        nargs="+",
        default=[],
        metavar="SRC",
        help="labelled recordings: a classifier"
        " that learns from them (8 of a class or more) names sounds",
    )
    add("--cache", type=Path, metavar="DIR", help="what judges heard, for several evaluations")
    add("--check", nargs="?", type=int, const=3, metavar="N", help="speak with self-check, see tts")
    add("--voices", action="store_true", help="speak in the voice of the speaker's next clip")
    add("--no-make", action="store_true", help="make no sound and no music")
    words = "sounds of each description that classifiers name (default 4)"
    add("--draws", type=int, default=4, metavar="N", help=words)
    add("--keep-audio", type=int, default=4, metavar="N", help="clips of each domain (default 4)")
    add("--html", action="store_true", help="also write report.html")
    _add_best_of(parser)
    _add_beams(parser)
    _add_sampling(parser)


def register_words(what: Any) -> None:
    """Add ``word-errors`` to the sub-parsers of ``almtok codec``."""
    parser = what.add_parser(
        "word-errors",
        help="word errors of a recognizer on recordings and on codec reconstructions",
        description="Word errors of a recogniser on recordings, and on them through codecs.",
        epilog="example: almtok codec word-errors --data speech=voices/ --peers opus-6k --out out/",
    )
    add = parser.add_argument
    _add_data(parser)
    add("--out", type=Path, required=True, help="folder for words.md and words.json")
    add("--checkpoint", action="append", metavar="DIR", help="codec (default: almtok's own)")
    add_search(parser, "hear every codec with searched codes too")
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
        TTS, run_tts,
    )  # fmt: skip
    add = parser.add_argument
    add("texts", nargs="*", metavar="TEXT", help="what to say; a .txt file; - is standard input")
    add("--batch", type=Path, metavar="FILE", help=".txt (one text a line) or .jsonl")
    _add_audio_out(parser)
    add("--voice", metavar="AUDIO", help="a short reference (3 to 10 s are good) to sound like")
    add("--voice-text", metavar="TEXT", help="what is said in it: makes the voice much closer")
    add(
        "--voice-apart",
        action="store_true",
        help="give the voice as a condition of its own, to models trained with --voices",
    )
    add(
        "--check",
        nargs="?",
        type=int,
        const=3,
        metavar="N",
        help="listen to it, and say again what is wrong, at most N times (default 3)",
    )
    add(
        "--check-by",
        default="sound",
        choices=("sound", "codes"),
        help="what the check listens to; codes are read without decoding them (default sound)",
    )
    add("--max-chars", type=int, default=160, metavar="N", help="said in one go (default 160)")
    add("--no-carry", action="store_true", help="each sentence on its own, all in one batch")
    add(
        "--stream",
        nargs="?",
        choices=("wav", "raw"),
        const="wav",
        help="sound to standard output while it is made; raw is 16 bit, mono, at the codec's rate",
    )
    add("--language", metavar="CODE", help="of the texts (default: the model's)")
    _add_sampling(parser)


def _register_asr(commands: Any) -> None:
    parser = _parser(
        commands, "asr", "transcribe speech", "Transcribe recordings of any length.", ASR, run_asr,
    )  # fmt: skip
    _add_files(parser)
    parser.add_argument("--window", type=float, default=20.0, metavar="S", help="seconds at once")
    parser.add_argument("--overlap", type=float, default=3.0, metavar="S", help="of two windows")
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
    parser.add_argument("--adapter", metavar="DIR", help="of 'almtok lm finetune', for this model")
    add_device(parser)
    parser.add_argument(
        "--dtype",
        default=AUTO,
        choices=(*DTYPES, "int8", "int4"),
        help="of the LM's weights (default auto: what is fast here; int8, int4: for large models on"
        " a CPU, see docs/tasks.md)",
    )
    parser.set_defaults(run=run, command=name, lean=True)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="audio or token files, folders, or - for stdin"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for one text a file")
    parser.add_argument("--json", action="store_true", help="JSON: times, confidence, RTF")


def _add_audio_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="PLACE",
        help="file (.wav .flac .ogg .opus .mp3), - for WAV to standard output, or a folder",
    )
    parser.add_argument(
        "--format", default="wav", choices=("wav", "flac", "ogg", "opus", "mp3"), help="in a folder"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each result")


def _add_beams(parser: argparse.ArgumentParser) -> None:
    words = "texts searched at once (default 8 if the model was trained with CTC; 1: none)"
    parser.add_argument("--beams", type=int, metavar="N", help=words)
    words = "of beams: how much it counts how likely a text is to the same model without the audio"
    parser.add_argument("--lm-weight", type=float, metavar="W", help=words)
    words = (
        "of beams: encodings of the audio, each a little later, that a text has to fit (default 3)"
    )
    parser.add_argument("--views", type=int, metavar="N", help=words)


def _add_data(parser: argparse.ArgumentParser) -> None:
    words = "[DOMAIN=]LOCATION[:SPLIT] each"
    parser.add_argument(
        "--data", nargs="+", action="extend", required=True, metavar="SRC", help=words
    )


def _add_best_of(parser: argparse.ArgumentParser) -> None:
    words = "make N sounds of each description, keep the one that the model would describe so"
    parser.add_argument("--best-of", type=int, default=1, metavar="N", help=words)


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling", "by default what suits the task")
    add = group.add_argument
    add("--seed", type=int, default=0, metavar="N", help="the same seed, the same result")
    add("--temperature", type=float, metavar="T", help="0: the likeliest; 1: as it comes")
    add("--top-k", type=int, metavar="K", help="only the K likeliest; 0: all")
    add("--top-p", type=float, metavar="P", help="only the likeliest that make up P")
    add("--repetition-penalty", type=float, metavar="R", help="against circles; 1: off")
    add("--guidance", type=float, metavar="G", help="closer to the prompt; 1: off")
    add("--max-seconds", type=float, metavar="S", help="of audio in one go")
    add("--frames-per-query", type=int, metavar="W", help="rate of the codes, if the LM knows it")
    add("--compile", action="store_true", help="compile the model's step: pays for long runs")
    add("--batch-size", type=int, default=8, metavar="B", help="at once (default 8)")


def generation_options(args: argparse.Namespace) -> GenerationOptions:
    """The sampling options of a command line."""
    return GenerationOptions(
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        repetition_penalty=args.repetition_penalty,
        guidance_scale=args.guidance,
        max_seconds=args.max_seconds,
        frames_per_query=args.frames_per_query,
        language=getattr(args, "language", None),
        beams=getattr(args, "beams", None),
        lm_weight=getattr(args, "lm_weight", None),
        views=getattr(args, "views", None),
        best_of=getattr(args, "best_of", 1),
        batch_size=args.batch_size,
        compile=args.compile,
        max_chars=getattr(args, "max_chars", GenerationOptions.max_chars),
        check_by=getattr(args, "check_by", GenerationOptions.check_by),
    )


def run_tts(args: argparse.Namespace) -> int:
    """Run ``almtok tts``."""
    from .commands.speak import speak

    return speak(args, generation_options(args))


def run_generate(args: argparse.Namespace) -> int:
    """Run ``almtok sound`` and ``almtok music``."""
    from .commands.generate import generate

    return generate(args, generation_options(args))


def run_continue(args: argparse.Namespace) -> int:
    """Run ``almtok continue``."""
    from .commands.generate import continue_audio

    return continue_audio(args, generation_options(args))


def run_asr(args: argparse.Namespace) -> int:
    """Run ``almtok asr``."""
    from .commands.transcribe import transcribe

    return transcribe(args, generation_options(args))


def run_caption(args: argparse.Namespace) -> int:
    """Run ``almtok caption``."""
    from .commands.transcribe import caption

    return caption(args, generation_options(args))


def run_evaluate(args: argparse.Namespace) -> int:
    """Run ``almtok lm evaluate``."""
    from .commands.evaluate import run_evaluation

    return run_evaluation(args, generation_options(args))
