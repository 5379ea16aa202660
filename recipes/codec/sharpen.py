"""Peaks of the spectra that a codec with UnPatchify by rule says, raised: folded into its weights.

    python -m almtok.recipes.codec.sharpen --codec runs/adapt/model --amount 0.3 --out sharp/

A decoder that learned by distances says the mean of what its codes may have meant, and means are
flat: formants stand out less than in any recording. What raises them again is a filter after the
decoder in coders of speech (Chen and Gersho, "Adaptive postfiltering for quality enhancement of
coded speech", 1995). Here it is linear in the log spectra that frames say, so it goes into the map
that says them: nothing is slower, streams stay streams, and codes keep their meaning (fingerprint).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...codec.harmonic import HarmonicUnpatchify
from ...codec.model import ALMTokenizer


def sharpen(codec: ALMTokenizer, amount: float, spread: float) -> None:
    """Sharpen the codec in place; see :meth:`HarmonicUnpatchify.sharpen`.

    Raises:
        ValueError: for a codec with another UnPatchify.
    """
    unpatchify = codec.unpatchify
    if not isinstance(unpatchify, HarmonicUnpatchify):
        raise ValueError(
            f"spectra are said by unpatchify 'harmonic'; this codec has {codec.config.unpatchify!r}"
        )
    unpatchify.sharpen(amount, spread)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it as a command."""
    parser = argparse.ArgumentParser(
        prog="python -m almtok.recipes.codec.sharpen", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--codec", type=Path, required=True, metavar="DIR", help="saved codec")
    add("--amount", type=float, default=0.3, metavar="A", help="0 nothing (default: %(default)s)")
    add(
        "--spread", type=float, default=4.0, metavar="N", help="bands of the mean around a band (4)"
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the sharpened codec")
    options = parser.parse_args(arguments)
    codec = ALMTokenizer.from_pretrained(options.codec)
    before = codec.fingerprint
    sharpen(codec, options.amount, options.spread)
    codec.save_pretrained(options.out)
    assert codec.fingerprint == before
    print(f"{options.out}: sharpened, codes as before ({before})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
