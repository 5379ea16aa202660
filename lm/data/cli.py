"""``almtok lm prepare`` and ``almtok lm tokenize``; heavy modules are imported when they run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.choices import (
    SOURCES,
    SOURCES_HELP,
    add_codec,
    add_frames_per_query,
    add_json,
    add_no_progress,
    add_out,
)
from ...core.options import Command, given_fields
from ...core.printing import print_result
from .config import TokenizeConfig

if TYPE_CHECKING:
    from ...codec.model import ALMTokenizer

PREPARE = """\
Check a corpus of your own and convert it to audio files and a manifest. The source is only read.
Writes DIR/manifest.jsonl, a source for all commands, DIR/audio/ and DIR/report.json. The same
command resumes a stopped run.
"""
PREPARE_EXAMPLES = """
almtok lm prepare speech=voices/ --out prepared/
almtok lm prepare speech=kaldi/data/train sound=noises/ --out prepared/ --test-share 0.05
almtok lm prepare speech=voices/ --out prepared/ --audio as-is --strict
"""
PREPARE_NOTES = f"""
The report lists unreadable, silent, too short and too long recordings, texts that cannot fit their
audio, clipping, duplicates, and leaks between splits. Recordings without a domain are taken for
speech. DIR/manifest.jsonl:valid names one split (train, valid, test).

{SOURCES}"""
TOKENIZE = """\
Encode a corpus into Parquet shards of codes and texts, 200 to 270 kB per hour of audio. Unusable
recordings are skipped and listed. The same command resumes a stopped run. At the end, all shards
are verified and described.
"""
TOKENIZE_EXAMPLES = """
almtok lm tokenize speech=LJSpeech-1.1/ sound=noises/ --out tokens/
almtok lm tokenize speech=voices/ --checkpoint runs/mine/codec --out tokens/
torchrun --nproc-per-node 8 -m almtok lm tokenize ...
almtok lm tokenize --report --out tokens/
"""


def register(commands: Any) -> None:
    """Add ``prepare`` and ``tokenize`` to the sub-parsers of ``almtok lm``."""
    _register_prepare(commands)
    _register_tokenize(commands)


def _register_prepare(commands: Any) -> None:
    parser = commands.add_parser(
        "prepare",
        help="check a corpus and convert it to audio files and a manifest",
        description=PREPARE,
        examples=PREPARE_EXAMPLES,
        notes=PREPARE_NOTES,
    )
    add = parser.add_argument
    _add_sources(parser, "+")
    add_out(parser)
    text = "write converted copies, or point at the files"
    add("--audio", choices=("flac", "as-is"), default="flac", help=text)
    add("--strict", action="store_true", help="exit status 1 if the report has findings")
    parser.group("splits")
    share = "share of recordings without a split to use for"
    add("--valid-share", default=0.02, help=f"{share} validation")
    add("--test-share", default=0.0, help=f"{share} tests")
    parser.group("checks")
    add("--min-seconds", default=0.3, help="skip shorter recordings, in seconds")
    add("--max-seconds", default=60.0, help="skip longer recordings, in seconds")
    add("--silence-dbfs", default=-60.0, help="skip recordings below this level", advanced=True)
    add_json(parser, advanced=True)
    add_no_progress(parser)
    parser.set_defaults(run=prepare)


def _register_tokenize(commands: Any) -> None:
    parser = commands.add_parser(
        "tokenize",
        help="encode a corpus to shards of tokens",
        description=TOKENIZE,
        examples=TOKENIZE_EXAMPLES,
        notes=SOURCES,
    )
    _add_sources(parser, "*")
    add_out(parser, "folder of shards")
    text = "only verify and describe the shards in --out"
    parser.add_argument("--report", action="store_true", help=text)
    add_codec(parser)
    add_frames_per_query(parser)
    parser.group("audio")
    text = "normalize recordings to this loudness in dBFS (default: unchanged)"
    parser.add_argument("--loudness", type=float, dest="loudness_dbfs", metavar="DBFS", help=text)
    limits = {
        "min_seconds": "skip shorter recordings, in seconds",
        "max_seconds": "skip longer recordings, in seconds",
        "silence_dbfs": "skip recordings below this level",
    }
    parser.add_fields(TokenizeConfig, limits, advanced=True)
    parser.group("augmentation")
    augmentation = {
        "vary": "speed perturbation: 0.1 changes speed by up to 10 %",
        "augment": 'probabilities of room, noise and opus, such as {"noise": 0.5}',
        "seed": "random seed of --vary and --augment",
        "passes": "passes through the codec: 2 encodes the decoded audio again",
        "search_seconds": "search the codes of recordings up to X seconds; slow",
    }
    parser.add_fields(TokenizeConfig, augmentation, advanced=True)
    parser.group("shards")
    text = "share of recordings without a split to use for validation"
    parser.add_fields(TokenizeConfig, {"valid_share": text})
    shards = {
        "rows_per_shard": "recordings per shard; a stopped run repeats at most one shard",
        "batch_seconds": "seconds of audio per batch (default: 20 on a CPU, 240 on a GPU)",
    }
    parser.add_fields(TokenizeConfig, shards, advanced=True)
    add_json(parser, advanced=True)
    add_no_progress(parser)
    parser.set_defaults(run=tokenize)


def _add_sources(parser: Command, count: str) -> None:
    parser.group("input")
    parser.add_argument("sources", nargs=count, metavar="SOURCE", help=SOURCES_HELP)


def prepare(options: argparse.Namespace) -> int:
    """Run ``almtok lm prepare``."""
    from .prepare import MANIFEST, PrepareConfig, prepare

    result = prepare(
        options.sources,
        options.out,
        PrepareConfig(**given_fields(options, PrepareConfig)),
        overwrite=options.overwrite,
        progress=not options.no_progress,
    )
    report = options.out / "report.json"
    places = f"manifest: {options.out / MANIFEST}; all of the report: {report}"
    print_result(options, f"{result.text()}\n{places}", result)
    return 1 if options.strict and not result.clean else 0


def tokenize(options: argparse.Namespace) -> int:
    """Run ``almtok lm tokenize``."""
    if options.report:
        from .report import inspect_tokens

        report = inspect_tokens(options.out)
        print_result(options, report.text(), report)
        return 0
    if not options.sources:
        raise ValueError("give at least one source (or --report)")
    return _tokenize(options, TokenizeConfig(**given_fields(options, TokenizeConfig)))


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
        places = f"tokens: {options.out}; all that was skipped: {options.out / REPORT_FILE}"
        print_result(options, f"{report.text()}\n{places}", report)
    processes.wait_for_everyone()
    processes.destroy_process_group()
    return 0


def _load(checkpoint: str | Path, device: str) -> ALMTokenizer:
    from transformers.utils import logging

    from ...codec.model import ALMTokenizer
    from ...core.runtime import find_device

    logging.disable_progress_bar()
    return ALMTokenizer.from_pretrained(checkpoint).eval().to(find_device(device))
