"""``almtok lm tokenize``: a corpus to Parquet shards of codes, once, for every later training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.choices import add_device
from .config import TokenizeConfig

if TYPE_CHECKING:
    from ...codec.model import ALMTokenizer

DESCRIPTION = """\
Encode a corpus into Parquet shards of codes with their texts, 200 to 270 kB per hour of audio.

A stopped run goes on when the same command is given again. Recordings that cannot be used are
skipped, counted and listed. At the end the folder is read through, verified, and described.
"""

# What every command of corpora says of its sources.
SOURCES = """\
sources, written [DOMAIN=]LOCATION[:SPLIT]:
  a folder of audio, with texts beside it (.txt .lab .normalized.txt, *.trans.txt)
  a manifest (.jsonl .csv .tsv), a Kaldi data folder, a folder like LJSpeech (metadata.csv, wavs/)
  Parquet with an Audio column, or a Hugging Face dataset: hf:NAME[/CONFIG]:SPLIT
"""

EPILOG = f"""\
{SOURCES}
examples:
  almtok lm tokenize speech=voices/ --checkpoint runs/mine/codec --out tokens/
  almtok lm tokenize speech=LJSpeech-1.1/ sound=noises/ --checkpoint runs/mine/codec --out tokens/
  torchrun --nproc-per-node 8 -m almtok lm tokenize ...        several processes, same result
  almtok lm tokenize --report --out tokens/                    describe what is there
"""


def register(commands: Any) -> None:
    """Add ``tokenize`` to the sub-parsers of ``almtok lm``."""
    defaults = TokenizeConfig()
    parser = commands.add_parser(
        "tokenize",
        help="encode a corpus to shards of tokens",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="see below")
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="codec folder, or a hub id (default: the codec that comes with almtok)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of shards")
    add_device(parser)
    parser.add_argument(
        "--report", action="store_true", help="only verify and describe the shards in --out"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace tokens of other sources or another codec"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    _add_options(parser, defaults)
    parser.set_defaults(run=tokenize)


def _add_options(parser: argparse.ArgumentParser, defaults: TokenizeConfig) -> None:
    add = parser.add_argument
    add(
        "--frames-per-query",
        type=int,
        metavar="W",
        help="frames of 1/75 s behind one column of codes (default: the codec's)",
    )
    add(
        "--loudness",
        type=float,
        metavar="DBFS",
        dest="loudness_dbfs",
        help="bring every recording to this level (default: leave levels alone)",
    )
    for name, kind, words in (
        ("min_seconds", float, "skip what is shorter"),
        ("max_seconds", float, "skip what is longer"),
        ("silence_dbfs", float, "skip what is never louder"),
        ("passes", int, "times through the codec: with 2, codes of what the codes sound like"),
        ("vary", float, "play everything up to so much faster or slower, such as 0.1"),
        ("seed", int, "of the speeds of --vary"),
        ("search_seconds", float, "search codes (slow) of what is no longer, such as short sounds"),
        ("valid_share", float, "of the recordings without a split, for validation"),
        ("rows_per_shard", int, "recordings per shard: what a killed run repeats at most"),
        ("batch_seconds", float, "seconds of audio that are encoded at once, 20 or on a GPU 240"),
        ("buffer_seconds", float, "seconds that are decoded ahead and sorted by length"),
        ("threads", int, "threads that decode"),
    ):
        value = getattr(defaults, name)
        flag = "--" + name.replace("_", "-")
        shown = "" if value is None else f" (default: {value})"
        add(flag, type=kind, default=value, metavar="N", help=words + shown)


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
