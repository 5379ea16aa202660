"""``almtok tts``, ``asr``, ``sound``, ``music``, ``caption``, ``continue`` and evaluations.

Torch is not imported until a command runs, so that ``almtok --help`` is fast.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ..codec.checkpoints import DEFAULT
from ..codec.cli import add_search
from ..core.choices import (
    AUTO,
    DTYPES,
    SOURCES,
    add_data,
    add_device,
    add_frames_per_query,
    add_heard,
    add_json,
    add_judges,
    add_limit,
    add_out,
    add_recognizer,
    add_seed,
)
from ..core.options import Command, given_fields
from .pipelines.options import GenerationOptions

TTS = """
almtok tts "Good morning!" --out morning.wav
almtok tts book.txt --out book.flac --check
almtok tts book.txt --out book.flac --timestamps vtt
echo "Read me." | almtok tts - --stream wav | aplay
almtok tts --list-voices --checkpoint runs/mine
almtok tts "In this voice." --voice joe --checkpoint runs/mine --out joes.wav
almtok tts "In her voice." --reference her.wav --reference-text "what she says" --out hers.wav
almtok tts --batch lines.txt --checkpoint runs/mine --out wavs/
"""
TTS_NOTES = """
Texts of any length are split into sentences; each continues the previous one. A batch is a .txt
with one text per line, or a .jsonl with lines of "text" and optionally "id" (name of the file),
"voice", "reference", "reference_text", "seed". To resume a batch, repeat the command: finished
texts are listed in OUT/journal.jsonl.
"""
ASR = """
almtok asr talk.wav
almtok asr talks/ --out texts/ --json
almtok asr talks/ --out texts/ --format srt
cat talk.ogg | almtok asr -
"""
ASR_NOTES = """
Long audio is transcribed in overlapping windows, whose texts are joined where they agree. --out
writes a .txt per file, or another format. Subtitles and --timestamps have the times of words, for
which the model must have been trained with CTC. To resume, repeat the command: finished files are
skipped. --json prints one object for one file, a list for several.
"""
CAPTION = """
almtok caption bark.wav
almtok caption songs/ --music --checkpoint runs/mine --out captions/
"""
CONTINUE = """
almtok continue start.wav --out longer.wav --seconds 5
almtok continue starts/ --checkpoint runs/mine --out longer/
"""
EVALUATE = """
almtok lm evaluate --checkpoint runs/mine --data speech=voices/ sound=noises/ --out scores/
almtok lm evaluate --checkpoint runs/mine --data speech=test.parquet --limit 50 --check \\
    --recognizer none --out scores/
"""
EVALUATE_NOTES = f"""
ASR: WER and CER of transcripts of the recordings. TTS: WER of speech generated from their texts, by
the model's own ASR and by an independent recognizer (pip install pocketsphinx), next to its WER on
the recordings and on the recordings through the codec; failures (no end, early end, skipped or
repeated words, silence, tempo) by length of the text. Sound and music: captions of the recordings,
audio generated from their captions, and retrieval of the caption by likelihood.

