"""Postfilter: a codec with sharper decoded spectra and the same codes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers.utils import SAFE_WEIGHTS_NAME

from ..core.files import replaced_folder
from .model import ALMTokenizer
from .vocoder import HarmonicVocoder


def fit_postfilter(
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
        ValueError: `out` is not empty, the amount is negative or a number is not finite, there is
            no such folder, or its codec has no harmonic-plus-noise vocoder.
    """
    place = Path(out)
    if place.exists() and any(place.iterdir()) and not overwrite:
        raise ValueError(f"{place} is not empty: choose another --out, or --overwrite it")
    if not Path(source).is_dir():
        raise ValueError(f"no codec to sharpen: there is no folder {source}")
    model = ALMTokenizer.from_pretrained(source).eval()
    if not isinstance(model.unpatchify, HarmonicVocoder):
        raise ValueError(
            f"only codecs with unpatchify 'harmonic' have a postfilter; {source}"
            f" has {model.config.unpatchify!r}"
        )
    model.unpatchify.sharpen(amount, gain_db)
    # All other weights, and the precision of these, stay as they are written down.
    weights = load_file(Path(source) / SAFE_WEIGHTS_NAME)
    for name, value in model.state_dict().items():
        if name.startswith("unpatchify.outer."):
            weights[name] = value.to(weights[name])
    with replaced_folder(place) as aside:
        shutil.copytree(source, aside, dirs_exist_ok=True)
        save_file(weights, aside / SAFE_WEIGHTS_NAME, metadata={"format": "pt"})
    return model
