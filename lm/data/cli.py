"""``almtok lm prepare`` and ``almtok lm tokenize``; heavy modules are imported when they run."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.choices import add_device
from .config import TokenizeConfig

if TYPE_CHECKING:
    from ...codec.model import ALMTokenizer

SOURCES = """\
sources, written [DOMAIN=]LOCATION[:SPLIT]:
  a folder of audio, with texts beside it (.txt .lab .normalized.txt, *.trans.txt)
  a manifest (.jsonl .csv .tsv), a Kaldi data folder, a folder like LJSpeech (metadata.csv, wavs/)
  Parquet with an Audio column, or a Hugging Face dataset: hf:NAME[/CONFIG]:SPLIT
"""

PREPARE_DESCRIPTION = """\
Check and convert a corpus of your own, and list what in it should be looked at. The source is only
read.

Writes DIR/manifest.jsonl, which every command of almtok takes as a source (train, valid and test by
their splits: DIR/manifest.jsonl:valid), DIR/audio/ and DIR/report.json: unreadable, silent, too
short and too long recordings, texts that cannot fit their audio, clipping, duplicates, and leaks
between splits. Recordings without a domain are taken for speech. The same command resumes an
interrupted run.
"""

PREPARE_EPILOG = f"""\
{SOURCES}
examples:
  almtok lm prepare speech=voices/ --out prepared/
  almtok lm prepare speech=kaldi/data/train sound=noises/ --out prepared/ --test-share 0.05
  almtok lm prepare speech=voices/ --out prepared/ --audio as-is --strict      only check, for a CI
"""

TOKENIZE_DESCRIPTION = """\
Encode a corpus into Parquet shards of codes with their texts, 200 to 270 kB per hour of audio.

The same command resumes an interrupted run. Recordings that cannot be used are skipped, counted
and listed. At the end all shards are read, verified and described.
"""

TOKENIZE_EPILOG = f"""\
{SOURCES}
examples:
  almtok lm tokenize speech=voices/ --checkpoint runs/mine/codec --out tokens/
  almtok lm tokenize speech=LJSpeech-1.1/ sound=noises/ --checkpoint runs/mine/codec --out tokens/
  torchrun --nproc-per-node 8 -m almtok lm tokenize ...        several processes, same result
  almtok lm tokenize --report --out tokens/                    describe existing shards