{SOURCES}
Of a source with a test split, only that split is used.
"""


def register(commands: Any) -> None:
    """Add the commands of all tasks to the sub-parsers of ``almtok``."""
    _register_tts(commands)
    _register_asr(commands)
    for name, what, prompt, file in (
        ("sound", "a sound", "a dog barks twice", "dog"),
        ("music", "music", "a slow piano waltz", "waltz"),
    ):
        parser = _add_command(
            commands, name, f"generate {what} from a description", _runner("generate", "generate"),
            examples=f"almtok {name} \"{prompt}\" --out {file}.wav --seconds 4\n"
            f"almtok {name} --batch prompts.txt --checkpoint runs/mine --out {file}s/",
        )  # fmt: skip
        _add_texts(parser, "PROMPT", "descriptions, .txt files, or - for standard input")
        _add_audio_out(parser)
        _add_seconds(parser)
        _add_model(parser)
        _add_sampling(parser, best_of=True)
        text = "draws again of a result below -50 dBFS (its loudest 50 ms)"
        parser.add_fields(GenerationOptions, {"redraws": text}, advanced=True)
    parser = _add_command(
        commands, "caption", "describe sounds or music", _runner("transcribe", "caption"),
        examples=CAPTION,
    )  # fmt: skip
    _add_files(parser)
    parser.add_argument("--music", action="store_true", help="describe the files as music")
    _add_text_out(parser)
    _add_model(parser)
    _add_sampling(parser)
    parser = _add_command(
        commands, "continue", "continue audio", _runner("generate", "continue_audio"),
        examples=CONTINUE,
    )  # fmt: skip
    _add_files(parser)
    _add_audio_out(parser)
    _add_seconds(parser)
    _add_model(parser)
    _add_sampling(parser)


def _register_tts(commands: Any) -> None:
    parser = _add_command(
        commands, "tts", "text to speech", _runner("speak", "speak"), examples=TTS,
        notes=TTS_NOTES, description="Speak texts of any length, in a voice of your choice.",
    )  # fmt: skip
    add = parser.add_argument
    _add_texts(parser, "TEXT", "texts, .txt files, or - for standard input")
    texts = {"language": "language of the texts, such as en (default: the model's)"}
    parser.add_fields(GenerationOptions, texts, advanced=True)
    _add_audio_out(parser)
    text = "write to standard output while generating; raw: 16-bit mono"
    add("--stream", nargs="?", choices=("wav", "raw"), const="wav", metavar="FORMAT", help=text)
    text = "write the times of the words beside the audio: srt, vtt (subtitles) or json (srt)"
    formats = ("srt", "vtt", "json")
    add("--timestamps", nargs="?", choices=formats, const="srt", metavar="FORMAT", help=text)
    parser.group("voice")
    add("--voice", metavar="NAME", help="a voice of the model (default: its first one)")
    add("--list-voices", action="store_true", help="print the voices of the model and stop")
    text = "recording of a voice to imitate, best 3 to 10 s, for models that can"
    add("--reference", metavar="AUDIO", help=text)
    text = "its transcript; makes the voice much more similar"
    add("--reference-text", metavar="TEXT", help=text)
    parser.group("check")
    _add_check(parser, "transcribe each part; generate wrong ones again, up to N times (3)")
    texts = {"check_by": "what is transcribed: sound (the waveform) or codes (faster)"}
    parser.add_fields(GenerationOptions, texts, advanced=True)
    _add_model(parser)
    _add_sampling(parser)
    texts = {"max_seconds": "maximum length of a part in seconds"}
    parser.add_fields(GenerationOptions, texts, advanced=True)


def _register_asr(commands: Any) -> None:
    parser = _add_command(
        commands, "asr", "transcribe speech", _runner("transcribe", "transcribe"), examples=ASR,
        notes=ASR_NOTES, description="Transcribe recordings of any length.",
    )  # fmt: skip
    _add_files(parser)
    parser.group("windows")
    for name, default, text in (
        ("--window", 20.0, "length of a window in seconds"),
        ("--overlap", 3.0, "overlap of two windows in seconds"),
    ):
        parser.add_argument(name, default=default, metavar="S", help=text, advanced=True)
    _add_text_out(parser)
    text = "text, json (windows, confidence, RTF), or subtitles: srt, vtt"
    formats = ("text", "json", "srt", "vtt")
    parser.add_argument("--format", choices=formats, help=f"{text} (default: text)")
    text = "times of words: in JSON; of sentences in text"
    parser.add_argument("--timestamps", action="store_true", help=text)
    _add_model(parser)
    _add_beams(parser)
    _add_sampling(parser)


def register_evaluate(commands: Any) -> None:
    """Add ``evaluate`` to the sub-parsers of ``almtok lm``."""
    parser = _add_command(
        commands, "evaluate", "measure a language model on a test set, task by task",
        _runner("evaluate", "run_evaluation"), examples=EVALUATE, notes=EVALUATE_NOTES,
        description="Evaluate a language model on ASR, TTS, sound, music and captions, with 95 %\n"
        "intervals. The same command resumes a stopped evaluation.",
    )  # fmt: skip
    parser.set_defaults(lean=False)  # the judges may import anything
    add = parser.add_argument
    add_data(parser)
    add_limit(parser)
    domains = ("speech", "sound", "music")
    add("--domains", nargs="+", choices=domains, metavar="DOMAIN", help="evaluate only these")
    add_out(parser, "folder for table.md, table.json, clips.jsonl", overwrite=False)
    add("--html", action="store_true", help="also write report.html, with audio players")
    add_json(parser)
    text = "clips per domain whose audio is kept"
    add("--keep-audio", default=4, help=text, advanced=True)
    parser.group("measures")
    _add_check(parser, "TTS with self-check: up to N attempts per part (3)")
    add("--voices", action="store_true", help="TTS with the speaker's next clip as voice prompt")
    text = "token folders or .txt files of the training: TTS of their texts is reported apart"
    add("--seen-texts", nargs="+", default=[], metavar="PATH", help=text, advanced=True)
    text = "measure ASR and captions only: no TTS, no sounds"
    add("--no-generate", dest="generate", action="store_false", help=text)
    add_recognizer(parser)
    text = "JSGF file: the recognizer knows only these sentences"
    add("--grammar", type=Path, metavar="FILE", help=text, advanced=True)
    add_judges(parser)
    text = "labelled recordings (8 or more per class), to train a classifier of generated sounds"
    add("--classes", nargs="+", default=[], metavar="SOURCE", help=text, advanced=True)
    text = "generated sounds per caption for --classes"
    add("--draws", default=4, help=text, advanced=True)
    text = "embedding of Fréchet distances of sounds and music: whisper:ID, clap:ID, beats:FILE ..."
    add("--fad", metavar="EMBEDDING", help=text, advanced=True)
    text = "folder that keeps recognizer transcripts (default: OUT)"
    add("--cache", type=Path, metavar="DIR", help=text, advanced=True)
    _add_model(parser)
    _add_beams(parser)
    _add_sampling(parser, best_of=True)


def register_words(commands: Any) -> None:
    """Add ``word-errors`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "word-errors",
        help="word errors of a recognizer on recordings and on codec reconstructions",
        description="Measure word errors of a recognizer on recordings and on reconstructions.",
        examples="almtok codec word-errors --data speech=voices/ --peers opus-6k --out words/",
        notes=SOURCES,
    )
    add = parser.add_argument
    add_data(parser)
    add_limit(parser, "of all sources in turn")
    add_out(parser, "folder for words.md and words.json", overwrite=False)
    add_json(parser)
    parser.group("codecs")
    text = "codecs: folders or hub ids (default: the codec of almtok)"
    add("--checkpoint", nargs="+", action="extend", metavar="DIR", help=text)
    text = "other codecs, see 'almtok codec evaluate --help-all'"
    add("--peers", nargs="+", default=[], metavar="CODEC", help=text)
    add_search(parser)
    add_recognizer(parser)
    add_heard(parser)
    add_device(parser)
    parser.set_defaults(run=run_words)


def run_words(args: argparse.Namespace) -> int:
    """Run ``almtok codec word-errors``."""
    from .evaluation.words import evaluate_words

    return evaluate_words(args)


def _add_command(
    commands: Any, name: str, words: str, run: Callable[[argparse.Namespace], int], **texts: str
) -> Command:
    texts = {"description": f"{words[0].upper()}{words[1:]}.", **texts}
    parser: Command = commands.add_parser(name, help=words, **texts)
    parser.set_defaults(run=run, command=name, lean=True)
    return parser


def _add_model(parser: Command) -> None:
    parser.group("model")
    add = parser.add_argument
    text = "run folder, or folder with lm/ and codec/ (default: the model of almtok)"
    add("--checkpoint", metavar="DIR", help=text)
    parser.set_defaults(checkpoint=str(DEFAULT))
    add("--adapter", metavar="DIR", help="run folder of a LoRA adapter, from 'almtok lm finetune'")
    add_device(parser)
    text = "weights of the LM; int8, int4: large models on a CPU"
    choices = (*DTYPES, "int8", "int4")
    add("--dtype", default=AUTO, choices=choices, help=text, advanced=True)


def _add_texts(parser: Command, metavar: str, text: str) -> None:
    parser.group("input")
    parser.add_argument("texts", nargs="*", metavar=metavar, help=text)
    text = "a text per line of a .txt or .jsonl, instead of arguments"
    parser.add_argument("--batch", type=Path, metavar="FILE", help=text)


def _add_files(parser: Command) -> None:
    parser.group("input")
    text = "audio or token files, folders, or - for standard input"
    parser.add_argument("files", nargs="+", metavar="FILE", help=text)


def _add_text_out(parser: Command) -> None:
    parser.group("output")
    text = "folder with a text per file (default: standard output)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=text)
    add_json(parser)


def _add_audio_out(parser: Command) -> None:
    parser.group("output")
    add = parser.add_argument
    text = "file (.wav .flac .ogg .opus .mp3), folder, or - for standard output"
    add("--out", metavar="PATH", help=text)
    formats = ("wav", "flac", "ogg", "opus", "mp3")
    add("--format", default="wav", choices=formats, help="of files in a folder", advanced=True)
    add_json(parser, advanced=True)


def _add_seconds(parser: Command) -> None:
    text = "maximum length in seconds (default: 10)"
    parser.add_argument("--seconds", type=float, metavar="S", help=text)
    text = "minimum length in seconds (default: of the model, else 0.5 of sounds and 2 of music)"
    parser.add_fields(GenerationOptions, {"min_seconds": text})


def _add_check(parser: Command, text: str) -> None:
    parser.add_argument("--check", nargs="?", type=int, const=3, metavar="N", help=text)


def _add_beams(parser: Command) -> None:
    parser.group("beam search")
    texts = {
        "beams": "beams (default: 8 for models trained with CTC, else 1: no search)",
        "lm_weight": "weight of the text's probability without audio (default: 0.2)",
        "views": "encodings of the audio, shifted by parts of a codec window (default: 3)",
    }
    parser.add_fields(GenerationOptions, texts, advanced=True)


def _add_sampling(parser: Command, *, best_of: bool = False) -> None:
    parser.group("sampling")
    text = "random seed; greedy decoding (texts by default, --temperature 0) ignores it"
    add_seed(parser, help=text)
    parser.add_fields(
        GenerationOptions, {"temperature": "0: greedy; higher: more varied (default: by task)"}
    )
    text = "guidance scale; 1: off; higher: closer to the input (default: by task)"
    parser.add_argument("--guidance", type=float, metavar="X", help=text)
    if best_of:
        text = "candidates per description; the model keeps the likeliest"
        parser.add_fields(GenerationOptions, {"best_of": text})
    texts = {
        "top_k": "sample among the N most likely tokens; 0: off",
        "top_p": "sample among the most likely tokens of total probability X; 1: off",
        "repetition_penalty": "lower the probability of repeated tokens by this factor; 1: off",
        "batch_size": "inputs per batch",
        "compile": "compile the model by torch.compile; faster for long runs",
    }
    parser.add_fields(GenerationOptions, texts, advanced=True)
    add_frames_per_query(parser, advanced=True)


def generation_options(args: argparse.Namespace) -> GenerationOptions:
    """The options of generation of a command line."""
    return GenerationOptions(**given_fields(args, GenerationOptions), guidance_scale=args.guidance)


def _runner(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """Run a function of `tasks/commands`, which is imported only then."""

    def run(args: argparse.Namespace) -> int:
        command = getattr(import_module(f".commands.{module}", __package__), function)
        status: int = command(args, generation_options(args))
        return status

    return run
