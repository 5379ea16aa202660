"""``almtok codec postfilter``: a codec with sharper decoded spectra and the same codes.

torch is imported when the command runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.choices import add_json, add_out
from ..core.printing import print_result

if TYPE_CHECKING:
    from .model import ALMTokenizer

DESCRIPTION = """\
Add a spectral postfilter to the harmonic vocoder of a trained codec (preset mini). Training on
spectral distances over-smooths spectra. The postfilter adds AMOUNT times the difference between
each band and the mean of its neighbors. Codes and language models stay valid. The output is 1 to
2 dB louder. Choose AMOUNT on held-out recordings ('almtok codec evaluate').
"""


def register(commands: Any) -> None:
    """Add ``postfilter`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "postfilter",
        help="add a spectral postfilter to a codec (same codes, sharper spectra)",
        description=DESCRIPTION,
        examples="almtok codec postfilter runs/mine/stage2/model --amount 0.4 --out runs/sharper",
    )
    parser.group("input")
    add = parser.add_argument
    add("codec", metavar="DIR", help="folder of a trained codec")
    parser.group("postfilter")
    add("--amount", default=0.4, help="strength of the postfilter; 0: none")
    add("--gain", default=0.0, metavar="DB", help="gain of the output in dB")
    add_out(parser)
    add_json(parser, advanced=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok codec postfilter``."""
    from ..core.loading import no_inner_bars

    with no_inner_bars():
        codec = add_postfilter(
            options.codec,
            options.out,
            options.amount,
            gain_db=options.gain,
            overwrite=options.overwrite,
        )
    text = f"spectra sharpened by {options.amount:g}; fingerprint {codec.fingerprint}"
    found = {"codec": options.out, "amount": options.amount, "fingerprint": codec.fingerprint}
    print_result(options, f"{options.out}: {text}", found)
    return 0


def add_postfilter(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    amount: float,
    *,
    gain_db: float = 0.0,
    overwrite: bool = False,
) -> ALMTokenizer:
    """Write a copy of a codec folder with sharper spectra (:meth:`HarmonicVocoder.sharpen`).

    The precision of the weights is kept; other files, such as a phoneme classifier, are copied.

    Raises:
        ValueError: `out` is not empty, `amount` is negative or a number is not finite, `source` is
            not a folder, or its codec has no harmonic-plus-noise vocoder.
    """
    from safetensors.torch import load_file, save_file
    from transformers.utils import SAFE_WEIGHTS_NAME

    from ..core.files import replaced_folder
    from .model import ALMTokenizer
    from .vocoder import HarmonicVocoder

    target = Path(out)
    if target.exists() and any(target.iterdir()) and not overwrite:
        raise ValueError(f"{target} is not empty: choose another --out, or --overwrite it")
    if not Path(source).is_dir():
        raise ValueError(f"codec must be a folder, got {source}")
    model = ALMTokenizer.from_pretrained(source).eval()
    if not isinstance(model.unpatchify, HarmonicVocoder):
        raise ValueError(
            f"unpatchify of the codec must be 'harmonic', got {model.config.unpatchify!r}"
            f" ({source})"
        )
    model.unpatchify.sharpen(amount, gain_db)
    # All other weights, and the precision of these, stay as they are in the file.
    weights = load_file(Path(source) / SAFE_WEIGHTS_NAME)
    for name, value in model.state_dict().items():
        if name.startswith("unpatchify.outer."):
            weights[name] = value.to(weights[name])
    with replaced_folder(target) as aside:
        shutil.copytree(source, aside, dirs_exist_ok=True)
        save_file(weights, aside / SAFE_WEIGHTS_NAME, metadata={"format": "pt"})
    return model
