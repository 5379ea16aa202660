"""``almtok lm export``: a `flat` language model as a plain checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Write a language model of pattern 'flat' as a plain Llama or Qwen checkpoint.

Text, controls and the codes of all codebooks become one vocabulary; OUT/codes.json says which id
is what. Any engine that serves the backbone's architecture can then generate audio.
"""

EPILOG = """\
example:
  almtok lm train --model '{"pattern": "flat"}' --data tokens/ --out runs/flat
  almtok lm export --checkpoint runs/flat --out plain/
  >>> AutoModelForCausalLM.from_pretrained("plain/").generate(ids)
"""


def register(commands: Any) -> None:
    """Add ``export`` to the sub-parsers of ``almtok lm``."""
    parser = commands.add_parser(
        "export",
        help="export a language model of pattern flat as a plain Llama/Qwen checkpoint",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--checkpoint", required=True, metavar="DIR", help="run folder, saved model or hub id"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    parser.set_defaults(run=export)


def export(options: argparse.Namespace) -> int:
    """Run ``almtok lm export``."""
    from transformers.utils import logging

    from .export import export_plain

    logging.disable_progress_bar()
    place = export_plain(options.checkpoint, options.out, overwrite=options.overwrite)
    print(f"plain checkpoint: {place}; its ids: {place / 'codes.json'}")
    return 0
