"""``almtok lm prepare``; nothing heavy is imported until it runs."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from .cli import SOURCES

DESCRIPTION = """\
Check and convert a corpus of your own, and say what in it deserves a look. The source is only read.

Makes DIR/manifest.jsonl, which every command of almtok takes as a source (train, valid and test by
their splits: DIR/manifest.jsonl:valid), DIR/audio/ and DIR/report.json: unreadable, silent, too
short and too long recordings, texts that cannot fit their audio, clipping, duplicates, and leaks
between splits. Recordings without a domain are taken for speech. A stopped run goes on when the
same command is given again.
"""

EPILOG = f"""\
{SOURCES}
examples:
  almtok lm prepare speech=voices/ --out prepared/
  almtok lm prepare speech=kaldi/data/train sound=noises/ --out prepared/ --test-share 0.05
  almtok lm prepare speech=voices/ --out prepared/ --audio as-is --strict      only look, for a CI
"""


def register(commands: Any) -> None:
    """Add ``prepare`` to the sub-parsers of ``almtok lm``."""
    parser = commands.add_parser(
        "prepare",
        help="check a corpus and convert it to audio files and a manifest",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="see below")
    add("--out", type=Path, required=True, metavar="DIR")
    add(
        "--audio",
        choices=("flac", "as-is"),
        default="flac",
        help="converted copies (default), or a manifest that points at the files",
    )
    for name, default, words in (
        ("valid-share", 0.02, "of the recordings without a split, for validation"),
        ("test-share", 0.0, "of the recordings without a split, to judge on"),
        ("min-seconds", 0.3, "skip what is shorter"),
        ("max-seconds", 60.0, "skip what is longer"),
        ("silence-dbfs", -60.0, "skip what is never louder"),
    ):
        shown = f"{words} (default: {default})"
        add(f"--{name}", type=float, default=default, metavar="N", help=shown)
    add("--sample-rate", type=int, default=24_000, metavar="HZ", help="default: %(default)s")
    add("--strict", action="store_true", help="exit with 1 if anything deserves a look")
    add("--overwrite", action="store_true", help="begin anew where DIR holds another corpus")
    add("--no-progress", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok lm prepare``."""
    from .prepare import MANIFEST, PrepareConfig, prepare

    names = [field.name for field in dataclasses.fields(PrepareConfig)]
    config = PrepareConfig(**{name: getattr(options, name) for name in names})
    result = prepare(
        options.sources,
        options.out,
        config,
        overwrite=options.overwrite,
        progress=not options.no_progress,
    )
    print(result.text())
    print(f"manifest: {options.out / MANIFEST}; all of the report: {options.out / 'report.json'}")
    return 1 if options.strict and not result.clean else 0
