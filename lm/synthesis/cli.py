"""``almtok synthesize``; heavy modules are imported when it runs."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from ...core.choices import SOURCES, add_json, add_no_progress, add_out, add_seed
from ...core.printing import print_result

if TYPE_CHECKING:
    from .corpus import ReadingWriter

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Read texts aloud in many voices: audio files and DIR/manifest.jsonl, a source for all commands. Each
reading is a function of the seed and its number. The same command resumes a stopped run, and goes
on with a greater --hours or --count.
"""
EXAMPLES = """
almtok synthesize speech=voices/ --model kokoro/ --mixtures 50 --hours 10 --out read/
almtok synthesize --sentences 20000 --model kokoro/ --hours 10 --workers 2 --out read/
almtok synthesize texts.txt --model kokoro/ --voices af_heart:0.6+bm_george:0.4 --out read/
almtok synthesize texts.txt --model my_voice.py:speak --voices me --out read/ --dry-run
"""
NOTES = f"""
A function is called as speak(text, voice, speed, seed) and returns samples and their rate.
Implausible readings (silent, clipped, too short or too long for their letters) are drawn again, and
after {{attempts}} attempts left out and listed in DIR/left_out.jsonl.

{SOURCES}"""


def register(commands: Any) -> None:
    """Add ``synthesize`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "synthesize",
        help="read texts aloud in many voices: speech to train on",
        description=DESCRIPTION,
        examples=EXAMPLES,
        notes=NOTES.format(attempts=3),
    )
    add = parser.add_argument
    parser.group("texts")
    text = "a .txt file, a text per line; or a corpus as for --data, train unless it names a split"
    add("sources", nargs="*", metavar="SOURCE", help=text)
    text = "also read N sentences of a grammar of English (needs wordfreq)"
    add("--sentences", type=int, default=0, metavar="N", help=text)
    text = "do not read texts of these sources, such as test splits"
    add("--exclude", nargs="+", default=[], metavar="SOURCE", help=text)
    add("--language", default="en", help="of the texts")
    parser.group("voices")
    text = "espeak, a folder of Kokoro or Piper in ONNX, or FILE.py:FUNCTION"
    add("--model", required=True, metavar="MODEL", help=text)
    text = "names, or mixtures like af_heart:0.6+bm_george:0.4 (default: all of the language)"
    add("--voices", nargs="+", default=[], metavar="VOICE", help=text)
    text = "add N mixtures of two or three of the voices: mix-0001 and so on; or a range, 51-60"
    add("--mixtures", metavar="N", help=text)
    text = "slowest and fastest speed; each reading has its own"
    add("--speed", nargs=2, type=float, default=[0.85, 1.15], metavar=("LOW", "HIGH"), help=text)
    parser.group("amount")
    add("--hours", type=float, metavar="H", help="hours of audio")
    add("--count", type=int, help="readings (default: one per text, unless --hours is given)")
    add_seed(parser, help="random seed of all readings")
    add("--workers", default=1, help="processes, each with one thread")
    add_out(parser, "folder of the corpus")
    add("--format", choices=("flac", "opus", "ogg", "wav"), default="flac", help="of the audio")
    add("--level", default=-23.0, metavar="DBFS", help="level of active speech", advanced=True)
    add("--licence", default="", help="in the manifest (default: of the model)", advanced=True)
    add("--dry-run", action="store_true", help="say what would be made, and exit")
    add_json(parser, advanced=True)
    add_no_progress(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok synthesize``."""
    from .corpus import MANIFEST, synthesize

    if options.hours is not None and options.hours <= 0:
        raise ValueError(f"--hours must be above 0, got {options.hours:g}")
    for name in ("count", "workers", "sentences"):
        value = getattr(options, name)
        if value is not None and value < (name != "sentences"):
            raise ValueError(f"--{name} must be positive, got {value}")
    writer = _reading_writer(options)
    if options.dry_run:
        plan = writer.plan
        found = {"texts": len(plan.texts), "voices": [voice.name for voice in plan.voices]}
        print_result(options, _preview(writer, options), found)
        return 0
    tally = synthesize(
        writer,
        count=options.count,
        hours=options.hours,
        workers=options.workers,
        overwrite=options.overwrite,
        progress=not options.no_progress,
    )
    manifest = options.out / MANIFEST
    print_result(options, f"{manifest}: {tally.text()}", {"manifest": manifest, "tally": tally})
    return 0 if tally.finished else 130


def _reading_writer(options: argparse.Namespace) -> ReadingWriter:
    from ..text.normalize import base_of
    from .backends import load_backend
    from .corpus import ReadingWriter
    from .grammar import make_sentences
    from .plan import Plan
    from .texts import read_excluded, read_texts
    from .voices import Voice, draw_mixture, parse_numbers

    backend = load_backend(options.model, options.language)
    recipes = options.voices or list(backend.voices())
    if not recipes:
        raise ValueError(f"--voices is needed: {backend.name} does not list its voices")
    for recipe in recipes:
        backend.check_voice(recipe)
    voices = [Voice(recipe, recipe) for recipe in dict.fromkeys(recipes)]
    if options.mixtures:
        names = sorted(voice.recipe for voice in voices if "+" not in voice.recipe)
        voices += [draw_mixture(number, names) for number in parse_numbers(options.mixtures)]
    texts = read_texts(options.sources)
    if options.sentences:
        if base_of(options.language) != "en":
            raise ValueError(f"--sentences are English, got --language {options.language}")
        texts = list(dict.fromkeys([*texts, *make_sentences(options.sentences, options.seed)]))
    if options.exclude:
        excluded = read_excluded(options.exclude, options.language)
        kept = [text for text in texts if text not in excluded]
        logger.info("%d of %d texts are excluded", len(texts) - len(kept), len(texts))
        texts = kept
    if not texts:
        raise ValueError("no text to read: give a source or --sentences")
    return ReadingWriter(
        backend=backend,
        plan=Plan(texts, voices, options.seed, tuple(options.speed)),
        out=options.out,
        language=options.language,
        format=options.format,
        level=options.level,
        licence=options.licence,
    )


def _preview(writer: ReadingWriter, options: argparse.Namespace) -> str:
    plan = writer.plan
    amount = f"{options.hours:g} hours" if options.hours else f"{options.count or len(plan.texts)}"
    lines = [
        f"{amount} of readings of {len(plan.texts)} texts in {len(plan.voices)} voices"
        f" by {writer.backend.name} to {writer.out}; the first:"
    ]
    for number in range(10):
        reading = plan.reading(number)
        lines.append(f"{reading.id}  {reading.voice.name} x{reading.speed:.2f}  {reading.text}")
    return "\n".join(lines)
