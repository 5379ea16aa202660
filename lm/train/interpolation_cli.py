"""``almtok lm interpolate``: a language model between two."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Interpolate the weights of two language models.

A model that is trained further on little data forgets some of what it knew. Weights between the
models before and after are often better than either. Choose the share on a held-out set
('almtok lm evaluate').
"""

EPILOG = """\
example:
  almtok lm train --init-from runs/mine --data more-tokens/ --out runs/further
  almtok lm interpolate runs/further runs/mine --share 0.7 --out runs/between
"""


def register(commands: Any) -> None:
    """Add ``interpolate`` to the sub-parsers of ``almtok lm``."""
    parser = commands.add_parser(
        "interpolate",
        help="interpolate the weights of two language models",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="DIR", help="run folder or saved model; its texts and settings stay")
    add("other", metavar="OTHER", help="the model that it began from, or another of its kind")
    add("--share", type=float, default=0.7, metavar="S", help="of DIR (default: %(default)s)")
    add("--out", required=True, type=Path, metavar="DIR", help="folder to make")
    add("--overwrite", action="store_true", help="replace a folder that is there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok lm interpolate``."""
    from transformers.utils import logging

    from .interpolation import interpolate_models

    logging.disable_progress_bar()
    o = options
    place = interpolate_models(o.model, o.other, o.out, o.share, overwrite=o.overwrite)
    print(f"blended model: {place / 'model'}")
    return 0
