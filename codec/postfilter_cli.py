"""``almtok codec postfilter``: a codec whose decoded spectra stand out more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Add a spectral postfilter to the vocoder of a trained codec.

Spectra that are learned with spectral distances are too smooth. The postfilter adds AMOUNT times
the difference between each band and the mean of its neighbours. Only weights of UnPatchify change,
so codes and language models stay valid. The output is 1 to 2 dB louder; --gain can compensate.
Choose AMOUNT on held-out recordings ('almtok codec word-errors', 'almtok codec evaluate'). The
codec needs the harmonic-plus-noise vocoder (preset mini).
"""

EPILOG = """\
example:
  almtok codec postfilter runs/mine/stage2/model --amount 0.4 --out runs/mine/sharper
"""


def register(commands: Any) -> None:
    """Add ``postfilter`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "postfilter",
        help="add a spectral postfilter to a codec (same codes, sharper spectra)",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("codec", metavar="DIR", help="folder of a trained codec")
    add("--amount", type=float, default=0.4, help="of what stands out (default: %(default)s)")
    add("--gain", type=float, default=0.0, metavar="DB", help="added to the level (default: 0)")
    add("--out", required=True, type=Path, metavar="DIR", help="folder to make")
    add("--overwrite", action="store_true", help="replace a folder that is there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok codec postfilter``."""
    from ..core.progress import no_inner_bars
    from .postfilter import fit_postfilter

    o = options
    with no_inner_bars():
        model = fit_postfilter(o.codec, o.out, o.amount, gain_db=o.gain, overwrite=o.overwrite)
    print(f"{o.out}: spectra sharpened by {o.amount:g}; codes are still of {model.fingerprint}")
    return 0