"""


def register(commands: Any) -> None:
    """Add ``prepare`` and ``tokenize`` to the sub-parsers of ``almtok lm``."""
    parser = commands.add_parser(
        "prepare",
        help="check a corpus and convert it to audio files and a manifest",
        description=PREPARE_DESCRIPTION,
        epilog=PREPARE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_prepare_options(parser)
    parser.set_defaults(run=prepare)
    parser = commands.add_parser(
        "tokenize",
        help="encode a corpus to shards of tokens",
        description=TOKENIZE_DESCRIPTION,
        epilog=TOKENIZE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_tokenize_options(parser, TokenizeConfig())
    parser.set_defaults(run=tokenize)


def _add_prepare_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="see below")
    add("--out", type=Path, required=True, metavar="DIR")
    add(
        "--audio",
        choices=("flac", "as-is"),
        default="flac",
        help="converted copies (default), or a manifest that points at the files",
    )
    for name, default, text in (
        ("valid-share", 0.02, "share of the recordings without a split, for validation"),
        ("test-share", 0.0, "share of the recordings without a split, for tests"),
        ("min-seconds", 0.3, "skip shorter recordings"),
        ("max-seconds", 60.0, "skip longer recordings"),
        ("silence-dbfs", -60.0, "skip recordings that are never louder"),
    ):
        text += f" (default: {default})"
        add(f"--{name}", type=float, default=default, metavar="N", help=text)
    add("--sample-rate", type=int, default=24_000, metavar="HZ", help="default: %(default)s")
    add("--strict", action="store_true", help="exit with 1 if anything should be looked at")
    add("--overwrite", action="store_true", help="start again if DIR holds another corpus")
    add("--no-progress", action="store_true", help="no progress bar")


def _add_tokenize_options(parser: argparse.ArgumentParser, defaults: TokenizeConfig) -> None:
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help="see below")
    add(
        "--checkpoint",
        metavar="DIR",
        help="codec folder, or a hub id (default: the codec that comes with almtok)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder of shards")
    add_device(parser)
    add("--report", action="store_true", help="only verify and describe the shards in --out")
    add("--overwrite", action="store_true", help="replace tokens of other sources or another codec")
    add("--no-progress", action="store_true", help="no progress bar")
    add(
        "--frames-per-query",
        type=int,
        metavar="W",
        help="frames of 1/75 s per column of codes (default: the codec's)",
    )
    add(
        "--loudness",
        type=float,
        metavar="DBFS",
        dest="loudness_dbfs",
        help="normalize every recording to this level (default: leave levels alone)",
    )
    for name, kind, text in (
        ("min_seconds", float, "skip shorter recordings"),
        ("max_seconds", float, "skip longer recordings"),
        ("silence_dbfs", float, "skip recordings that are never louder"),
        ("passes", int, "passes through the codec: with 2, codes of decoded codes"),
        ("vary", float, "speed perturbation: up to this share faster or slower, such as 0.1"),
        ("seed", int, "seed of --vary"),
        ("search_seconds", float, "search the codes (slow) of recordings up to this length"),
        ("valid_share", float, "share of the recordings without a split, for validation"),
        ("rows_per_shard", int, "recordings per shard: the most that a killed run repeats"),
        ("batch_seconds", float, "seconds of audio per batch, 20 on a CPU, 240 on a GPU"),
        ("buffer_seconds", float, "seconds that are decoded ahead and sorted by length"),
        ("threads", int, "threads that decode"),
    ):
        value = getattr(defaults, name)
        text += "" if value is None else f" (default: {value})"
        flag = "--" + name.replace("_", "-")
        add(flag, type=kind, default=value, metavar="N", help=text)


def prepare(options: argparse.Namespace) -> int:
    """Run ``almtok lm prepare``."""
    from .prepare import MANIFEST, PrepareConfig, prepare

    names = [field.name for field in dataclasses.fields(PrepareConfig)]
    result = prepare(
        options.sources,
        options.out,
        PrepareConfig(**{name: getattr(options, name) for name in names}),
        overwrite=options.overwrite,
        progress=not options.no_progress,
    )
    print(result.text())
    print(f"manifest: {options.out / MANIFEST}; all of the report: {options.out / 'report.json'}")
    return 1 if options.strict and not result.clean else 0


def tokenize(options: argparse.Namespace) -> int:
    """Run ``almtok lm tokenize``."""
    if options.report:
        from .report import inspect_tokens

        print(inspect_tokens(options.out).text())
        return 0
    if not options.sources:
        raise ValueError("give at least one source (or --report)")
    config = TokenizeConfig(
        **{name: getattr(options, name) for name in TokenizeConfig.__dataclass_fields__}
    )
    return _tokenize(options, config)


def _tokenize(options: argparse.Namespace, config: TokenizeConfig) -> int:
    from accelerate import PartialState

    from ...codec.checkpoints import shipped
    from .report import REPORT_FILE, inspect_tokens
    from .tokenize import tokenize_corpus

    codec = _load(options.checkpoint or shipped() / "codec", options.device)
    tokenize_corpus(
        options.sources,
        codec,
        options.out,
        config,
        overwrite=options.overwrite,
        progress=not options.no_progress,
    )
    processes = PartialState()
    if processes.is_main_process:
        report = inspect_tokens(options.out)
        report.save(options.out)
        print(report.text())
        print(f"tokens: {options.out}; all that was skipped: {options.out / REPORT_FILE}")
    processes.wait_for_everyone()
    processes.destroy_process_group()
    return 0


def _load(checkpoint: str | Path, device: str) -> ALMTokenizer:
    from transformers.utils import logging

    from ...codec.model import ALMTokenizer
    from ...core.runtime import find_device

    logging.disable_progress_bar()
    return ALMTokenizer.from_pretrained(checkpoint).eval().to(find_device(device))
